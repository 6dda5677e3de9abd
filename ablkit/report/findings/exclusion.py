"""Whether training without the suspects ends as training on clean data does, beside ABL on the same seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.exclusion.suspects import RULE
from ablkit.metrics import statistics
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

NEAR = {"clean_accuracy": 0.02, "target_class_accuracy": 0.05}
"""How far below a model that was trained on clean data a model may lie and still count as one like it."""
CHOSEN_WITH = ("badnets", "blend", "sig", "cba")
"""The attacks that settings were chosen with, on seeds that are not reported."""
CHANGES = RULE
"""How often the rule was changed after runs on reported seeds had been seen: once for each number after the first, and
once within rule 7, before any run that is shown: six clusters beside three were dropped."""
UNSEEN, UNSEEN_BY = (3, 4), 7
"""Seeds on whose poisoned sets the method had not been run before that rule; those below had been seen when it was
written. A later rule has seen them all."""
MEASURED = ("attack_success_rate", *NEAR)
"""What is compared."""


def is_earlier(runs: pd.DataFrame, column: str = "method_rule") -> pd.Series:
    """Which runs of `exclude` an earlier rule made; see `suspects.RULE`."""
    return pd.Series(runs.get(column, np.nan), runs.index, float) != RULE


def of_earlier_rule(runs: pd.DataFrame) -> str:
    """A sentence on how many runs of `exclude` an earlier rule made; empty where none.

    Args:
        runs: of any method, with the column `method`.
    """
    own = runs[runs["method"] == "exclude"]
    number = int(is_earlier(own).sum())
    are = "is" if number == 1 else "are"
    return f"{number} of {count(len(own), 'run')} without suspects {are} of an earlier rule." if number else ""


def beside(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of `exclude`, each beside others of its attack and seed; nan where missing.

    The numbers of the others end with `_none`, `_abl`, `_retrain` (without the images that ABL isolates), `_random`
    (`exclude` with `control=random`) and `_oracle`: trained on clean data of the same seed, whatever the attack. Its
    attack success alone is of the same attack.

    Args:
        frame: runs with the columns `attack`, `seed`, `method`, `method_settings` and those of `MEASURED`.
    """
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in MEASURED}
    drawn = frame["method_settings"].fillna("").str.contains("control=random")
    frame = frame.assign(**numbers, method=frame["method"].where(~drawn, "random"))
    own = frame[(frame["method"] == "exclude") & (frame["method_settings"].fillna("") == "")]
    for method in ("none", "abl", "retrain", "random", "oracle"):
        same = frame[frame["method"] == method]
        parts = {("attack", "seed"): MEASURED}
        if method == "oracle":
            parts = {("attack", "seed"): MEASURED[:1], ("seed",): MEASURED[1:]}
        for keys, metrics in parts.items():
            other = same.drop_duplicates(keys)[[*keys, *metrics]]
            own = own.merge(other, on=keys, how="left", suffixes=("", f"_{method}"))
    return own


def paired(runs: pd.DataFrame, metric: str, other: str) -> pd.Series:
    """How far `exclude` lies above another method, by seed: each the mean over the same attacks.

    Args:
        runs: what `beside` gives; `other` is one of its suffixes.
    """
    own = complete(runs, f"{metric}_{other}")
    return (own[metric] - own[f"{metric}_{other}"]).groupby(own["seed"]).mean().dropna()


