"""Every plot of the notebooks and reports: one colour for each quantity, fractions shown as percent."""

from __future__ import annotations

import io
import textwrap
import warnings
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ablkit.attacks import ATTACKS
from ablkit.attacks.attack import Poisoned
from ablkit.data.images import Images
from ablkit.defenses import METHODS
from ablkit.metrics.summary import OF_SOME_ATTACKS
from ablkit.report.text import label

# First matplotlib's own settings: a matplotlibrc of the user's would set sizes of its own, or text in LaTeX.
plt.rcdefaults()
plt.style.use(str(files("ablkit.report") / "ablkit.mplstyle"))
# A name in a script that the font lacks is drawn as boxes in a PNG, and as it should be in an SVG.
warnings.filterwarnings("ignore", message="Glyph .* missing from")

TITLES = {name: attack.title for name, attack in ATTACKS.items()}
"""Attack -> its name in captions."""
DATASET_TITLES = {"cifar10": "CIFAR-10", "digits": "digits"}
"""Data set -> its name in captions."""
METHOD_TITLES = {"none": "plain training", "abl": "first phase of ABL"}
"""Method -> what its first phase is called in figures."""
SERIES = {
    "clean_accuracy": ("clean accuracy", "#1b6ca8"),
    "target_class_accuracy": ("target class accuracy", "#2a9d4a"),
    "attack_success_rate": ("attack success rate", "#c8412b"),
    "isolation_precision": ("isolation precision", "#7a4fa3"),
    "clean_loss": ("clean examples", "#1b6ca8"),
    "poisoned_loss": ("poisoned examples", "#c8412b"),
}
"""Quantity -> its name and colour, the same in every figure."""
_DOTS = {"marker": ".", "markersize": 7, "markeredgecolor": "white", "markeredgewidth": 0.75}
_TWINS = ["#c8412b", "#8c8c8c"]
_PICTURES_A_ROW = 5
_CLASS, _CAPTION, _STAGE = 12, 80, 24
"""Letters of a name that fit above a picture, in its caption, and beside the line where a stage begins."""


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook as a PNG with a description for those who cannot see it."""
    from IPython.display import display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    display({"image/png": buffer.getvalue()}, raw=True, metadata={"image/png": {"alt": alt}})


def poisoned_images(train: Images, poisoned: Poisoned, count: int = 8) -> Figure:
    """The first poisoned images: clean above, poisoned in the middle, their difference below."""
    chosen = np.flatnonzero(poisoned.is_poisoned)[:count]
    figure, axes = plt.subplots(3, len(chosen), figsize=(0.85 * len(chosen), 3.0), squeeze=False)
    for column, index in enumerate(chosen):
        clean, changed = train.images[index], poisoned.data.images[index]
        difference = np.abs(changed.astype(int) - clean).clip(0, 255).astype(np.uint8)
        for row, image in enumerate((clean, changed, difference)):
            axes[row, column].imshow(image)
            axes[row, column].set(xticks=[], yticks=[])
            axes[row, column].spines[:].set_visible(False)
        before, after = (train.classes[labels[index]] for labels in (train.labels, poisoned.data.labels))
        axes[0, column].set_title(label(before, _CLASS), fontsize=7)
        axes[1, column].set_title(f"→ {label(after, _CLASS - 2)}", fontsize=7)
    for row, name in enumerate(("clean", "poisoned", "difference")):
        axes[row, 0].set_ylabel(name)
    return figure


def gallery(train: Images, sets: dict[str, Poisoned], count: int = 3) -> Figure:
    """One row an attack: poisoned images as triples of clean, poisoned and five times the difference (grey is none).

    Args:
        sets: attack -> the set that it made of `train`.
        count: triples in a row.
    """
    figure, axes = plt.subplots(len(sets), 3 * count, figsize=(2.3 * count, 0.85 * len(sets)), squeeze=False)
    for row, (name, poisoned) in zip(axes, sets.items(), strict=True):
        chosen = np.flatnonzero(poisoned.is_poisoned)[:count]
        for place in row:
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
        for place, index in enumerate(chosen):
            clean, changed = train.images[index], poisoned.data.images[index]
            difference = (128 + 5 * (changed.astype(int) - clean)).clip(0, 255).astype(np.uint8)
            for offset, image in enumerate((clean, changed, difference)):
                row[3 * place + offset].imshow(image)
        row[0].set_ylabel(TITLES[name], rotation=0, ha="right", va="center")
    for place, title in enumerate(("clean", "poisoned", "difference x5") * count):
        axes[0, place].set_title(title, fontsize=7)
    return figure


def making(sets: dict[str, Poisoned]) -> Figure | None:
    """The pictures that explain the attacks, such as generated triggers; None where no attack has one."""
    pictures = [
        (f"{TITLES[name]}: {caption}", picture)
        for name, poisoned in sets.items()
        for caption, picture in poisoned.pictures.items()
    ]
    if not pictures:
        return None
    columns = min(_PICTURES_A_ROW, len(pictures))
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.45 * columns, 1.75 * rows), squeeze=False)
    for place in axes.flat:
        place.axis("off")
    for place, (caption, picture) in zip(axes.flat, pictures, strict=False):
        place.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=255)
        place.set_title(textwrap.fill(label(caption, _CAPTION), 20), fontsize=8)
    return figure


def attack_results(frame: pd.DataFrame) -> Figure:
    """Attack success rate and clean accuracy of undefended models: bars are means over seeds, dots the seeds.

    Args:
        frame: columns `attack`, `seed`, `attack_success_rate`, `clean_accuracy`.
    """
    import seaborn as sns  # two seconds, which a single run does without

    metrics = ["attack_success_rate", "clean_accuracy"]
    long = frame.assign(attack=frame["attack"].map(TITLES)).melt(["attack", "seed"], metrics)
    colours = {metric: SERIES[metric][1] for metric in metrics}
    figure, axes = plt.subplots(figsize=(7.2, 3.0))
    shared = {"data": long, "x": "attack", "y": "value", "hue": "variable", "palette": colours, "ax": axes}
    sns.barplot(**shared, errorbar=None, alpha=0.55)
    sns.stripplot(**shared, dodge=True, jitter=False, size=4, legend=False)
    axes.set(xlabel="", ylabel="share", ylim=(0, 1.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles, [SERIES[name][0] for name in names], loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    return figure


def twins(frame: pd.DataFrame) -> Figure:
    """Undefended models by attack, as it is and as its twin: a panel for each metric, bars are means, dots the seeds.

    Args:
        frame: columns `attack`, `attack_settings` (empty for the attack as it is), `seed`, `attack_success_rate` and
            those of `summary.OF_SOME_ATTACKS` that any of the attacks has.
    """
    import seaborn as sns  # two seconds, which a single run does without

    titles = {"attack_success_rate": "attack success rate"} | OF_SOME_ATTACKS
    frame = frame.assign(
        attack=frame["attack"].map(TITLES),
        variant=np.where(frame["attack_settings"] == "", "as it is", "without its essential part"),
    )
    parts = {metric: frame.dropna(subset=metric) for metric in titles if metric in frame}
    parts = {metric: part for metric, part in parts.items() if len(part)}
    widths = [1 + part["attack"].nunique() for part in parts.values()]
    figure, axes = plt.subplots(
        1, len(parts), figsize=(1.2 + 0.62 * sum(widths), 2.9), width_ratios=widths, sharey=True, squeeze=False
    )
    for place, (metric, part) in zip(axes[0], parts.items(), strict=True):
        shared = {"data": part, "x": "attack", "y": metric, "hue": "variant", "palette": _TWINS, "ax": place}
        sns.barplot(**shared, errorbar=None, alpha=0.55, legend=place is axes[0, 0])
        sns.stripplot(**shared, dodge=True, jitter=False, size=4, legend=False)
        place.set(xlabel="", ylabel="share", ylim=(0, 1.05))
        place.set_title(textwrap.fill(titles[metric], 20), fontsize=9)
        place.yaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def methods(frame: pd.DataFrame) -> Figure:
    """Clean accuracy and attack success rate by method, a panel for each attack: bars are means, dots the seeds.

    Args:
        frame: columns `attack`, `method`, `seed`, `attack_success_rate`, `clean_accuracy`.
    """
    import seaborn as sns  # two seconds, which a single run does without

    metrics = ["clean_accuracy", "attack_success_rate"]
    names, order = list(dict.fromkeys(frame["attack"])), [METHODS[name] for name in dict.fromkeys(frame["method"])]
    size = (1.5 + 3.0 * len(names), 0.8 + 0.34 * len(order))
    figure, axes = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
    for place, name in zip(axes[0], names, strict=True):
        rows = frame[frame["attack"] == name]
        long = rows.assign(method=rows["method"].map(METHODS)).melt(["method", "seed"], metrics)
        colours = {metric: SERIES[metric][1] for metric in metrics}
        shared = {"data": long, "y": "method", "x": "value", "hue": "variable", "order": order, "palette": colours}
        sns.barplot(**shared, ax=place, errorbar=None, alpha=0.55, legend=place is axes[0, 0])
        sns.stripplot(**shared, ax=place, dodge=True, jitter=False, size=3, legend=False)
        place.set(xlabel=TITLES[name], ylabel="", xlim=(0, 1.02))
        place.xaxis.set_major_formatter(PercentFormatter(1.0))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    figure.legend(handles, [SERIES[name][0] for name in labels], loc="outside upper center", ncols=2)
    return figure


def connectivity(curves: pd.DataFrame) -> Figure:
    """Clean accuracy and attack success rate along the curve of mode connectivity repair, a panel for each attack.

    Args:
        curves: columns `attack`, `seed`, `t`, `clean_accuracy`, `attack_success_rate`; thin lines are seeds.
    """
    names = list(dict.fromkeys(curves["attack"]))
    figure, axes = plt.subplots(1, len(names), figsize=(1.2 + 3.0 * len(names), 2.8), sharey=True, squeeze=False)
    for place, name in zip(axes[0], names, strict=True):
        for metric in ("clean_accuracy", "attack_success_rate"):
            title, colour = SERIES[metric]
            for index, (_, rows) in enumerate(curves[curves["attack"] == name].groupby("seed")):
                rows = rows.sort_values("t")
                place.plot(rows["t"], rows[metric], color=colour, marker=".", label=title if index == 0 else None)
        place.set(xlabel=f"t ({TITLES[name]})", xlim=(0, 1), ylim=(-0.02, 1.05))
        place.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0, 0].legend(fontsize=8)
    return figure


def training_curves(history: pd.DataFrame) -> Figure:
    """Accuracy, attack success rate and isolation precision after each epoch, the stages marked.

    The points along the curve of mode connectivity repair are left out: they follow no training.
    """
    history = history[~history["stage"].str.startswith("t=")]
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    epochs = np.arange(1, len(history) + 1)
    for metric in ("clean_accuracy", "target_class_accuracy", "attack_success_rate", "isolation_precision"):
        if metric in history and history[metric].notna().any():
            name, colour = SERIES[metric]
            axes.plot(epochs, history[metric].astype(float), color=colour, label=name, **_DOTS)
    begins = np.flatnonzero(history["stage"] != history["stage"].shift())
    for begin in begins:
        axes.axvline(begin + 0.5, color="#999999", linewidth=0.8)
        stage = label(history["stage"].iloc[begin], _STAGE)
        axes.text(begin + 0.65, 1.03, stage, fontsize=8, color="#555555")
    axes.set(xlabel="epoch", ylabel="share", ylim=(-0.02, 1.1), xlim=(0.5, len(history) + 0.5))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=4, fontsize=8)
    return figure


def loss_gap(frame: pd.DataFrame) -> Figure:
    """Mean loss of clean and poisoned examples by epoch, and below it the isolation precision; a column a method.

    Args:
        frame: columns `method`, `epoch`, `clean_loss`, `poisoned_loss`, `isolation_precision`.
    """
    names = list(dict.fromkeys(frame["method"]))
    figure, axes = plt.subplots(
        2, len(names), figsize=(3.6 * len(names), 4.2), sharex=True, sharey="row", squeeze=False
    )
    for column, name in enumerate(names):
        rows = frame[frame["method"] == name]
        for metric in ("clean_loss", "poisoned_loss", "isolation_precision"):
            title, colour = SERIES[metric]
            place = axes[int(metric == "isolation_precision"), column]
            place.plot(rows["epoch"], rows[metric].astype(float), color=colour, label=title, **_DOTS)
        axes[0, column].set_title(METHOD_TITLES[name], fontsize=9)
        axes[1, column].set_xlabel("epoch")
        axes[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("mean cross entropy")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].set(ylabel="isolation precision", ylim=(-0.03, 1.05))
    axes[1, 0].yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure
