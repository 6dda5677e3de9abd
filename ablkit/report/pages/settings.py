"""Which settings matter: the turning epoch from the histories of all runs; others where runs vary them."""

from __future__ import annotations

import pandas as pd

from ablkit.report import charts
from ablkit.report.collect import Collection, Scale, differences
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, listed
from ablkit.report.pages import missing
from ablkit.report.pages.loss_gap import first_phases
from ablkit.report.rates import by_rate
from ablkit.report.text import percent
from ablkit.report.verdicts import LOW, over_seeds

_VARIED = {
    "isolation_rate": ("isolation rate", (0.001, 0.005, 0.05, 0.1, 0.2)),
    "gamma": ("gamma", (0.0, 0.25, 0.75, 1.0, 1.5)),
    "poison_rate": ("poisoning rate", (0.01, 0.05, 0.2, 0.5, 0.7)),
    "isolation_epochs": ("turning epoch, trained on from there", (4, 8, 10)),
}
"""Parameter -> its name, and the values that the paper's experiments ask for beside the preset's."""


def page(c: Collection) -> Page:
    """What is known of each setting of ABL."""
    title = "Settings: what ABL depends on"
    if c.main is None or not len(c.main.of("abl")):
        return Page("settings.html", title, "No ABL run yet, so nothing is known of its settings.", [], "Settings")
    scale, blocks = c.main, []
    precision = precisions(c, scale)
    blocks += [Heading("Turning epoch"), *_turning(scale, precision), Heading("Isolation precision and the outcome")]
    runs = scale.of("abl")
    caption = (
        f"**{_outcome_sentence(runs)}** A dot a run; dotted: {percent(LOW, 0)} precision, {percent(GONE, 0)} success."
    )
    alt = "Attack success rate after ABL against isolation precision"
    blocks.append(Figure("precision-outcome", charts.later(charts.precision_and_outcome, runs), alt, caption))
    blocks += by_rate(c)
    for name, (what, values) in _VARIED.items():
        blocks += [Heading(what[:1].upper() + what[1:]), *_varied(c, scale, name, what, values)]
    return Page("settings.html", title, _finding(precision, runs), blocks, "Settings")


def precisions(c: Collection, scale: Scale) -> pd.DataFrame:
    """Isolation precision of the ABL runs by epoch: index (attack, seed), a column an epoch."""
    gaps = first_phases(c, scale)
    own = gaps[gaps["method"] == "abl"].astype({"isolation_precision": float, "epoch": int})
    table = own.pivot(index=["attack", "seed"], columns="epoch", values="isolation_precision")
    return table.loc[sorted(table.index, key=lambda key: (list(TITLES).index(key[0]), key[1]))]


def _finding(precision: pd.DataFrame, runs: pd.DataFrame) -> str:
    """How much the turning epoch decides."""
    if precision.empty:
        return "The runs have not kept their epochs, so nothing is known of the turning epoch."
    used = int(runs["isolation_epochs"].mode()[0])
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


def _turning(scale: Scale, precision: pd.DataFrame) -> list[Block]:
    if precision.empty:
        return [Text("The histories of these runs were not kept.", "notice")]
    runs = scale.of("abl").set_index(["attack", "seed"])["attack_success_rate"].loc[list(precision.index)]
    used = int(scale.of("abl")["isolation_epochs"].mode()[0])
    named = precision.set_axis(pd.MultiIndex.from_tuples([(TITLES[n], s) for n, s in precision.index]), axis=0)
    caption = (
        f"**{_swing_sentence(precision)}** Share of poisoned images among the isolated, in percent, if isolation"
        f" happened after that epoch of the same training; framed: epoch {used}, which was used. At the right the"
        " attack success rate that ABL ended with."
    )
    drawn = charts.later(charts.turning_epochs, named, runs, used)
    alt = "Isolation precision by epoch and run"
    return [Figure("turning-epoch", drawn, alt, caption)]


def _swing_sentence(precision: pd.DataFrame) -> str:
    steps = precision.diff(axis=1).abs()
    swings = steps[(steps > 0.5).any(axis=1)]
    runs = f"{len(swings)} of {count(len(precision), 'run')}"
    return f"In {runs} the precision jumps by more than 50 points between two epochs."


def _outcome_sentence(runs: pd.DataFrame) -> str:
    good, bad = runs[runs["isolation_precision"] >= LOW], runs[runs["isolation_precision"] < LOW]
    gone = [int((part["attack_success_rate"] <= GONE).sum()) for part in (good, bad)]
    parts = (
        [f"with at least {percent(LOW, 0)} precision in {gone[0]} of {count(len(good), 'run')}"] if len(good) else []
    )
    parts += [f"with less in {gone[1]} of {count(len(bad), 'run')}"] if len(bad) else []
    return f"ABL removes the backdoor {listed(parts)}." if parts else "Isolation was not measured."


def _varied(c: Collection, scale: Scale, name: str, what: str, values: tuple) -> list[Block]:
    """A table of the runs that differ from the main scale's in this one parameter, or how to make them."""
    found = c.runs[
        (c.runs["method"] == "abl") & (c.runs["dataset"] == scale.dataset) & (c.runs["place"] == scale.place)
    ]
    varied = [run for _, run in found.iterrows() if _differs_in(run, scale, name)]
    if not varied:
        given = values if scale.preset == "quick" else values[:1]
        commands = [f"ablkit run run -p attack badnets -p {name} {value:g}" for value in given]
        return missing.not_run(c, f"other values of the {what}", commands)
    rows = []
    for (attack, value), own in pd.DataFrame(varied).groupby(["attack", name], sort=False):
        cells = [over_seeds(own[m]) for m in ("attack_success_rate", "clean_accuracy", "target_class_accuracy")]
        rows.append(
            (
                TITLES[attack],
                Cell(f"{value:g}"),
                *cells,
                over_seeds(own["isolation_precision"], digits=0),
                str(len(own)),
            )
        )
    columns = (
        "attack",
        what,
        "attack success, %",
        "clean accuracy, %",
        "target class, %",
        "isolation precision, %",
        "n",
    )
    return [Table(columns, rows)]


def _differs_in(run: pd.Series, scale: Scale, name: str) -> bool:
    if run["attack_settings"] or run["method_settings"]:
        return False
    if not run["poison_rate"]:  # on clean data there is no attack to be held against
        return False
    if name == "poison_rate":
        return run["preset"] == scale.preset and not run["is_standard"]
    return list(differences(run, scale.preset)) == [name]
