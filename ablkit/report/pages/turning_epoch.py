"""When to isolate: what the first phases of all ABL runs tell of it, without any training."""

from __future__ import annotations

import pandas as pd

from ablkit.report import charts
from ablkit.report.collect import Collection, Scale, measured
from ablkit.report.figures import TITLES
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Figure, Heading, Text, listed
from ablkit.report.pages.loss_gap import first_phases
from ablkit.report.verdicts import LOW


def known(c: Collection) -> tuple[str, list[Block]]:
    """How precise isolation would have been after other epochs, in a sentence and as a figure; nothing without runs."""
    if c.main is None or not len(c.main.of("abl")):
        return "", []
    precision = precisions(c, c.main)
    if precision.empty:
        return "", []
    used = int(c.main.of("abl")["isolation_epochs"].mode()[0])
    made = f"Phase 1 of {count(len(precision), 'ABL run')}: {c.main.title}. {measured(c.main.of('abl'))}"
    blocks = [Heading("What would be isolated"), _figure(c.main, precision, used), Text(made, "soft")]
    return _sentence(precision, used), blocks


def precisions(c: Collection, scale: Scale) -> pd.DataFrame:
    """Isolation precision of the ABL runs by epoch: index (attack, seed), a column an epoch."""
    gaps = first_phases(c, scale)
    own = gaps[gaps["method"] == "abl"].astype({"isolation_precision": float, "epoch": int})
    table = own.pivot(index=["attack", "seed"], columns="epoch", values="isolation_precision")
    return table.loc[sorted(table.index, key=lambda key: (list(TITLES).index(key[0]), key[1]))]


def _sentence(precision: pd.DataFrame, used: int) -> str:
    """How much the turning epoch decides."""
    low = precision[precision[used] < LOW] if used in precision else precision.iloc[:0]
    if low.empty:
        return f"At the turning epoch used, {used}, isolation fails in none of {count(len(precision), 'run')}."
    better = low.drop(columns=used).ge(0.9).any(axis=1)
    parts = []
    for part, what in ((low[better], "at least 90 % precise after another epoch"), (low[~better], "after none")):
        if len(part):
            names = listed([TITLES[name] for name in dict.fromkeys(name for name, _ in part.index)])
            parts.append(f"{len(part)} would have been {what} ({names})")
    return (
        f"The turning epoch matters: at epoch {used} isolation fails in {len(low)} of {count(len(precision), 'run')}."
        f" Of these {' and '.join(parts)}."
    )


def _figure(scale: Scale, precision: pd.DataFrame, used: int) -> Figure:
    runs = scale.of("abl").set_index(["attack", "seed"])["attack_success_rate"].loc[list(precision.index)]
    named = precision.set_axis(pd.MultiIndex.from_tuples([(TITLES[n], s) for n, s in precision.index]), axis=0)
    caption = (
        f"**{_swings(precision)}** Share of poisoned images among the isolated, in percent, if isolation"
        f" happened after that epoch of the same training; framed: epoch {used}, which was used. At the right the"
        " attack success rate that ABL ended with."
    )
    drawn = charts.later(charts.turning_epochs, named, runs, used)
    return Figure("turning-epoch", drawn, "Isolation precision by epoch and run", caption)


def _swings(precision: pd.DataFrame) -> str:
    steps = precision.diff(axis=1).abs()
    swings = steps[(steps > 0.5).any(axis=1)]
    runs = f"{len(swings)} of {count(len(precision), 'run')}"
    return f"In {runs} the precision jumps by more than 50 points between two epochs."
