"""Isolation scores beside one another, epoch by epoch: figures and numbers for the notebook and for the page."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ablkit.report import charts
from ablkit.report.figures import TITLES
from ablkit.report.findings import RELIABLE
from ablkit.report.findings.isolators import SCORES, loss_title, settled
from ablkit.report.style import COLOURS, DASHES, MARKERS

FOLLOWED = ("loss", "averaged")
"""The scores that are followed epoch by epoch: the paper's, and that under averaged weights."""
_LABELS = {"precision": "poisoned, fraction of isolated images", "auroc": "AUROC (0.5 is chance)"}
_LIMITS = {"precision": RELIABLE, "auroc": 0.5}


def by_epoch(frame: pd.DataFrame, metric: str = "precision") -> Figure:
    """A metric after each epoch: a panel for each attack and loss, a line for each score of FOLLOWED and seed.

    A dotted line marks what counts as reliable, for AUROC what is chance.

    Args:
        frame: columns `attack`, `loss`, `seed`, `epoch`, `score` and the metric; see `comparisons.isolators`.
        metric: `precision` or `auroc`.
    """
    losses = list(dict.fromkeys(frame["loss"]))
    panels = {
        TITLES[attack] + (f", {loss_title(loss)}" if len(losses) > 1 else ""): own
        for attack, part in frame.groupby("attack", sort=False)
        for loss in losses
        if len(own := part[part["loss"] == loss])
    }

    def draw(place: Axes, name: str) -> None:
        place.axhline(_LIMITS[metric], color="#999999", linewidth=0.8, linestyle=":")
        for score in FOLLOWED:
            look = {"color": COLOURS[score], "linestyle": DASHES[score], "linewidth": 1.3}
            rows = panels[name][panels[name]["score"] == score]
            for number, (_, own) in enumerate(rows.groupby("seed")):
                place.plot(own["epoch"], own[metric], label=None if number else SCORES[score], **look)
        place.set_ylim(-0.04, 1.04)
        place.yaxis.set_major_formatter(PercentFormatter(1.0) if metric == "precision" else "{x:g}")

    figure = charts.grid(list(panels), draw, columns=len(losses) if len(losses) > 1 else 5)
    for place in figure.axes:
        place.set_title(place.get_title(loc="left").replace(", ", "\n", 1), fontsize=8, loc="left")
    figure.supxlabel("epoch of phase 1; a line a seed", fontsize=8)
    figure.supylabel(_LABELS[metric], fontsize=8)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8)
    return figure


def by_score(frame: pd.DataFrame) -> Figure:
    """Precision by score: a panel an attack, a dot for each seed and epoch that is compared, a bar at the median.

    Args:
        frame: columns `attack`, `seed`, `epoch`, `score`, `precision`, of one loss.
    """
    rows = settled(frame)
    panels = {TITLES[attack]: own for attack, own in rows.groupby("attack", sort=False)}
    scores = [score for score in SCORES if score in set(rows["score"])]
    numbers = {score: number for number, score in enumerate(scores)}

    def draw(place: Axes, name: str) -> None:
        place.axhline(RELIABLE, color="#999999", linewidth=0.8, linestyle=":")
        for score, own in panels[name].groupby("score"):
            # Side by side by epoch, so that equal values do not hide one another.
            aside = 0.5 * (own["epoch"] - rows["epoch"].min()) / max(1, np.ptp(rows["epoch"])) - 0.25
            colour = COLOURS.get(score, COLOURS["isolation_precision"])
            look = {"s": 9, "alpha": 0.6, "linewidths": 0, "marker": MARKERS.get(score, "s")}
            place.scatter(numbers[score] + aside, own["precision"], color=colour, **look)
            place.hlines(own["precision"].median(), numbers[score] - 0.4, numbers[score] + 0.4, colour, linewidth=1.2)
        place.set_ylim(-0.04, 1.04)
        place.yaxis.set_major_formatter(PercentFormatter(1.0))

    figure = charts.grid(list(panels), draw, height=1.8)
    for place in figure.axes:
        place.set_xticks(range(len(scores)), [SCORES[score] for score in scores], rotation=90, fontsize=7)
        place.grid(axis="x", visible=False)
    figure.supylabel(_LABELS["precision"], fontsize=8)
    return figure


def spread(frame: pd.DataFrame, metric: str = "precision") -> dict[str, dict[str, tuple[float, float]]]:
    """Attack -> score -> median and lowest of a metric over seeds and over the epochs that are compared."""
    grouped = settled(frame).groupby(["attack", "score"], sort=False)[metric]
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for (attack, score), values in grouped:
        found.setdefault(attack, {})[score] = values.median(), values.min()
    return found


def table(frame: pd.DataFrame, metric: str = "precision") -> pd.DataFrame:
    """The same in words, a row an attack, in percent: `99.0 (lowest 12.0)`."""
    rows = [
        {"attack": TITLES[attack]}
        | {
            SCORES[score]: "{:.1f} (lowest {:.1f})".format(*(100 * v for v in own[score]))
            for score in SCORES
            if score in own
        }
        for attack, own in spread(frame, metric).items()
    ]
    return pd.DataFrame(rows).fillna("")
