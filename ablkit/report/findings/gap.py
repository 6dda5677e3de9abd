"""Whether poisoned images are learned faster than clean ones."""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.defenses import METHODS
from ablkit.report.findings.words import (
    FAILS,
    FASTER,
    HOLDS,
    IN_PART,
    PRECISE,
    UNKNOWN,
    count,
    judged,
    numbers_of,
    over,
    percent,
    too_few,
)


def of_gap(frame: pd.DataFrame) -> str:
    """Whether poisoned images are learned faster, at the turning epoch, so that the lowest losses are theirs.

    Args:
        frame: columns `method`, `epoch`, `clean_loss`, `poisoned_loss`, `isolation_precision`, and perhaps `attack` and
            `seed`; see `comparisons.loss_gaps`.
    """
    losses = ["clean_loss", "poisoned_loss", "isolation_precision"]
    frame = numbers_of(frame, *losses)
    frame = frame.assign(seed=frame.get("seed", 0), attack=frame.get("attack", ""))
    ends = (
        frame.sort_values("epoch", kind="stable")
        .groupby(["attack", "method", "seed"], sort=False)
        .tail(1)
        .dropna(subset=losses)
    )
    if ends.empty:
        return f"{UNKNOWN} The losses were not measured."
    faster = ends["poisoned_loss"] <= FASTER * ends["clean_loss"]
    precise = ends["isolation_precision"] >= PRECISE
    both = faster & precise
    seeds = ends["seed"].nunique()
    word = judged(HOLDS if both.all() else FAILS if not (faster | precise).any() else IN_PART, seeds)
    ratio = ends["poisoned_loss"] / ends["clean_loss"]
    nearest = ends.loc[ratio.idxmax()] if ratio.notna().all() else ends.iloc[0]
    several = ends["attack"].nunique() > 1
    where = f", {ATTACKS[nearest['attack']].title}" if several else ""
    among = f"{where}, the one of {count(len(ends), 'run')} whose two losses lie nearest" if len(ends) > 1 else ""
    shares = " to ".join(dict.fromkeys(percent(getattr(ends["isolation_precision"], end)()) for end in ("min", "max")))
    counted = f" Both is so in {int(both.sum())} of {count(len(ends), 'first phase')}." if several else ""
    told = (
        f"{word} At the turning epoch (epoch {nearest['epoch']}) poisoned images have a mean loss of"
        f" {_loss(nearest['poisoned_loss'])} and clean ones of {_loss(nearest['clean_loss'])}"
        f" ({_first_phase(nearest['method'])}{among}); {shares} of the isolated images are poisoned.{counted}"
    )
    return " ".join(filter(None, (told, _ascent(frame), too_few(seeds), over(seeds))))


def _first_phase(method: str) -> str:
    return {"none": "plain training", "abl": "local gradient ascent"}.get(method, METHODS[method])


def _ascent(frame: pd.DataFrame) -> str:
    """Whether the isolation loss of ABL makes any difference to plain training; empty where one of them is missing."""
    both = frame.pivot_table(index=["attack", "seed", "epoch"], columns="method", values="clean_loss")
    if not {"none", "abl"} <= set(both):
        return ""
    if (both["abl"] - both["none"]).abs().max() < 1e-9:
        return "Local gradient ascent changes nothing here: both first phases are the same."
    last = both.dropna(subset=["none", "abl"]).groupby(level=["attack", "seed"]).tail(1)
    if last.empty:
        return ""
    ends = f"{_loss(last['abl'].mean())} with local gradient ascent, {_loss(last['none'].mean())} without"
    return f"Clean images end at a mean loss of {ends}."


def _loss(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.1g}"
