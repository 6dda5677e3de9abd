"""How many images to isolate: what the first phases of other runs tell of it, without any training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ablkit.report import collect
from ablkit.report.collect import Collection
from ablkit.report.figures import TITLES
from ablkit.report.findings import RELIABLE
from ablkit.report.findings.isolators import SCORES
from ablkit.report.findings.words import count, limit
from ablkit.report.isolators import FOLLOWED
from ablkit.report.page import Block, Cell, Heading, Table, Text, link, listed
from ablkit.report.pages import isolation
from ablkit.report.verdicts import INTERVAL, over_seeds, percent_number
from ablkit.runs import arrays
from ablkit.runs.parameters import defaults
from ablkit.training.isolation import isolate

MEASURED = {0.01: "precision", 0.05: "precision_at_5", 0.1: "precision_at_10"}
"""Isolation rate -> what a history calls the precision at it."""
RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the training set that the paper's experiment isolates."""

_LATER = ("isolation_rate", "finetune_", "unlearn_")
"""How the parameters begin that change nothing of phase 1."""


def known(c: Collection) -> tuple[str, list[Block]]:
    """What is isolated at other rates, in a sentence and as tables; nothing where no run kept it."""
    if c.runs.empty:
        return "", []
    told, blocks = _over_seeds(c)
    return told, [*blocks, *_by_rate(c)]


def _over_seeds(c: Collection) -> tuple[str, list[Block]]:
    """Precision and recall at the turning epoch, from the histories of phase 1."""
    phases, turning = isolation.first_phases(c), defaults("run")["isolation_epochs"]
    if phases.empty:
        return "", []
    phases = phases[(phases["loss"] == phases["loss"].iloc[0]) & (phases["epoch"] == turning)]
    phases = phases[phases["score"].isin(FOLLOWED)]
    if phases.empty:
        return "", []
    names = [name for name in TITLES if name in set(phases["attack"])]
    lowest = phases.groupby(["score", "attack"])[list(MEASURED.values())].min() >= RELIABLE
    reliable = lowest.groupby("score").sum().loc[list(FOLLOWED)]
    possible = {rate: sum(_is_possible(phases, name, rate) for name in names) for rate in MEASURED}
    rates = [rate for rate in MEASURED if possible[rate]]
    of_loss, averaged = ([str(reliable.loc[score, MEASURED[rate]]) for rate in rates] for score in FOLLOWED)
    loss = [f"{number} of {possible[rate]}" for number, rate in zip(of_loss, rates, strict=True)]
    told = (
        f"Ranked by the loss, the first {listed([f'{100 * rate:g}' for rate in rates])} % after epoch {turning} are"
        f" at least {limit(RELIABLE)} poisoned on every seed with {listed(loss)} attacks; by averaged weights with"
        f" {listed(averaged)}{_too_little(phases, names)}."
    )
    shares = {"precision": "poisoned, % of what is isolated", "recall": "isolated, % of what is poisoned"}
    runs = count(len(phases.groupby(["attack", "seed"])), "run")
    made = f"Phase 1 of {runs} ({phases['place'].iloc[0]}), those of {link('isolation', 'isolation.html')}."
    return told, [
        Heading("What would be isolated"),
        *(_table(phases, names, kind, title) for kind, title in shares.items()),
        Text(f"{made} {link('Every run with its command', 'runs.html')}.", "soft"),
    ]


def _is_possible(phases: pd.DataFrame, attack: str, rate: float) -> bool:
    """Whether an attack poisons so many images that a share of the set can be reliably poisoned, on every seed."""
    return bool(phases.loc[phases["attack"] == attack, "poisoned"].min() >= RELIABLE * rate)


def _too_little(phases: pd.DataFrame, names: list[str]) -> str:
    """Which attacks poison too little to be counted at a rate, in brackets; empty where none does."""
    told = []
    for rate in MEASURED:
        left = [name for name in names if not _is_possible(phases, name, rate)]
        if left:
            shares = phases.loc[phases["attack"].isin(left)].groupby("attack")["poisoned"].mean()
            ends = " to ".join(dict.fromkeys(f"{100 * share:.0f}" for share in (shares.min(), shares.max())))
            which = listed([TITLES[name] for name in left])
            poison = "poisons" if len(left) == 1 else "poison"
            told.append(f"at {limit(rate)} it is impossible with {which}, which {poison} {ends} % of the set")
    return f" ({'; '.join(told)})" if told else ""