def complete(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """The most runs that have a column, of some attacks on some seeds, each of the attacks on each of the seeds.

    A mean over other attacks on one seed than on the next would compare the attacks.
    """
    known = runs[runs[column].notna()]
    has = pd.crosstab(known["seed"], known["attack"]) > 0
    has = has.loc[has.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    blocks = [(has.index[:number], has.columns[has[:number].all()]) for number in range(1, len(has) + 1)]
    # Of two as large that of more seeds, as these are what an interval is made of.
    seeds, attacks = max(blocks, key=lambda block: (len(block[0]) * len(block[1]), len(block[0])), default=((), ()))
    return known[known["seed"].isin(seeds) & known["attack"].isin(attacks)]


def differences(runs: pd.DataFrame, metric: str) -> pd.Series:
    """How far `exclude` lies below training on clean data, by attack: each the mean over its seeds.

    Args:
        runs: what `beside` gives.
    """
    return (runs[f"{metric}_oracle"] - runs[metric]).groupby(runs["attack"], sort=False).mean().dropna()


def like_clean(runs: pd.DataFrame) -> pd.Series:
    """Of each run that has a model trained on clean data beside it, whether it is like that one in all three respects.

    Args:
        runs: what `beside` gives.
    """
    own = runs.dropna(subset=[f"{metric}_oracle" for metric in NEAR])
    near = [own[f"{metric}_oracle"] - own[metric] <= most for metric, most in NEAR.items()]
    return (own["attack_success_rate"] <= GONE) & near[0] & near[1]


def on_unseen(runs: pd.DataFrame) -> str:
    """What is left on the seeds of `UNSEEN` alone, or that there is no such run: the others had a part in the rule.

    Args:
        runs: what `beside` gives.
    """
    own = runs[runs["seed"].isin(UNSEEN) & ~is_earlier(runs)] if RULE == UNSEEN_BY else runs[:0]
    changed = f"The rule was changed {CHANGES} times after runs on"
    if own.empty:
        return f"{changed} these seeds had been seen; no other seed was run since."
    met, new = (
        f"seed{'s' * (len(seeds) > 1)} {listed([str(seed) for seed in sorted(seeds)])}"
        for seeds in (set(runs["seed"]) - set(UNSEEN), set(own["seed"]))
    )
    known = int(own["attack_success_rate_none"].notna().sum()) if "attack_success_rate_none" in own else 0
    alone = f"; undefended training was run on {known} of these {len(own)} sets" if known < len(own) else ""
    return (
        f"{changed} {met} had been seen. It had not met {new}: there the backdoor is gone {_removed(own, '')}{alone}."
    )


def of_excluded(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the attacks of which any images are excluded: the model of the others is that of no defence."""
    images = pd.to_numeric(runs.get("method_excluded_images", pd.Series(1.0, runs.index))).fillna(1)
    return runs[images.groupby(runs["attack"]).transform("max") > 0]


def outside(runs: pd.DataFrame, metric: str) -> pd.Series:
    """The attacks that lose more of an accuracy than counts as near, and how much; the most first."""
    lost = differences(runs, metric)
    return lost[lost > NEAR[metric]].sort_values(ascending=False, kind="stable")


def of_exclusion(frame: pd.DataFrame) -> str:
    """Whether the backdoor is gone on every run, beside ABL; then a list: unseen seeds, accuracy, what was excluded.

    Args:
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
    told = [f"Trained without its suspects, a model has at most {limit(GONE)} attack success {_removed(runs, '')}."]
    if not gone.all():
        told.append(f"More is left by {_failures(runs)}.")
    if runs["attack_success_rate_abl"].notna().any():
        told.append(f"ABL reaches that {_removed(runs.dropna(subset='attack_success_rate_abl'), '_abl')}.")
    chosen = "Settings were chosen with these attacks, on other seeds." * (set(seeds.index) <= set(CHOSEN_WITH))
    more = [on_unseen(runs), chosen, resemblance(runs), price(runs), _few_left(runs), _excluded(runs)]
    told += [TOO_FEW] * (not enough)
    first = " ".join([word, *told, over(int(seeds.min()), int(seeds.max()))])
    return "\n".join([first, "", *(f"- {part}" for part in more if part)])


def _removed(runs: pd.DataFrame, suffix: str) -> str:
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


def price(runs: pd.DataFrame) -> str:
    """What it loses against training on clean data, in the mean over attacks, and which lose most."""
    told, gaps = [], []
    for metric, what in (("clean_accuracy", "of clean accuracy"), ("target_class_accuracy", "in the target class")):
        lost = differences(runs, metric)
        if lost.empty:
            return ""
        most = [f"{ATTACKS[name].title} {100 * value:.1f}" for name, value in outside(runs, metric).items()]
        more = f" (more than {100 * NEAR[metric]:.0f}: {listed(most)})" if most else ""
        told.append(f"{100 * lost.mean():.1f} points {what}{more}")
        gaps.append(-paired(runs, metric, "oracle"))
    attacks = f", in the mean over {len(lost)} attacks" if len(lost) > 1 else ""
    return f"Against training on clean data the model loses {' and '.join(told)}{attacks}{_interval(runs, gaps)}."


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


def resemblance(runs: pd.DataFrame) -> str:
    """On how many runs the model is like one trained on clean data in all respects; empty where none can be compared.

    Args:
        runs: what `beside` gives.
    """
    like = like_clean(runs)
    if like.empty:
        return ""
    always = like.groupby(runs.loc[like.index, "attack"]).all()
    every = f"on every seed with {always.sum()} of {count(len(always), 'attack')}"
    overall, target = (f"{100 * NEAR[metric]:.0f}" for metric in NEAR)
    return (
        f"{like.sum()} of {count(len(like), 'run')} also come within {overall} points of the clean accuracy, and within"
        f" {target} points of the accuracy in the target class, of a model trained on clean data ({every})."
    )


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
        head = f"In {count(len(nobody), 'run')} no class stands out, so that nothing is excluded ({names})."
        told = [head, *(f"{rest} {text[:1].lower()}{text[1:]}".strip() for text in told)]
    return " ".join(told)
