"""Every plot of the notebooks and reports: one look for each quantity (see `style`), fractions shown as percent."""

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
from ablkit.report import bars
from ablkit.report.style import COLOURS, DASHES, MARKERS
from ablkit.report.text import label

# First matplotlib's own settings: a matplotlibrc of the user's would set sizes of its own, or text in LaTeX.
plt.rcdefaults()
plt.style.use(str(files("ablkit.report") / "ablkit.mplstyle"))
# A name in a script that the font lacks is drawn as boxes in a PNG, and as it should be in an SVG.
warnings.filterwarnings("ignore", message="Glyph .* missing from")

TITLES = {name: attack.title for name, attack in ATTACKS.items()}
"""Attack -> its name in captions."""
NAMES = {
    "clean_accuracy": "clean accuracy",
    "target_class_accuracy": "target class accuracy",
    "attack_success_rate": "attack success rate",
    "isolation_precision": "isolation precision (of isolated images)",
    "clean_loss": "clean images",
    "poisoned_loss": "poisoned images",
    "attack": "attack",
    "idea_off": "idea off",
}
"""Quantity, or kind of run -> its name in legends."""
_COUNTED = "fraction of test images"
"""What accuracies and attack success rates count."""
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


def _look(quantity: str, name: str | None = None) -> dict:
    """How the line of a quantity is drawn."""
    dots = {"marker": MARKERS[quantity], "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
    return {"color": COLOURS[quantity], "linestyle": DASHES[quantity], "label": name or NAMES[quantity], **dots}


def attack_results(frame: pd.DataFrame) -> Figure:
    """Attack success rate and clean accuracy of undefended models: bars are means over seeds, markers the seeds.

    Args:
        frame: columns `attack`, `seed`, `attack_success_rate`, `clean_accuracy`.
    """
    metrics, order = ("attack_success_rate", "clean_accuracy"), list(dict.fromkeys(frame["attack"].map(TITLES)))
    grouped = frame.groupby(frame["attack"].map(TITLES))
    figure, axes = plt.subplots(figsize=(7.2, 3.0))
    bars.draw(axes, {metric: dict(list(grouped[metric])) for metric in metrics}, order, NAMES)
    axes.set(ylabel=_COUNTED, ylim=(0, 1.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
    return figure


def twins(frame: pd.DataFrame) -> Figure:
    """Undefended models by attack, and with the attack's idea off: a panel a metric, bars are means, markers the seeds.

    Args:
        frame: columns `attack`, `attack_settings` (empty for the attack itself), `seed`, `attack_success_rate` and
            those of `summary.OF_SOME_ATTACKS` that any of the attacks has.
    """
    titles = {"attack_success_rate": "attack success rate"} | OF_SOME_ATTACKS
    parts = {metric: frame.dropna(subset=metric) for metric in titles if metric in frame}
    parts = {metric: part for metric, part in parts.items() if len(part)}
    widths = [1 + part["attack"].nunique() for part in parts.values()]
    figure, axes = plt.subplots(
        1, len(parts), figsize=(1.2 + 0.62 * sum(widths), 2.9), width_ratios=widths, sharey=True, squeeze=False
    )
    for place, (metric, part) in zip(axes[0], parts.items(), strict=True):
        part = part.assign(attack=part["attack"].map(TITLES))
        is_twin = part["attack_settings"] != ""
        values = {
            kind: dict(list(part[rows].groupby("attack")[metric]))
            for kind, rows in (("attack", ~is_twin), ("idea_off", is_twin))
        }
        bars.draw(place, values, list(dict.fromkeys(part["attack"])), NAMES)
        place.set(ylim=(0, 1.05))
        place.set_title(textwrap.fill(titles[metric], 20), fontsize=9)
        place.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0, 0].set_ylabel(_COUNTED)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


_MOST_COLUMNS = 3


def methods(frame: pd.DataFrame) -> Figure:
    """Accuracy, in the target class too, and attack success by method, a panel for each attack.

    Bars are means, markers the seeds.

    Args:
        frame: columns `attack`, `method`, `seed`, `attack_success_rate`, `clean_accuracy`, and mostly
            `target_class_accuracy`.
    """
    metrics = [name for name in ("clean_accuracy", "target_class_accuracy", "attack_success_rate") if name in frame]
    names, order = list(dict.fromkeys(frame["attack"])), [METHODS[name] for name in dict.fromkeys(frame["method"])]
    columns = min(_MOST_COLUMNS, len(names))
    lines = -(-len(names) // columns)
    size = (2.2 + 3.2 * columns, 0.8 + 0.42 * len(order) * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
    for place in axes.flat[len(names) :]:
        place.set_visible(False)
    for place, name in zip(axes.flat, names, strict=False):
        rows = frame[frame["attack"] == name]
        grouped = rows.groupby(rows["method"].map(METHODS))
        bars.draw(place, {metric: dict(list(grouped[metric])) for metric in metrics}, order, NAMES, lying=True)
        place.set(xlabel=_COUNTED, xlim=(0, 1.02))
        place.label_outer()
        place.set_title(TITLES[name], fontsize=9)
        place.xaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=len(metrics))
    return figure


def connectivity(curves: pd.DataFrame) -> Figure:
    """Clean accuracy and attack success rate along the curve of mode connectivity repair, a panel for each attack.

    Args:
        curves: columns `attack`, `seed`, `t`, `clean_accuracy`, `attack_success_rate`; each line is a seed.
    """
    names = list(dict.fromkeys(curves["attack"]))
    figure, axes = plt.subplots(1, len(names), figsize=(1.2 + 3.0 * len(names), 2.8), sharey=True, squeeze=False)
    for place, name in zip(axes[0], names, strict=True):
        for metric in ("clean_accuracy", "attack_success_rate"):
            for index, (_, rows) in enumerate(curves[curves["attack"] == name].groupby("seed")):
                rows = rows.sort_values("t")
                place.plot(rows["t"], rows[metric], **_look(metric, None if index == 0 else f"_{index}"))
        place.set(xlabel="t, place on the curve", xlim=(0, 1), ylim=(-0.02, 1.05))
        place.set_title(TITLES[name], fontsize=9)
        place.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0, 0].set_ylabel(_COUNTED)
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
            axes.plot(epochs, history[metric].astype(float), **_look(metric))
    begins = np.flatnonzero(history["stage"] != history["stage"].shift())
    for begin in begins:
        axes.axvline(begin + 0.5, color="#999999", linewidth=0.8)
        stage = label(history["stage"].iloc[begin], _STAGE)
        axes.text(begin + 0.65, 1.03, stage, fontsize=8, color="#555555")
    axes.set(xlabel="epoch", ylabel=_COUNTED, ylim=(-0.02, 1.1), xlim=(0.5, len(history) + 0.5))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, fontsize=8)
    return figure
