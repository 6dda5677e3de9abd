"""The isolation rate, from the losses that runs kept of every image: no training is needed for another rate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablkit.report.collect import Collection
from ablkit.report.figures import TITLES
from ablkit.report.page import Block, Cell, Heading, Table
from ablkit.report.verdicts import percent_number
from ablkit.runs import arrays
from ablkit.training.isolation import isolate

RATES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of the training set that the paper's experiment isolates."""


def by_rate(c: Collection) -> list[Block]:
    """A table of isolation precision and recall by rate, at the turning epoch of every run that kept its losses."""
    rows = []
    for _, run in c.runs[(c.runs["method"] == "abl") & ~c.runs["is_first_phase"]].iterrows():
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
        " From the losses of every image; ranked by the loss, as the paper does."
    )
    return [
        Heading("How many to isolate"),
        Table(("isolated, % of the set", *(f"{100 * rate:g}" for rate in RATES)), rows, note=note),
    ]


def _losses(run: pd.Series) -> tuple[np.ndarray, np.ndarray] | None:
    """The losses at the end of phase 1 and which images are poisoned; None where both were not kept, or none is."""
    folder = run["folder"]
    if not (folder / "losses.npy").exists() or pd.isna(run["training_images"]) or run["isolation_score"] != "loss":
        return None
    images = int(run["training_images"])
    losses, poisoned = arrays.losses(folder, images), arrays.poisoned(folder, images)
    if losses is None or poisoned is None or not len(poisoned):  # on clean data there is nothing to find
        return None
    is_poisoned = np.zeros(images, bool)
    is_poisoned[poisoned] = True
    return losses, is_poisoned
