"""When to isolate: what the first phases of all ABL runs tell of it, without any training."""

from __future__ import annotations

import pandas as pd

from ablkit.report import charts
from ablkit.report.collect import Collection, Scale, provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings import RELIABLE
from ablkit.report.findings.words import count, limit
from ablkit.report.page import Block, Figure, Heading, Table, Text, listed
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
    made = f"Phase 1 of {count(len(precision), 'ABL run')}: {c.main.title}. {provenance(c.main.of('abl'))}"
    table = _by_epoch(precision)
    blocks = [Heading("What would be isolated"), _figure(c.main, precision, used), table, Text(made, "soft")]
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
    better = low.drop(columns=used).ge(RELIABLE).any(axis=1)
    parts = []
    for part, when in ((low[better], "another epoch"), (low[~better], "no epoch")):
        if len(part):
            names = listed([TITLES[name] for name in dict.fromkeys(name for name, _ in part.index)])
            parts.append(f"{len(part)} reach{'es' * (len(part) == 1)} {limit(RELIABLE)} after {when} ({names})")
    return (
        f"The turning epoch matters: isolated after epoch {used}, which was used, less than {limit(LOW)} is poisoned in"
        f" {len(low)} of {count(len(precision), 'run')}{_fewest(precision, used)}. Of these,"
        f" {', and '.join(parts)}."
    )


def _failures(precision: pd.DataFrame) -> pd.Series:
    """In how many runs isolation fails, by the epoch after which it would happen; of epochs that all runs have."""
    return precision.dropna(axis=1).lt(LOW).sum()


def _fewest(precision: pd.DataFrame, used: int) -> str:
    """After which epochs isolation fails in the fewest runs, as the end of a sentence."""
    failures = _failures(precision)
    if failures.empty:
        return ""
    least = failures.min()
    if failures.get(used) == least:
        return f", the fewest of epochs {failures.index.min()} to {failures.index.max()}"
    epochs = listed([str(epoch) for epoch in failures.index[failures == least]])
    return f"; the fewest are {least}, after epoch {epochs} (seen afterwards: the epoch was not chosen by these counts)"


def _by_epoch(precision: pd.DataFrame) -> Table:
    """In how many runs isolation would have failed after each epoch, and in how many it would have been reliable."""
    every = precision.dropna(axis=1)
    runs = count(len(every), "run")
    rows = [
        (f"less than {limit(LOW)} poisoned", *(str(number) for number in _failures(precision))),
        (f"at least {limit(RELIABLE)} poisoned", *(str(number) for number in every.ge(RELIABLE).sum())),
    ]
    columns = (f"of {runs}, isolated after epoch", *(str(epoch) for epoch in every))
    return Table(
        columns,
        rows,
        note="Counted after all runs had ended; the epoch that they used was chosen on other seeds, after"
        " seed 0 had been looked at.",
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
