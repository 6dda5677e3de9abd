"""The figures of the site, each over many runs: every seed is shown, small multiples share their axes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ablkit.report.figures import TITLES
from ablkit.report.findings import ARM_TITLES, GONE
from ablkit.report.style import COLOURS, DASHES, FRAME, MARKERS
from ablkit.report.text import percent
from ablkit.report.verdicts import LOW

_FAINT = "#c9ced6"
PANELS = {
    "attack_success_rate": "attack success rate (lower is better)",
    "clean_accuracy": "clean accuracy, all classes",
    "target_class_accuracy": "accuracy in the target class",
}


def svg(figure: Figure) -> bytes:
    """The figure as a file that the same numbers always give."""
    buffer = io.BytesIO()
    with plt.rc_context({"savefig.bbox": "standard"}):  # the layout fits already; to trim it would draw all twice
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    # Two decimals of a point are finer than a screen, and a third of the file less.
    return re.sub(rb"(\d\.\d\d)\d+", rb"\1", buffer.getvalue())


def later(draw: Callable[..., Figure], *arguments: object) -> Callable[[], bytes]:
    """A figure that is drawn once all pages are known to be whole: drawing takes most of the time of a site."""
    return lambda: svg(draw(*arguments))


def before_and_after(rows: pd.DataFrame, order: list[str]) -> Figure:
    """Three panels, a line a name: an open dot for each seed undefended, a filled one for each defended.

    Args:
        rows: columns `name`, `is_defended`, `attack_success_rate`, `clean_accuracy`, `target_class_accuracy`.
        order: names from top to bottom.
    """
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 1.1 + 0.28 * len(order)), sharey=True)
    places = {name: -line for line, name in enumerate(order)}
    for place, (metric, title) in zip(axes, PANELS.items(), strict=True):
        colour = COLOURS[metric]
        for name, own in rows.groupby("name", sort=False):
            before, after = own[~own["is_defended"]][metric], own[own["is_defended"]][metric]
            if before.notna().any() and after.notna().any():
                place.plot([before.mean(), after.mean()], [places[name]] * 2, color=_FAINT, linewidth=3, zorder=1)
            open_dots = {"facecolors": "white", "edgecolors": "#333333", "linewidths": 0.9}
            place.scatter(before, [places[name]] * len(before), s=20, zorder=2, **open_dots)
            place.scatter(after, [places[name]] * len(after), s=24, color=colour, zorder=3)
        place.set_title(title, fontsize=9, loc="left")
        place.xaxis.set_major_formatter(PercentFormatter(1.0))
        place.set(xlim=(-0.03, 1.03), ylim=(min(places.values()) - 0.6, 0.6))
        place.grid(axis="y", visible=False)
    axes[0].set_yticks(list(places.values()), list(places))
    figure.supxlabel("fraction of test images; open: undefended, filled: defended, a dot a seed", fontsize=8)
    return figure


def grid(
    names: list[str],
    draw: Callable[[Axes, str], None],
    columns: int = 5,
    height: float = 1.6,
    width: float = 1.95,
    *,
    sharex: bool = True,
) -> Figure:
    """Small multiples with shared axes, one for each name.

    Args:
        draw: fills the panel of a name.
        height: of a panel in inches; `width` likewise.
    """
    columns = min(columns, len(names))
    lines = -(-len(names) // columns)
    size = (max(3.6, width * columns), 0.5 + height * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=sharex, sharey=True, squeeze=False)
    for place, name in zip(axes.flat, names, strict=False):
        draw(place, name)
        place.set_title(name, fontsize=9, loc="left")
        place.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    for place in axes.flat[len(names) :]:
        place.set_visible(False)
        axes.flat[len(names) - columns].xaxis.set_tick_params(labelbottom=True)
    return figure


def loss_gaps(rows: pd.DataFrame, order: list[str]) -> Figure:
    """The mean loss of clean and of poisoned images by epoch: a panel an attack, a line a seed.

    Args:
        rows: columns `attack`, `seed`, `epoch`, `clean_loss`, `poisoned_loss`.
    """

    def draw(place: Axes, name: str) -> None:
        for number, (_, own) in enumerate(rows[rows["attack"] == name].groupby("seed")):
            for metric in ("clean_loss", "poisoned_loss"):
                label = metric.split("_")[0] if number == 0 else None
                style = {"color": COLOURS[metric], "linestyle": DASHES[metric], "linewidth": 1.2}
                place.plot(own["epoch"], own[metric].astype(float), label=label, **style)
        place.set_ylim(0, 3)

    figure = _titled(grid(order, draw), order)
    figure.axes[0].legend(fontsize=7, loc="upper right")
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("mean cross entropy of training images", fontsize=9)
    return figure


def _titled(figure: Figure, order: list[str]) -> Figure:
    for place, name in zip(figure.axes, order, strict=False):
        place.set_title(TITLES.get(name, name), fontsize=9, loc="left")
    return figure


def turning_epochs(rows: pd.DataFrame, outcome: pd.Series, used: int) -> Figure:
    """Isolation precision by epoch as a map: a line a run, a column an epoch; at the right what the run ended with.

    Args:
        rows: index (name, seed), a column an epoch, precision in [0, 1].
        outcome: attack success rate after ABL, with the same index.
        used: the turning epoch of these runs.
    """
    figure, place = plt.subplots(figsize=(1.9 + 0.75 * rows.shape[1], 0.9 + 0.2 * len(rows)))
    shown = {"annot": True, "fmt": ".0f", "annot_kws": {"fontsize": 7}, "cmap": "cividis", "cbar": False}
    sns.heatmap(100 * rows, vmin=0, vmax=100, ax=place, **shown)
    names, edge = list(rows.index), rows.shape[1]
    starts = [line == 0 or names[line][0] != names[line - 1][0] for line in range(len(names))]
    lines = zip(names, starts, strict=True)
    labels = [f"{name}, seed {seed}" if start else f"seed {seed}" for (name, seed), start in lines]
    place.set_yticks(np.arange(len(names)) + 0.5, labels, fontsize=7, rotation=0)
    for line, (start, value) in enumerate(zip(starts, outcome, strict=True)):
        if start and line:
            place.axhline(line, color="white", linewidth=2)
        weight = "bold" if value > GONE else "normal"
        place.text(edge + 0.15, line + 0.5, percent(value, 0), va="center", fontsize=7, fontweight=weight)
    place.text(edge + 0.15, -0.5, "ASR after ABL", fontsize=7, va="center")
    label = f"epoch at which the images with the lowest loss are isolated (used: {used})"
    place.set_xlabel(label, fontsize=8)
    place.set_ylabel("")
    if used in rows.columns:
        column = list(rows.columns).index(used)
        box = {"fill": False, "edgecolor": FRAME, "linewidth": 2, "clip_on": False}
        place.add_patch(plt.Rectangle((column, 0), 1, len(rows), **box))
    return figure


def precision_and_outcome(rows: pd.DataFrame) -> Figure:
    """Isolation precision at the turning epoch against the attack success rate that remains; a dot a run.

    Args:
        rows: columns `isolation_precision`, `attack_success_rate`.
    """
    figure, place = plt.subplots(figsize=(4.8, 3.0))
    style = {"color": COLOURS["attack_success_rate"], "s": 24, "alpha": 0.75}
    place.scatter(rows["isolation_precision"], rows["attack_success_rate"], **style)
    place.axvline(LOW, color="#999999", linewidth=0.8, linestyle=":")
    place.axhline(GONE, color="#999999", linewidth=0.8, linestyle=":")
    place.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    place.set(xlabel="isolation precision at the turning epoch", ylabel="attack success rate after ABL")
    for axis in (place.xaxis, place.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    return figure


def epochs(rows: pd.DataFrame, order: list[str]) -> Figure:
    """Clean accuracy, target class, attack success and isolation precision after each epoch, a panel a seed.

    Args:
        rows: columns `name`, `number` (of the epoch), `stage` and the metrics.
        order: the names of the panels.
    """

    def draw(place: Axes, name: str) -> None:
        own = rows[rows["name"] == name]
        for metric in ("attack_success_rate", "clean_accuracy", "target_class_accuracy", "isolation_precision"):
            if metric in own and own[metric].notna().any():
                style = {"color": COLOURS[metric], "linestyle": DASHES[metric], "linewidth": 1.2}
                if own[metric].count() == 1:  # such as a precision that was measured after the last epoch alone
                    style |= {"marker": "."}
                place.plot(own["number"], own[metric].astype(float), label=metric.replace("_", " "), **style)
        for begin in own.loc[own["stage"] != own["stage"].shift(), "number"].iloc[1:]:
            place.axvline(begin - 0.5, color="#999999", linewidth=0.8)
        place.set_ylim(-0.03, 1.05)
        place.yaxis.set_major_formatter(PercentFormatter(1.0))

    figure = grid(order, draw, columns=3, height=2.0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=8)
    figure.supylabel("fraction of images", fontsize=8)  # of test images, of the precision of isolated ones
    for place in figure.axes[-min(3, len(order)) :]:
        place.set_xlabel("epoch", fontsize=8)
    return figure


def growth(rates: dict[str, dict[str, float]]) -> Figure:
    """Images per second by what grows, a panel each.

    Args:
        rates: what grows -> its values -> images per second.
    """
    titles = {"images": "training images", "batch": "batch size", "width": "width of the network"}
    titles |= {"runs": "runs, a process each (sum)"}
    figure, axes = plt.subplots(1, len(rates), figsize=(2.4 * len(rates), 2.4), squeeze=False)
    for place, (name, own) in zip(axes[0], rates.items(), strict=True):
        values = sorted((int(value), rate) for value, rate in own.items())
        place.plot(range(len(values)), [rate for _, rate in values], marker="o", color=COLOURS["clean_accuracy"])
        place.set_xticks(range(len(values)), [f"{value:,}" for value, _ in values], fontsize=8)
        place.set(xlabel=titles.get(name, name), ylim=(0, 1.15 * max(rate for _, rate in values)))
    axes[0, 0].set_ylabel("images per second")
    return figure


def isolation_scores(rows: pd.DataFrame, scores: list[str]) -> Figure:
    """Isolation precision by epoch: a row a score, a column an attack, a line a seed.

    Args:
        rows: columns `attack`, `seed`, `epoch` and one for each score.
    """
    names = list(dict.fromkeys(rows["attack"]))
    size = (0.9 + 2.5 * len(names), 1.75 * len(scores))
    figure, axes = plt.subplots(len(scores), len(names), figsize=size, sharex=True, sharey=True, squeeze=False)
    for line, score in zip(axes, scores, strict=True):
        for place, name in zip(line, names, strict=True):
            for dash, (seed, own) in zip(
                ["-", "--", ":", "-."], rows[rows["attack"] == name].groupby("seed"), strict=False
            ):
                style = {"color": COLOURS["isolation_precision"], "linestyle": dash, "linewidth": 1.2}
                place.plot(own["epoch"], own[score], label=f"seed {seed}", **style)
            place.yaxis.set_major_formatter(PercentFormatter(1.0))
            place.set_ylim(-0.04, 1.04)
        line[0].set_ylabel(score, fontsize=8)
    for place, name in zip(axes[0], names, strict=True):
        place.set_title(TITLES[name], fontsize=9, loc="left")
    for place in axes[-1]:
        place.set_xlabel("epoch of phase 1", fontsize=8)
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].legend(fontsize=7, loc="lower right")
    return figure


def arms(epochs: pd.DataFrame) -> Figure:
    """Attack success and two accuracies along the unlearning: a panel an arm, a line a seed, a marker where it ends.

    Args:
        epochs: of one attack: columns `arm`, `seed`, `epoch` (0 is the fine-tuned model), `attack_success_rate`,
            `clean_accuracy`, `target_class_accuracy`.
    """
    titles = {ARM_TITLES[name]: name for name in ARM_TITLES if name in set(epochs["arm"])}
    last = epochs.groupby("arm")["epoch"].max()
    usual = last.drop("frozen_longer", errors="ignore").max()

    def draw(place: Axes, title: str) -> None:
        for number, (_, own) in enumerate(epochs[epochs["arm"] == titles[title]].groupby("seed")):
            for metric in PANELS:
                look = {"color": COLOURS[metric], "linestyle": DASHES[metric], "linewidth": 1.1}
                label = metric.replace("_", " ") if number == 0 else f"_{number}"
                end = {"marker": MARKERS[metric], "markersize": 4.5, "markevery": [-1], "clip_on": False}
                place.plot(own["epoch"], own[metric].astype(float), label=label, **look, **end)
        place.set_ylim(-0.03, 1.05)
        place.set_xlim(0, max(usual, last[titles[title]]))  # one arm may take three times as long
        place.yaxis.set_major_formatter(PercentFormatter(1.0))

    figure = grid(list(titles), draw, columns=3, height=1.7, width=2.6, sharex=False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=8)
    figure.supylabel("fraction of test images", fontsize=8)
    for place in [place for place in figure.axes if place.get_visible()][-min(3, len(titles)) :]:
        place.set_xlabel("epoch of unlearning", fontsize=8)
    return figure
