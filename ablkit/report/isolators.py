"""Isolation scores beside one another, epoch by epoch: figures and numbers for the notebook and for the page."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ablkit.report import charts
from ablkit.report.figures import TITLES
from ablkit.report.findings import RELIABLE
from ablkit.report.findings.isolators import SCORES, loss_title, settled
from ablkit.report.style import COLOURS, DASHES, MARKERS

MAIN, OTHERS = ("loss", "averaged"), ("fresh_statistics", "median", "last_three", "class_first")
"""What stands in one figure: the paper's score beside the steadiest, and the rest."""
_LABELS = {"precision": "poisoned, fraction of isolated images", "auroc": "AUROC (0.5 is chance)"}
_LIMITS = {"precision": RELIABLE, "auroc": 0.5}


def by_epoch(frame: pd.DataFrame, scores: tuple[str, ...] = MAIN, metric: str = "precision") -> Figure:
    """A metric after each epoch: a panel for each attack and loss, a line for each score and seed.

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
        for score in scores:
            look = {"color": COLOURS[score], "linestyle": DASHES[score], "marker": MARKERS[score]}
            look |= {"linewidth": 1.1, "markersize": 3, "markeredgecolor": "white", "markeredgewidth": 0.3}
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
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
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
        | {SCORES[score]: "{:.1f} (lowest {:.1f})".format(*(100 * v for v in own[score])) for score in SCORES if score in own}
        for attack, own in spread(frame, metric).items()
    ]
    return pd.DataFrame(rows).fillna("")