def _table(phases: pd.DataFrame, names: list[str], kind: str, title: str) -> Table:
    rows = []
    for attack in names:
        own, cells = phases[phases["attack"] == attack], []
        for score in FOLLOWED:
            of_score = own[own["score"] == score]
            for rate, name in MEASURED.items():
                found = of_score[name] if kind == "precision" else of_score[name] * rate / of_score["poisoned"]
                cell = over_seeds(found, digits=0, bad=kind == "precision" and found.min() < RELIABLE)
                is_possible = kind != "precision" or _is_possible(phases, attack, rate)
                cells.append(cell if is_possible else replace(cell, kind="soft"))
        poisoned = Cell(percent_number(own["poisoned"].mean(), 1))
        rows.append((TITLES[attack], poisoned, *cells, str(own["seed"].nunique())))
    columns = ("attack", "poisoned, % of the set", *(f"{limit(rate)}" for rate in MEASURED), *map(limit, MEASURED), "n")
    groups = (("", 2), *((f"{title}, {SCORES[score]}", len(MEASURED)) for score in FOLLOWED), ("", 1))
    red = f" Red: less than {limit(RELIABLE)} on a seed." if kind == "precision" else ""
    if kind == "precision" and _too_little(phases, names):
        red += " Grey: too few images are poisoned for that, whatever they are ranked by."
    return Table(columns, rows, groups, f"Mean over seeds, by the share that is isolated.{red} {INTERVAL}")


def _by_rate(c: Collection) -> list[Block]:
    """A table of isolation precision and recall by more rates, at the turning epoch of runs that kept their losses."""
    rows = []
    for _, run in _of_preset(c).iterrows():
        found = _losses(run)
        if found is None:
            continue
        losses, is_poisoned = found
        cells = []
        for rate in RATES:
            chosen = is_poisoned[isolate(losses, rate)]
            recall = chosen.sum() / max(1, is_poisoned.sum())
            cells.append(Cell(percent_number(float(chosen.mean()), 0), percent_number(float(recall), 0)))
        rows.append((f"{TITLES[run['attack']]}, seed {run['seed']}, {run['place']}", *cells))
    if not rows:
        return []
    note = (
        "Precision at the turning epoch, in percent; below it the share of all poisoned images that is isolated."
        " From the losses of every image, which these runs kept; ranked by the loss, as the paper does."
    )
    return [
        Heading("At more rates, run by run"),
        Table(("isolated, % of the set", *(f"{100 * rate:g}" for rate in RATES)), rows, note=note),
    ]


def _of_preset(c: Collection) -> pd.DataFrame:
    """Runs of ABL that kept their losses and whose phase 1 is that of the preset, each once."""
    if c.main is None:
        return c.runs.iloc[:0]
    runs = c.runs[(c.runs["method"] == "abl") & ~c.runs["is_first_phase"] & (c.runs["dataset"] == c.main.dataset)]
    runs = runs.loc[[_is_of(run, c.main.preset) for _, run in runs.iterrows()]]
    runs = runs.loc[[(folder / "losses.npy").exists() for folder in runs["folder"]]]
    return runs.drop_duplicates(["attack", "seed", "place", "train_size"])


def _is_of(run: pd.Series, preset: str) -> bool:
    changed = [name for name in collect.differences(run, preset) if not name.startswith(_LATER)]
    rate = collect.standard_rate(preset, run["attack"])
    return not changed and run["poison_rate"] == rate and not run["attack_settings"]


def _losses(run: pd.Series) -> tuple[np.ndarray, np.ndarray] | None:
    """The losses at the end of phase 1 and which images are poisoned; None where both were not kept, or none is."""
    folder = run["folder"]
    if pd.isna(run["training_images"]) or run["isolation_score"] != "loss":
        return None
    images = int(run["training_images"])
    losses, poisoned = arrays.losses(folder, images), arrays.poisoned(folder, images)
    if losses is None or poisoned is None or not len(poisoned):  # on clean data there is nothing to find
        return None
    is_poisoned = np.zeros(images, bool)
    is_poisoned[poisoned] = True
    return losses, is_poisoned
