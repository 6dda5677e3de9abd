"""Architectures beside one another after phase 1, and epoch by epoch: figures for the notebook and for the page."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ablkit.report import charts
from ablkit.report.figures import TITLES
from ablkit.report.findings import RELIABLE
from ablkit.report.findings.architectures import ends, model_title
from ablkit.report.style import COLOURS, DASHES, MARKERS
from ablkit.report.text import percent

_FOLLOWED = {
    "isolation_precision": "poisoned, fraction of isolated images",
    "attack_success_rate": "attack success rate",
    "clean_accuracy": "clean accuracy",
}
_PANELS = {
    "poisoned, fraction of isolated": {"isolation_precision": "loss", "isolation_precision_averaged": "averaged"},
    "attack success after phase 1": {"attack_success_rate": "attack_success_rate"},
    "clean accuracy after phase 1": {"clean_accuracy": "clean_accuracy"},
}
_SCORES = {"loss": "left: ranked by the loss", "averaged": "left: ranked by the loss under averaged weights"}


def after_phase_1(epochs: pd.DataFrame) -> Figure:
    """Three panels, a line for each model and attack: what is isolated, attack success, accuracy; a marker a seed.

    A dotted line marks what counts as reliable.

    Args:
        epochs: see `findings.of_architectures`.
    """
    last = ends(epochs)
    lines = list(dict.fromkeys(zip(last["model"], last["attack"], strict=True)))
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 1.3 + 0.26 * len(lines)), sharey=True)
    heights = pd.Series({line: -number for number, line in enumerate(lines)})
    at = [heights[line] for line in zip(last["model"], last["attack"], strict=True)]
    for place, (title, series) in zip(axes, _PANELS.items(), strict=True):
        for number, (metric, look) in enumerate(series.items()):
            aside = (0.5 - number) * 0.36 if len(series) > 1 else 0
            style = {"facecolors": "none", "edgecolors": COLOURS[look], "marker": MARKERS[look], "s": 22}
            height = [value + aside for value in at]
            place.scatter(last[metric].astype(float), height, label=_SCORES.get(look), linewidths=0.9, **style)
        place.set_title(title, fontsize=9, loc="left")
        place.xaxis.set_major_formatter(PercentFormatter(1.0))
        place.set(xlim=(-0.03, 1.03), ylim=(0.5 - len(lines), 0.5))
        place.grid(axis="y", visible=False)
        for number, (line, before) in enumerate(zip(lines[1:], lines, strict=False), start=1):
            if line[0] != before[0]:
                place.axhline(0.5 - number, color="#c9ced6", linewidth=0.8)
    axes[0].axvline(RELIABLE, color="#999999", linewidth=0.8, linestyle=":")
    axes[0].set_yticks(list(heights), [f"{model_title(model)}, {TITLES[attack]}" for model, attack in lines])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8)
    return figure


def by_epoch(epochs: pd.DataFrame) -> Figure:
    """Precision of isolation, attack success and clean accuracy after each epoch of phase 1, a line a seed.

    A panel for each model and attack.
    """
    panels = {
        f"{model_title(model)}, {TITLES[attack]}": own
        for (model, attack), own in epochs.groupby(["model", "attack"], sort=False)
    }

    def draw(place: Axes, name: str) -> None:
        for metric, label in _FOLLOWED.items():
            look = {"color": COLOURS[metric], "linestyle": DASHES[metric], "linewidth": 1.2}
            for number, (_, own) in enumerate(panels[name].groupby("seed", sort=False)):
                place.plot(own["epoch"], own[metric].astype(float), label=None if number else label, **look)
        place.set_ylim(-0.04, 1.04)
        place.yaxis.set_major_formatter(PercentFormatter(1.0))

    figure = charts.grid(list(panels), draw, columns=4)
    width, height = figure.get_size_inches()
    figure.set_size_inches(max(1.25 * width, 6.4), height + 0.5)
    # Above, as the name of the axis stands below.
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=8)
    figure.supxlabel("epoch of phase 1", fontsize=9)
    return figure


def table(epochs: pd.DataFrame) -> pd.DataFrame:
    """A row a model and attack, in percent: mean (lowest to highest over seeds) after the last epoch of phase 1."""
    titles = {"isolation_precision": "isolated, poisoned", "isolation_precision_averaged": "by averaged weights"}
    titles |= {"attack_success_rate": "attack success", "clean_accuracy": "clean accuracy"}
    rows = []
    for (model, attack), own in ends(epochs).groupby(["model", "attack"], sort=False):
        cells = {title: _spread(own[metric]) for metric, title in titles.items()}
        rows.append({"model": model_title(model), "attack": TITLES[attack], "seeds": len(own), **cells})
    return pd.DataFrame(rows)


def _spread(values: pd.Series) -> str:
    mean = percent(values.mean())
    return mean if len(values) < 2 else f"{mean} ({percent(values.min())} to {percent(values.max())})"
