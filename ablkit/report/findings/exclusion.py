"""Whether training without the suspects ends as training on clean data does, beside ABL on the same seeds."""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.exclusion.rule import Settings
from ablkit.metrics import statistics
from ablkit.report.findings.beside import NEAR, beside, complete, differences, like_clean, outside, paired
from ablkit.report.findings.words import (
    FAILS,
    FEWEST,
    GONE,
    HOLDS,
    IN_PART,
    TOO_FEW,
    UNKNOWN,
    count,
    known,
    limit,
    over,
    percent,
)
from ablkit.report.page import listed


def of_excluded(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the attacks of which any images are excluded: the model of the others is that of no defence."""
    images = pd.to_numeric(runs.get("method_excluded_images", pd.Series(1.0, runs.index))).fillna(1)
    return runs[images.groupby(runs["attack"]).transform("max") > 0]


def of_exclusion(frame: pd.DataFrame, *first: str) -> str:
    """Whether the backdoor is gone on every run, beside ABL; then a list: how far from clean, and what was excluded.

    Args:
        first: what stands first in the list, such as what only the committed runs can say.
        frame: see `beside`; `exclusion_precision` and `exclusion_recall` where known.
    """
    runs = beside(frame).dropna(subset="attack_success_rate")
    if runs.empty:
        return f"{UNKNOWN} No run was trained without its suspects yet."
    gone = runs["attack_success_rate"] <= GONE
    near = len(like_clean(runs)) and like_clean(runs).all()
    word = FAILS if not gone.any() else HOLDS if gone.all() and near else IN_PART
    seeds = runs.groupby("attack")["seed"].nunique()
    enough = int((seeds >= FEWEST).sum())
    if word == HOLDS and enough < len(ATTACKS):
        word = f"**Holds on the {count(enough, 'attack')} measured so far on {FEWEST} seeds, of {len(ATTACKS)}.**"
    if not enough:
        word = UNKNOWN
    told = [f"Trained without its suspects, a model has at most {limit(GONE)} attack success {removed(runs, '')}."]
    if not gone.all():
        told.append(f"More is left by {_failures(runs)}.")
    told += [TOO_FEW] * (not enough)
    told.append(over(int(seeds.min()), int(seeds.max())))
    if runs["attack_success_rate_abl"].notna().any():
        told.append(f"ABL reaches that {removed(runs.dropna(subset='attack_success_rate_abl'), '_abl')}.")
    verdict = " ".join([word, *told])
    more = [*first, f"{resemblance(runs)} {_by_seed(runs)}".strip(), price(runs), _few_left(runs), _excluded(runs)]
    return "\n".join([verdict, "", *(f"- {part}" for part in more if part)])


def removed(runs: pd.DataFrame, suffix: str) -> str:
    """On how many runs the backdoor is gone, and with how many attacks on every seed; `suffix`: see `beside`."""
    gone = runs[f"attack_success_rate{suffix}"] <= GONE
    always = gone.groupby(runs["attack"]).all()
    every = f"on every seed with {always.sum()} of {count(len(always), 'attack')}"
    return f"on {gone.sum()} of {count(len(gone), 'run')} ({every})"


def _failures(runs: pd.DataFrame) -> str:
    told = []
    for name, left in runs[runs["attack_success_rate"] > GONE].groupby("attack", sort=False):
        worst = left.loc[left["attack_success_rate"].idxmax()]
        told.append(f"{ATTACKS[name].title} ({count(len(left), 'seed')}, up to {percent(worst['attack_success_rate'])}")
        floor = known(worst["attack_success_rate_oracle"])
        told[-1] += ")" if floor is None else f"; a model trained on clean data has {percent(floor)} there)"
    return " and ".join(told)


def price(runs: pd.DataFrame, *, short: bool = False) -> str:
    """What it loses against training on clean data, in the mean over attacks, and which lose most.

    Args:
        short: without the intervals over seeds.
    """
    told, gaps = [], []
    for metric, what in (("clean_accuracy", "of clean accuracy"), ("target_class_accuracy", "in the target class")):
        lost = differences(runs, metric)
        if lost.empty:
            return ""
        most = [f"{ATTACKS[name].title} {100 * value:.1f}" for name, value in outside(runs, metric).items()]
        more = f" (more than {100 * NEAR[metric]:.0f}: {listed(most)})" if most else ""
        verb = "loses" if lost.mean() >= 0 else "gains"
        told.append(f"{verb} {100 * abs(lost.mean()):.1f} points {what}{more}")
        gaps.append(-paired(runs, metric, "oracle"))
    every = f" and {len(runs)} runs" if short else ""
    attacks = f", in the mean over {len(lost)} attacks{every}" if len(lost) > 1 else ""
    both = " and ".join(told).replace("and loses", "and")
    return f"Against training on clean data the model {both}{attacks}{'' if short else _interval(runs, gaps)}."


def _interval(runs: pd.DataFrame, gaps: list[pd.Series]) -> str:
    """The intervals of both losses over the seeds that have the same attacks, in brackets; empty for too few seeds."""
    found = [statistics.summary(list(gap)) for gap in gaps]
    if any(one.low is None for one in found):
        return ""
    number = complete(runs, "clean_accuracy_oracle")["attack"].nunique()
    first, second = (f"{100 * gap.mean():.1f}" for gap in gaps)
    within, target = (f"{100 * one.low:.1f} to {100 * one.high:.1f}" for one in found)
    over_all = f"over the {count(number, 'attack')} with all {len(gaps[0])} seeds"
    return f"; {over_all} {first} (95 % BCa {within}) and {second} ({target})"


def _few_left(runs: pd.DataFrame) -> str:
    """Why the target class may lose more: a clean-label attack poisons most of it, which is then left out."""
    lost = outside(of_excluded(runs), "target_class_accuracy").index
    names = [name for name in lost if ATTACKS[name].rate_of == "target class"]
    if not names:
        return ""
    most = limit(1 - min(ATTACKS[name].quick_rate for name in names))
    titles = " and ".join(ATTACKS[name].title for name in names)
    return (
        f"Of the target class of {titles} at most {most} of the images are clean, so that few are left to learn from."
    )


def resemblance(runs: pd.DataFrame, *, short: bool = False) -> str:
    """On how many runs the model is like one trained on clean data in all respects; empty where none can be compared.

    Args:
        runs: what `beside` gives.
        short: without how many attacks it is so with on every seed.
    """
    like = like_clean(runs)
    if like.empty:
        return ""
    always = like.groupby(runs.loc[like.index, "attack"]).all()
    every = "" if short else f" (on every seed with {always.sum()} of {count(len(always), 'attack')})"
    overall, target = (f"{100 * NEAR[metric]:.0f}" for metric in NEAR)
    return (
        f"{like.sum()} of {count(len(like), 'run')} also come within {overall} points of the clean accuracy of a model"
        f" trained on clean data, and within {target} points in the target class{every}."
    )


def _by_seed(runs: pd.DataFrame) -> str:
    """The same seed by seed, as the model on clean data is one a seed; empty for one seed."""
    like = like_clean(runs)
    seeds = runs.loc[like.index, "seed"]
    if seeds.nunique() < 2:
        return ""
    told = [f"{own.sum()} of {len(own)} on seed {seed}" for seed, own in like.groupby(seeds)]
    return f"Each is held against the one model of its seed: {listed(told)}."


def _apart(nobody: pd.DataFrame) -> str:
    """How far the groups of a class lie apart where nobody is suspected; empty where that was not kept."""
    farthest = pd.to_numeric(nobody.get("method_largest_separation", pd.Series(dtype=float)), errors="coerce").max()
    if pd.isna(farthest):
        return ""
    least = Settings().least_separation
    return f"; groups lie at most {farthest:.1f} deviations apart after phase 1, where {least:g} are asked for"


def _excluded(runs: pd.DataFrame) -> str:
    """How much of the poison is among the suspects, and where nobody was suspected."""
    judged = runs.dropna(subset=["exclusion_recall"]) if "exclusion_recall" in runs else runs.iloc[:0]
    found = judged[judged["exclusion_precision"].notna()]
    told = []
    if len(found):
        lowest = found.loc[found["exclusion_recall"].idxmin()]
        least = f"{100 * lowest['exclusion_recall']:.1f} % ({ATTACKS[lowest['attack']].title}, seed {lowest['seed']})"
        precision = 100 * found["exclusion_precision"].min()
        told.append(
            f"At least {least} of the poisoned images are among the suspects, and at least {precision:.1f} % of the"
            " suspects are poisoned."
        )
    if len(nobody := judged[judged["exclusion_precision"].isna()]):
        names = ", ".join(ATTACKS[name].title for name in dict.fromkeys(nobody["attack"]))
        rest = " In the others" if told else ""
        head = f"In {count(len(nobody), 'run')} no class stands out, so that nothing is excluded"
        head += f" ({names}{_apart(nobody)})."
        told = [head, *(f"{rest} {text[:1].lower()}{text[1:]}".strip() for text in told)]
    return " ".join(told)
