"""Which part of ABL's unlearning does the work: arms that start from one fine-tuned model, held against the ascent."""

from __future__ import annotations

import pandas as pd

from ablkit import settings
from ablkit.attacks import ATTACKS
from ablkit.report.findings.words import (
    FAILS,
    FEWEST,
    GONE,
    HOLDS,
    IN_PART,
    MATTERS,
    MOST,
    PRESENT,
    TOO_FEW,
    UNKNOWN,
    count,
    limit,
    over,
    percent,
)
from ablkit.report.page import listed
from ablkit.runs.parameters.arms import ARMS

ARM_TITLES = {
    "train": "ascent",
    "statistics": "statistics alone",
    "frozen": "ascent on frozen statistics",
    "frozen_longer": "frozen, more epochs",
    "kept": "statistics of kept images",
    "bounded": "bounded ascent",
    "relabel": "relabelling",
    "alternating": "ascent and kept in turn",
    "joint": "joint with stopping rule",
    "joint_statistics": "joint, statistics alone",
    "carried": "carried momentum (ABL)",
    "fresh": "fresh momentum (ABL)",
    "group_norm": "ascent with group norm",
}
"""Arm -> what figures and tables call it."""
_METRICS = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")
_NEEDED = ("train", "statistics", "frozen")


def of_arms(frame: pd.DataFrame) -> str:
    """Whether the ascent or the drift of the batch norm statistics unlearns, and what the target class pays.

    A part does most of the work where it alone brings at least MOST of the fall in attack success that both bring. The
    ascent unlearns where it does so with frozen statistics, and the statistics alone do not.

    Args:
        frame: runs with the columns `attack`, `seed`, `arm` and `attack_success_rate`, `clean_accuracy`,
            `target_class_accuracy`, each also with `_finetuned` behind: what the run started from.
    """
    frame = _numbers(frame)
    missing = [ARM_TITLES[name] for name in _NEEDED if name not in set(frame["arm"])]
    if missing:
        return f"{UNKNOWN} Not measured: {', '.join(missing)}. {over(frame['seed'].nunique())}"
    weak = frame["attack_success_rate_finetuned"] < PRESENT
    passed = frame[weak].groupby(["attack", "seed"]).ngroups
    frame = frame[~weak]
    falls = frame.assign(fall=frame["attack_success_rate_finetuned"] - frame["attack_success_rate"]).pivot_table(
        index=["attack", "seed"], columns="arm", values="fall", sort=False
    )
    both = falls.reindex(columns=list(_NEEDED)).dropna()
    # All that is said is of the same fine-tuned models.
    frame, falls = frame.set_index(["attack", "seed"]).loc[both.index].reset_index(), falls.loc[both.index]
    seeds = over(frame["seed"].nunique()) if len(frame) else over(1)
    aside = f" There is no backdoor to unlearn in {count(passed, 'fine-tuned model')}." if passed else ""
    if both.empty or both["train"].mean() < MATTERS:
        return (
            f"{UNKNOWN} The ascent takes no attack success away that could be divided among its parts.{aside} {seeds}"
        )
    shares = {name: both[name].sum() / both["train"].sum() for name in ("statistics", "frozen")}
    most = {name: share >= MOST for name, share in shares.items()}
    word = IN_PART
    if most["frozen"] != most["statistics"]:
        word = HOLDS if most["frozen"] else FAILS
    parts = [_told(frame, both, shares), _longer(frame), _without(frame, falls), _momentum(frame), _target(frame)]
    if both.groupby(level="attack").size().max() < FEWEST:
        word = UNKNOWN
        parts.append(TOO_FEW)
    return " ".join([word, *filter(None, parts)]) + f"{aside} {seeds}"


def _told(frame: pd.DataFrame, both: pd.DataFrame, shares: dict[str, float]) -> str:
    """What the ascent takes away, and what of it statistics alone and weights alone do."""
    own = frame[frame["arm"] == "train"]
    before, after = (percent(own[f"attack_success_rate{suffix}"].mean()) for suffix in ("_finetuned", ""))
    named = ", ".join(ATTACKS[name].title for name in both.index.unique("attack"))
    return (
        f"Of the fall in attack success that the ascent brings, the drift of statistics alone, with no weight changed,"
        f" brings {percent(shares['statistics'])}{_by_attack(both, 'statistics')}, and the ascent with frozen"
        f" statistics {percent(shares['frozen'])}{_by_attack(both, 'frozen')}. The fall is from {before} to {after} in"
        f" the mean of {count(len(both), 'run')} ({named}). On frozen statistics {_left(frame, 'frozen')} is left."
    )


def _by_attack(falls: pd.DataFrame, arm: str) -> str:
    """The same share attack by attack; empty for one attack."""
    means = falls.groupby(level="attack", sort=False)[["train", arm]].mean()
    if len(means) < 2:
        return ""
    told = [f"{ATTACKS[name].title} {_share(row[arm], row['train'])}" for name, row in means.iterrows()]
    return f" ({', '.join(told)})"


