"""Which settings matter: how isolation decides the outcome, and the pages that vary one setting each."""

from __future__ import annotations

import pandas as pd

from ablkit.report import charts
from ablkit.report.collect import Collection, provenance
from ablkit.report.findings import GONE
from ablkit.report.findings.words import FEWEST, PRESENT, count
from ablkit.report.page import Block, Figure, Heading, Page, Table, Text, listed
from ablkit.report.text import percent
from ablkit.report.verdicts import LOW

_TITLE = "Which settings matter?"


def page(c: Collection, overview: Table) -> Page:
    """What is known of each setting of ABL.

    Args:
        overview: a row for each page that varies one setting.
    """
    if c.main is None or not len(c.main.of("abl")):
        return Page("settings.html", _TITLE, "No ABL run yet, so nothing is known of its settings.", [], "Settings")
    runs = c.main.of("abl")
    undefended = c.main.of("none").groupby("attack")["attack_success_rate"].mean()
    weak = runs["attack"].isin(undefended.index[undefended < PRESENT])
    found = outcome(runs[~weak])
    told = (
        f"With the default settings the backdoor is gone after ABL {found}." if found else "Isolation was not measured."
    )
    caption = (
        f"A dot a run, all with the same settings; dotted: {percent(LOW, 0)} precision, {percent(GONE, 0)} success."
    )
    alt = "Attack success rate after ABL against isolation precision"
    drawn = charts.later(charts.precision_and_outcome, runs)
    blocks: list[Block] = [
        Heading("Setting by setting"),
        overview,
        Heading("Isolation precision and the outcome"),
        Figure("precision-outcome", drawn, alt, f"**{told}** {caption}"),
        Text(f"{c.main.title}. {provenance(runs)}", "soft"),
    ]
    return Page("settings.html", _TITLE, told, blocks, "Settings")


def decides(runs: pd.DataFrame) -> bool:
    """Whether the backdoor is gone in a larger share of the runs whose isolation is precise than of the others."""
    is_precise, gone = runs["isolation_precision"] >= LOW, runs["attack_success_rate"] <= GONE
    both = len(runs) >= FEWEST and is_precise.nunique() == 2
    return bool(both and gone[is_precise].mean() > gone[~is_precise].mean())


def outcome(runs: pd.DataFrame) -> str:
    """In how many runs with precise and with other isolation the backdoor is gone; empty without any."""
    parts = []
    for own, what in (
        (runs[runs["isolation_precision"] >= LOW], f"whose isolation is at least {percent(LOW, 0)} precise"),
        (runs[runs["isolation_precision"] < LOW], "where it is less precise"),
    ):
        if len(own):
            gone = int((own["attack_success_rate"] <= GONE).sum())
            parts.append(f"in {gone} of {count(len(own), 'run')} {what}")
    return listed(parts)
