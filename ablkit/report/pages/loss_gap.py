"""Figure 1 of the paper for every attack: are poisoned images learned faster than clean ones?"""

from __future__ import annotations

import pandas as pd

from ablkit.report import charts
from ablkit.report.collect import Collection, Scale, provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings.words import count, upper
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, listed
from ablkit.report.text import number
from ablkit.report.verdicts import LOW, over_seeds

_TRAININGS = {"none": "plain training", "abl": "the first phase of ABL"}
_COLUMNS = ["attack", "method", "seed", "epoch", "clean_loss", "poisoned_loss", "isolation_precision"]


def page(c: Collection) -> Page:
    """The loss gap of all runs of the main scale."""
    blocks: list[Block] = [
        Text(
            "Hypothesis (paper, section 3, Figure 1): backdoored images are learned faster than clean ones, so their"
            " loss is lower early in training. ABL's first phase holds the loss of the others up at gamma."
        )
    ]
    gaps = pd.DataFrame() if c.main is None else first_phases(c, c.main)
    if gaps.empty:
        return Page("loss-gap.html", "Figure 1: the loss gap", "No run has kept its losses yet.", blocks, "Loss gap")
    for method in ("none", "abl"):
        own = gaps[gaps["method"] == method]
        if own.empty:
            continue
        order = [name for name in TITLES if name in set(own["attack"])]
        drawn = charts.later(charts.loss_gaps, own, order)
        how = "Solid: clean images; dotted: poisoned; a line a seed. Losses above 3 are cut off."
        caption = f"**{_gap_sentence(own, _TRAININGS[method])}** {how}"
        alt = f"Loss of clean and poisoned images by epoch, {_TRAININGS[method]}, a panel an attack"
        blocks += [
            Heading(upper(_TRAININGS[method])),
            Figure(f"loss-gap-{method}", drawn, alt, caption),
        ]
        blocks.append(_table(own))
    blocks += _sameness(gaps)
    blocks.append(
        Text(
            f"{c.main.title}. Numbers: the histories of {count(len(gaps.groupby(['attack', 'method', 'seed'])), 'run')}"
            f" in data/KEY/history.csv. {provenance(c.main.runs[c.main.runs['method'].isin(_TRAININGS)])}",
            "soft",
        )
    )
    return Page("loss-gap.html", "Figure 1: the loss gap", _finding(gaps), blocks, "Loss gap")


def first_phases(c: Collection, scale: Scale, attack: str | None = None) -> pd.DataFrame:
    """The epochs of phase 1 of the undefended and ABL runs of a scale that kept them, on one attack or on all."""
    parts = [pd.DataFrame(columns=_COLUMNS)]
    for _, run in pd.concat([scale.of(method, attack) for method in ("none", "abl")]).iterrows():
        own = c.history(run)
        own = own[own["stage"] == "isolate"]
        if len(own):
            parts.append(own.assign(attack=run["attack"], method=run["method"], seed=run["seed"])[_COLUMNS])
    found = pd.concat(parts[1:] or parts, ignore_index=True)
    numbers = ["clean_loss", "poisoned_loss", "isolation_precision"]
    return found.astype(dict.fromkeys(numbers, float)).dropna(subset=["clean_loss", "poisoned_loss"])


def _sameness(gaps: pd.DataFrame) -> list[Block]:
    """In how many trainings the first phase of ABL is plain training, and whether it holds the loss up where not."""
    losses = gaps.astype({"clean_loss": float}).pivot_table("clean_loss", ["attack", "seed", "epoch"], "method")
    if not {"none", "abl"} <= set(losses):
        return []
    both = losses.dropna()
    if both.empty:
        return []
    same = ((both["abl"] - both["none"]).abs() < 1e-9).groupby(level=["attack", "seed"]).all()
    text = (
        f"In {int(same.sum())} of {len(same)} trainings both first phases are the same in every epoch: local gradient"
        " ascent acts only on batches whose mean loss is below gamma."
    )
    others = both[~same.reindex(both.index.droplevel("epoch")).to_numpy()]
    if len(others):
        last = others.groupby(level=["attack", "seed"], sort=False).last()
        higher = last["abl"] > last["none"]
        names = listed([TITLES[name] for name in last[~higher].index.unique("attack")])
        text += (
            f" In {int(higher.sum())} of the other {len(last)} the mean loss of clean images after the last epoch is"
            f" higher with it{f', and not in {len(last) - int(higher.sum())}, of {names}' if names else ''}."
        )
    return [Heading("What local gradient ascent changes"), Text(text)]


def _finding(gaps: pd.DataFrame) -> str:
    method = "none" if "none" in set(gaps["method"]) else "abl"
    own = gaps[gaps["method"] == method]
    return f"{_gap_sentence(own, _TRAININGS[method])} {_precision_sentence(own)}"


def _last(own: pd.DataFrame) -> pd.DataFrame:
    return own.loc[own.groupby(["attack", "method", "seed"])["epoch"].idxmax()]


def _gap_sentence(own: pd.DataFrame, title: str) -> str:
    """In how many runs poisoned images have the lower mean loss at the last epoch of phase 1, and where not."""
    last = _last(own)
    lower = last["poisoned_loss"] < last["clean_loss"]
    half = last["poisoned_loss"] < last["clean_loss"] / 2
    exceptions = [TITLES[name] for name, part in last[~half].groupby("attack", sort=False)]
    but = f" (not with {listed(exceptions)})" if exceptions else ""
    return (
        f"After epoch {int(last['epoch'].max())} of {title} the mean loss of poisoned images is lower than that of"
        f" clean ones in {int(lower.sum())} of {count(len(last), 'run')}, and less than half of it in"
        f" {int(half.sum())}{but}."
    )


def _precision_sentence(own: pd.DataFrame) -> str:
    last = _last(own).dropna(subset="isolation_precision")
    low = last[last["isolation_precision"] < LOW]
    names = [TITLES[name] for name in dict.fromkeys(low["attack"])]
    where = f" ({listed(names)})" if names else ""
    return (
        f"Still, of the images with the lowest loss less than half are poisoned in {len(low)} of"
        f" {count(len(last), 'run')}{where}."
    )


def _table(own: pd.DataFrame) -> Table:
    rows = []
    for name, part in _last(own).groupby("attack", sort=False):
        losses = [
            Cell(number(float(part[m].mean()), "{:.2f}"), _range(part[m])) for m in ("clean_loss", "poisoned_loss")
        ]
        rows.append((TITLES[name], *losses, over_seeds(part["isolation_precision"], digits=0), str(len(part))))
    columns = ("attack", "clean loss", "poisoned loss", "precision of isolating now, %", "n")
    return Table(
        columns, rows, note="Mean cross entropy at the last epoch of the figure; lowest and highest seed below."
    )


def _range(values: pd.Series) -> str:
    return "" if len(values) == 1 else f"{float(values.min()):.2f} to {float(values.max()):.2f}"