def _share(part: float, whole: float) -> str:
    """A share of a fall, 0 where a part lets it rise, and no number where nothing falls."""
    return percent(max(part / whole, 0.0)) if whole >= MATTERS else "nothing falls"


def _left(frame: pd.DataFrame, arm: str) -> str:
    own = frame[frame["arm"] == arm]["attack_success_rate"]
    gone = f"at most {limit(GONE)} on {int((own <= GONE).sum())} of {count(len(own), 'run')}"
    return f"{percent(own.mean())} attack success ({gone})"


def _longer(frame: pd.DataFrame) -> str:
    """What the ascent with frozen statistics does with more epochs, stopped where it has done its work."""
    own = frame[frame["arm"] == "frozen_longer"]
    if own.empty:
        return ""
    given = settings.parse(ARMS["frozen_longer"]["method_settings"])
    ended = own[own["method_isolated_labels_kept"].astype(float) <= float(given["stop"])]
    took = dict.fromkeys(f"{end:.0f}" for end in (ended["method_epochs"].min(), ended["method_epochs"].max()))
    after = f", after {' to '.join(took)}" if len(ended) else ""
    gone = own[own["attack_success_rate"] <= GONE]
    price = f"; the clean accuracy of these is {percent(gone['clean_accuracy'].mean())}" if len(gone) else ""
    named = listed([ATTACKS[name].title for name in own["attack"].unique()])
    return (
        f"Given up to {given['epochs']} epochs ({named}) it brings {len(ended)} of {count(len(own), 'run')} to where at"
        f" most {limit(float(given['stop']))} of the isolated images keep their label{after}; it leaves"
        f" {_left(frame, 'frozen_longer')}{price}."
    )


def _without(frame: pd.DataFrame, falls: pd.DataFrame) -> str:
    """What happens without any ascent on other statistics, and to a model without batch norm."""
    texts = []
    if "kept" in falls and (pair := falls[["train", "kept"]].dropna())["train"].mean() >= MATTERS:
        texts.append(
            f"Statistics taken anew from kept images, without any ascent, bring"
            f" {percent(pair['kept'].sum() / pair['train'].sum())} of the fall."
        )
    own = frame[frame["arm"] == "group_norm"]
    if len(own):
        before = percent(own["attack_success_rate_finetuned"].mean())
        named = listed([ATTACKS[name].title for name in own["attack"].unique()])
        precise = percent(own["isolation_precision"].astype(float).mean())
        texts.append(
            f"With group norm ({named}; {precise} of its own isolated images are poisoned) the ascent takes {before} to"
            f" {_left(frame, 'group_norm')}."
        )
    return " ".join(texts)


def _momentum(frame: pd.DataFrame) -> str:
    """ABL with carried and with fresh momentum; the latter is the arm `train` under another name, and the control."""
    texts = []
    by_arm = frame.pivot_table(index=["attack", "seed"], columns="arm", values=list(_METRICS), sort=False)
    if {"fresh", "train"} <= set(frame["arm"]):
        pair = [by_arm.xs(name, axis=1, level="arm") for name in ("fresh", "train")]
        pair = [one.loc[pair[0].dropna().index.intersection(pair[1].dropna().index)] for one in pair]
        same = int((pair[0] == pair[1]).all(axis=1).sum())
        is_it = "is the ascent" if same == len(pair[0]) else "is not quite the ascent, which it should be"
        texts.append(f"ABL with fresh momentum {is_it}: the same numbers on {same} of {len(pair[0])}.")
    if "carried" in set(frame["arm"]):
        texts.append(f"With the momentum of the fine-tuning it leaves {_left(frame, 'carried')}.")
    return " ".join(texts)


def _target(frame: pd.DataFrame) -> str:
    """What each arm that was run on all models leaves of the target class, those that leave most first."""
    runs = frame["arm"].value_counts()
    frame = frame[frame["arm"].map(runs) == runs["train"]]
    means = frame.groupby("arm", sort=False)["target_class_accuracy"].mean().dropna().sort_values(ascending=False)
    before = frame[frame["arm"] != "group_norm"]["target_class_accuracy_finetuned"].mean()
    told = "; ".join(f"{ARM_TITLES[name]} {percent(value)}" for name, value in means.items())
    return f"Of the target class, {percent(before)} after the fine-tuning, is left: {told}." if told else ""


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs that were measured, with metrics as numbers."""
    names = [f"{name}{suffix}" for name in _METRICS for suffix in ("", "_finetuned")]
    frame = frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in names})
    return frame.dropna(subset=["attack_success_rate", "attack_success_rate_finetuned"]).reset_index(drop=True)
