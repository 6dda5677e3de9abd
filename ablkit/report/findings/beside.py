"""Runs of training without the suspects, each beside those of the other methods on the same poisoned set."""

from __future__ import annotations

import pandas as pd

from ablkit.report.findings.words import GONE

NEAR = {"clean_accuracy": 0.02, "target_class_accuracy": 0.05}
"""How far below a model that was trained on clean data a model may lie and still count as one like it."""
MEASURED = ("attack_success_rate", *NEAR)
"""What is compared."""


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


def paired(runs: pd.DataFrame, metric: str, other: str, fewest: int = 1) -> pd.Series:
    """How far `exclude` lies above another method, by seed: each the mean over the same attacks.

    Args:
        runs: what `beside` gives; `other` is one of its suffixes.
        fewest: see `complete`.
    """
    own = complete(runs, f"{metric}_{other}", fewest)
    return (own[metric] - own[f"{metric}_{other}"]).groupby(own["seed"]).mean().dropna()


def complete(runs: pd.DataFrame, column: str, fewest: int = 1) -> pd.DataFrame:
    """The most runs that have a column, of some attacks on some seeds, each of the attacks on each of the seeds.

    A mean over other attacks on one seed than on the next would compare the attacks.

    Args:
        fewest: seeds, at least; none are found where no attack has so many.
    """
    known = runs[runs[column].notna()]
    has = pd.crosstab(known["seed"], known["attack"]) > 0
    has = has.loc[has.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    blocks = [(has.index[:number], has.columns[has[:number].all()]) for number in range(fewest, len(has) + 1)]
    # Of two as large that of more seeds, as these are what an interval is made of.
    seeds, attacks = max(blocks, key=lambda block: (len(block[0]) * len(block[1]), len(block[0])), default=((), ()))
    return known[known["seed"].isin(seeds) & known["attack"].isin(attacks)]


def differences(runs: pd.DataFrame, metric: str) -> pd.Series:
    """How far `exclude` lies below training on clean data, by attack: each the mean over its seeds.

    Args:
        runs: what `beside` gives.
    """
    return (runs[f"{metric}_oracle"] - runs[metric]).groupby(runs["attack"], sort=False).mean().dropna()


def outside(runs: pd.DataFrame, metric: str) -> pd.Series:
    """The attacks that lose more of an accuracy than counts as near, and how much; the most first."""
    lost = differences(runs, metric)
    return lost[lost > NEAR[metric]].sort_values(ascending=False, kind="stable")


def like_clean(runs: pd.DataFrame) -> pd.Series:
    """Of each run that has a model trained on clean data beside it, whether it is like that one in all three respects.

    Args:
        runs: what `beside` gives.
    """
    own = runs.dropna(subset=[f"{metric}_oracle" for metric in NEAR])
    near = [own[f"{metric}_oracle"] - own[metric] <= most for metric, most in NEAR.items()]
    return (own["attack_success_rate"] <= GONE) & near[0] & near[1]
