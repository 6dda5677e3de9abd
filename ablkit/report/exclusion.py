"""The figure and the table of training without suspects, for its notebook and its page."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pandas.io.formats.style import Styler

from ablkit.report import tables
from ablkit.report.charts import PANELS
from ablkit.report.figures import TITLES
from ablkit.report.findings.beside import beside
from ablkit.report.style import COLOURS, MARKERS
from ablkit.report.text import percent

SEPARATION, SEPARATION_OF_OTHERS = "method_largest_separation", "method_largest_separation_of_others"
METHOD_TITLES = {"none": "undefended", "abl": "ABL", "exclude": "suspects excluded"}
_COLUMNS = {
    "attack_success_rate_none": "ASR undefended",
    "attack_success_rate_abl": "ASR with ABL",
    "attack_success_rate_retrain": "ASR, ABL's isolated images left out",
    "attack_success_rate_random": "ASR, as many drawn by chance excluded",
    "attack_success_rate": "ASR, suspects excluded",
    "clean_accuracy_oracle": "CA, trained on clean data",
    "clean_accuracy_abl": "CA with ABL",
    "clean_accuracy": "CA, suspects excluded",
    "target_class_accuracy_oracle": "target class, trained on clean data",
    "target_class_accuracy_abl": "target class with ABL",
    "target_class_accuracy": "target class, suspects excluded",
    "exclusion_precision": "suspects poisoned",
    "exclusion_recall": "poisoned suspected",
}


def drawn(frame: pd.DataFrame, order: Sequence[str] = ()) -> Figure:
    """Three panels, a line an attack: a marker for each seed of each method.

    A dashed line is the mean of models that were trained on clean data.

    Args:
        frame: see `findings.beside.beside`.
        order: the attacks from the top; without it the one of which most is left comes first.
    """
    own = beside(frame)
    means = own.groupby("attack", sort=False)["attack_success_rate"].mean()
    order = list(order) or list(means.sort_values(ascending=False, kind="stable").index)
    shown = frame[(frame["method_settings"] == "") & frame["attack"].isin(order) & frame["seed"].isin(own["seed"])]
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 1.4 + 0.36 * len(order)), sharey=True)
    for place, (metric, title) in zip(axes, PANELS.items(), strict=True):
        for number, (method, label) in enumerate(METHOD_TITLES.items()):
            rows = shown[shown["method"] == method]
            height = [-order.index(name) - 0.24 * (number - 1) for name in rows["attack"]]
            filled = "white" if method == "none" else COLOURS[method]
            style = {"facecolors": filled, "edgecolors": COLOURS[method], "marker": MARKERS[method], "s": 20}
            place.scatter(rows[metric].astype(float), height, label=label, linewidths=0.9, **style)
        ceiling = own[f"{metric}_oracle"].mean()
        if pd.notna(ceiling):
            place.axvline(ceiling, color="#333333", linewidth=0.9, linestyle="--", label="trained on clean data")
        for line in range(1, len(order)):
            place.axhline(0.5 - line, color="#e4e7ec", linewidth=0.8)
        place.set_title(title, fontsize=9, loc="left")
        place.xaxis.set_major_formatter(PercentFormatter(1.0))
        place.set(xlim=(-0.03, 1.03), ylim=(0.5 - len(order), 0.5))
        place.grid(axis="y", visible=False)
    axes[0].set_yticks([-line for line in range(len(order))], [TITLES[name] for name in order])
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8)
    return figure


def separations(own: pd.DataFrame, limit: float) -> Figure:
    """How far apart the groups of the suspected class lie, and those of the next class, a line an attack.

    Args:
        own: see `findings.beside.beside`, with the separations that the method measured of itself.
        limit: from which on a class can be suspected.
    """
    order = list(own.groupby("attack")[SEPARATION].max().sort_values(ascending=False, kind="stable").index)
    suspected = own[own["method_suspected_classes"] > 0]
    figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.24 * len(order)))
    for rows, metric, filled, label in (
        (suspected, SEPARATION, COLOURS["exclude"], "the suspected class"),
        (own, SEPARATION_OF_OTHERS, "white", "the highest of the others"),
    ):
        height = [-order.index(name) for name in rows["attack"]]
        style = {"facecolors": filled, "edgecolors": COLOURS["exclude"], "marker": MARKERS["exclude"], "s": 22}
        axes.scatter(rows[metric].astype(float), height, label=label, linewidths=0.9, **style)
    axes.axvline(limit, color="#333333", linewidth=0.9, linestyle="--", label="least that is suspected")
    axes.set_yticks([-line for line in range(len(order))], [TITLES[name] for name in order])
    axes.set(
        xlim=(0, None), ylim=(0.5 - len(order), 0.5), xlabel="standard deviations between the two groups of a class"
    )
    axes.grid(axis="y", visible=False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=8)
    return figure


def table(frame: pd.DataFrame) -> Styler:
    """A row a run without suspects, beside the others of its attack and seed; ASR: attack success, CA: accuracy."""
    own = beside(frame)
    shares = {title: own[name].map(percent) for name, title in _COLUMNS.items() if name in own}
    return tables.shown(pd.DataFrame({"attack": own["attack"].map(TITLES), "seed": own["seed"], **shares}))
