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
    "batch_statistics": "ascent, running statistics kept",
    "group_norm": "ascent with group norm",
}
"""Arm -> what figures and tables call it."""
_METRICS = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")
_NEEDED = ("train", "statistics", "frozen")


def of_arms(frame: pd.DataFrame) -> str:
    """Whether the ascent or the drift of the batch norm statistics unlearns, and what the target class pays.

    A part does most of the work where it alone brings at least MOST of the fall in attack success that both bring. The
    ascent unlearns where it does so with frozen statistics, and the statistics alone do not. It unlearns in part, too,
    where the statistics alone bring less than that in joint batches.

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
    joint = _joint_falls(falls)
    if word == FAILS and len(joint) and joint["joint_statistics"].sum() < MOST * joint["joint"].sum():
        word = IN_PART
    told = [_told(both, shares), _joint(frame, joint)]
    if both.groupby(level="attack").size().max() < FEWEST:
        word = UNKNOWN
        told.append(TOO_FEW)
    lines = [_fall(frame, both), _longer(frame), *_without(frame, falls), _momentum(frame), _target(frame)]
    text = " ".join([word, *filter(None, told)]) + f"{aside} {seeds}"
    return "\n".join([text, "", *(f"- {line}" for line in lines if line)])


def _told(both: pd.DataFrame, shares: dict[str, float]) -> str:
    """What of the fall that the ascent brings statistics alone and weights alone do."""
    return (
        "In ABL's schedule the drift of statistics alone, with no weight changed, brings"
        f" {percent(shares['statistics'])} of the fall in attack success that the ascent"
        f" brings{_by_attack(both, 'train', 'statistics')}, and the ascent with frozen statistics"
        f" {percent(shares['frozen'])}{_by_attack(both, 'train', 'frozen')}."
    )


def _joint_falls(falls: pd.DataFrame) -> pd.DataFrame:
    """The falls of joint batches with and without their ascent; empty where no such fall could be divided."""
    pair = falls.reindex(columns=["joint", "joint_statistics"]).dropna()
    return pair if pair["joint"].mean() >= MATTERS else pair[:0]


def _joint(frame: pd.DataFrame, falls: pd.DataFrame) -> str:
    """The same where isolated and kept images share a batch."""
    if falls.empty:
        return ""
    share = falls["joint_statistics"].sum() / falls["joint"].sum()
    own = frame.set_index(["attack", "seed"]).loc[falls.index]
    left = own.groupby("arm")["attack_success_rate"].mean()
    return (
        f"In batches that hold isolated and kept images the drift alone brings {percent(share)} of the"
        f" fall{_by_attack(falls, 'joint', 'joint_statistics')}: {percent(left['joint_statistics'])} attack success is"
        f" left without the ascent, {percent(left['joint'])} with it."
    )


def _fall(frame: pd.DataFrame, both: pd.DataFrame) -> str:
    """What the ascent takes away, and what is left where the statistics are frozen."""
    own = frame[frame["arm"] == "train"]
    before, after = (percent(own[f"attack_success_rate{suffix}"].mean()) for suffix in ("_finetuned", ""))
    named = listed([ATTACKS[name].title for name in both.index.unique("attack")])
    return (
        f"The ascent brings attack success from {before} to {after} in the mean of {count(len(both), 'run')} ({named});"
        f" on frozen statistics {_left(frame, 'frozen')} is left."
    )


def _by_attack(falls: pd.DataFrame, whole: str, arm: str) -> str:
    """The same share attack by attack; empty for one attack."""
    means = falls.groupby(level="attack", sort=False)[[whole, arm]].mean()
    if len(means) < 2:
        return ""
    told = [f"{ATTACKS[name].title} {_share(row[arm], row[whole])}" for name, row in means.iterrows()]
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
    is_stopped = own["method_isolated_labels_kept"].astype(float) <= float(given["stop"])
    stopped, others = own[is_stopped], own[~is_stopped]
    named = listed([ATTACKS[name].title for name in own["attack"].unique()])
    told = (
        f"Given up to {given['epochs']} epochs on frozen statistics ({named}), {len(stopped)} of"
        f" {count(len(own), 'run')} stop, as at most {limit(float(given['stop']))} of the isolated images keep their"
        " label"
    )
    if len(stopped):
        took = dict.fromkeys(f"{end:.0f}" for end in (stopped["method_epochs"].min(), stopped["method_epochs"].max()))
        told += (
            f", after {' to '.join(took)} epochs; {_left(stopped, 'frozen_longer')} is then left, and what more epochs"
            " would take is not known"
        )
    return f"{told}. The others leave {_left(others, 'frozen_longer')}." if len(others) else f"{told}."


def _without(frame: pd.DataFrame, falls: pd.DataFrame) -> list[str]:
    """What happens without any ascent on other statistics, and to a model without batch norm."""
    texts = []
    if "kept" in falls and (pair := falls[["train", "kept"]].dropna())["train"].mean() >= MATTERS:
        texts.append(
            f"Statistics taken anew from kept images, without any ascent, bring"
            f" {percent(pair['kept'].sum() / pair['train'].sum())} of the fall."
        )
    if "batch_statistics" in falls and (pair := falls[["train", "batch_statistics"]].dropna()).size:
        texts.append(
            "Where each batch is normalised by its own statistics and the running ones stay as they were, the ascent"
            f" brings {percent(pair['batch_statistics'].sum() / pair['train'].sum())} of the fall; it leaves"
            f" {_left(frame, 'batch_statistics')}."
        )
    own = frame[frame["arm"] == "group_norm"]
    if len(own):
        before = percent(own["attack_success_rate_finetuned"].mean())
        named = listed([ATTACKS[name].title for name in own["attack"].unique()])
        precise = listed([percent(share) for share in own.sort_values("seed")["isolation_precision"].astype(float)])
        texts.append(
            f"With group norm, which keeps no statistics ({named}; of its own isolated images {precise} are poisoned),"
            f" attack success is {before} before the ascent, which leaves {_left(frame, 'group_norm')}."
        )
    return texts


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
    """What the arms that were run on all models leave of the target class, the most and the least."""
    runs = frame["arm"].value_counts()
    frame = frame[(frame["arm"].map(runs) == runs["train"]) & (frame["arm"] != "fresh")]  # which is the ascent
    means = (
        frame.groupby("arm", sort=False)["target_class_accuracy"]
        .mean()
        .dropna()
        .sort_values(ascending=False, kind="stable")
    )
    before = frame[frame["arm"] != "group_norm"]["target_class_accuracy_finetuned"].mean()
    if means.empty:
        return ""
    most, least = means.index[[0, -1]]
    own = f", the ascent {percent(means['train'])}" if "train" in means.index[1:-1] else ""
    return (
        f"Of the target class {percent(before)} is right after the fine-tuning. Of {count(len(means), 'arm')} most is"
        f" left by {ARM_TITLES[most]} ({percent(means[most])}){own}, and least by {ARM_TITLES[least]}"
        f" ({percent(means[least])})."
    )


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs that were measured, with metrics as numbers."""
    names = [f"{name}{suffix}" for name in _METRICS for suffix in ("", "_finetuned")]
    frame = frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in names})
    return frame.dropna(subset=["attack_success_rate", "attack_success_rate_finetuned"]).reset_index(drop=True)
