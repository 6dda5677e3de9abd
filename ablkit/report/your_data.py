"""The page about data of unknown trust: verdict, evidence, the most suspicious images, what to do next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Drawing
from PIL import Image

from ablkit.cleaning import model_card, verdict
from ablkit.cleaning.verdict import Verdict
from ablkit.exclusion.rule import Settings
from ablkit.files import write_bytes, write_text
from ablkit.report import charts, render
from ablkit.report.findings import your_data as words
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, literal, plain
from ablkit.report.style import COLOURS
from ablkit.report.text import MISSING, label, number, percent
from ablkit.shapes import Int64, UInt8, ndarray

PAGE, TABLE, WORDS = "index.html", "images.csv", "verdict.md"
HUMPS = "Histograms of the images of a few classes along the direction that tells two groups of them apart."
_CLASSES, _GALLERY, _COLUMNS = 4, 40, 8
_SIDE = 96
"""Pixels of an image in the gallery, at most."""


def page(found: Verdict, values: dict, *, flip: bool = True) -> Page:
    """The page of one data set.

    Args:
        values: what the run has measured: `Verdict.numbers` and, where it was trained, `clean_accuracy_undefended`.
        flip: whether the training mirrored images, where the data set lets it.
    """
    blocks: list[Block] = [Text(text, "notice") for text in words.warnings(found)]
    blocks.append(Text(words.of_labels(found) if found.classes else words.of_nothing(found)))
    blocks.append(Text(words.of_accuracy(values)))
    blocks += [Heading("The evidence"), *_evidence(found)]
    for k in found.classes[:_CLASSES]:
        blocks += _of_class(found, k)
    blocks += [Heading("What to do next"), Text(words.next_steps(found, flip=flip))]
    if found.classes:
        blocks += [Heading("What a verdict cannot say"), Text(words.LIMITS)]
    blocks += [Heading("Every class"), _table(found), Heading("The files beside this page"), Text(_FILES)]
    return Page(PAGE, f"Can {literal(label(found.train.data.name, 60))} be trusted?", words.of_verdict(found), blocks)


def write(folder: Path, made: Page) -> None:
    """Write the page and its figures into a folder."""
    for block in made.blocks:
        if isinstance(block, Figure):
            write_bytes(folder / block.path, block.svg)
    write_bytes(folder / PAGE, render.html(made, []).encode())
    said = [block for block in made.blocks[: _first_heading(made)] if block.block == "text"]
    write_text(folder / WORDS, render.markdown(replace(made, blocks=said)))


def told(folder: Path) -> str:
    """The first paragraphs of a run's page, for a terminal."""
    return plain((folder / WORDS).read_text(encoding="utf-8"))


def lacking(folder: Path) -> str:
    """The first file that a run hands on and that is not there, as in an archive of runs; empty where all are."""
    names = (PAGE, TABLE, WORDS, model_card.WEIGHTS, model_card.CARD)
    return next((name for name in names if not (folder / name).is_file()), "")


def _first_heading(made: Page) -> int:
    return next(at for at, block in enumerate(made.blocks) if block.block == "heading")


_FILES = f"""- `{TABLE}`: every image with its file, label, suspicion, and the class that two models take it for. You
  may change its column `is_suspected` in a spreadsheet: the same `ablkit clean` command with `--export FOLDER` follows.
- `{model_card.WEIGHTS}` and `{model_card.CARD}`: the model, and what one has to know to use it.
- `notebook.ipynb`: how all this was made."""


def _evidence(found: Verdict) -> list[Block]:
    if not compared(found):
        return [Text("No class has two groups of images, so there is nothing to draw.")]
    least = "Two humps with hardly an image between them are two groups; one hump, however it is cut, is one."
    return [Figure("groups", charts.later(humps, found), HUMPS, f"{words.of_separations(found)} {least}")]


def compared(found: Verdict) -> list[int]:
    """The suspected classes, the unclear ones and the next one, or the two that come first: four at most."""
    first = list(dict.fromkeys(found.classes + found.unclear()))
    rest = [k for k in found.others() if k not in first]
    return (first + rest)[: max(2, min(_CLASSES, len(first) + 1))]


def _of_class(found: Verdict, k: int) -> list[Block]:
    name = words.name_of(found, k)
    difference = verdict.mean_difference(found, k)
    largest = float(np.abs(difference).max())
    return [
        Heading(f"The suspects of class {name}"),
        Figure(
            f"suspects-{k}",
            charts.later(gallery, found, k),
            f"The most suspicious images of class {name}, each with the class that the model takes it for.",
            f"The most suspicious training images that are labelled {name}, the worst first. Below each stands what"
            " the model takes it for that was trained without them.",
        ),
        *_what_is_left(found, k, name),
        Figure(
            f"difference-{k}",
            charts.later(means, difference),
            f"Mean difference between the suspects of class {name} and other images, by pixel.",
            f"What the suspects have in common: their mean less that of unsuspected images that show the same. The"
            f" largest difference is {largest:.0f} of 255 grey levels. A patch or a picture that is blended in stands"
            " out; a trigger that differs from image to image does not.",
        ),
    ]


def _what_is_left(found: Verdict, k: int, name: str) -> list[Block]:
    """Some of the images of a class that are not suspected; nothing where all are."""
    chosen = verdict.what_is_left(found, k, 2 * _COLUMNS)
    if not len(chosen):
        return []
    return [
        Figure(
            f"left-{k}",
            charts.later(_pictures, found, chosen),
            f"Images of class {name} that are not suspected, each with the class that the model takes it for.",
            f"What is left of {name}, drawn evenly. If these look wrong, and the suspects right, the verdict is the"
            f" wrong way round: swap both in `{TABLE}`, write the set with `--export`, and train on that.",
        )
    ]


def humps(found: Verdict) -> Drawing:
    """Where the images of a few classes lie between their two groups, a panel a class; the suspected ones first."""
    classes = compared(found)
    figure, axes = plt.subplots(
        1, len(classes), figsize=(max(5.0, 1.2 + 2.3 * len(classes)), 2.4), sharex=True, squeeze=False
    )
    judged = found.train
    bins = np.linspace(-0.75, 1.75, 51)
    for place, k in zip(axes[0], classes, strict=True):
        own = judged.data.labels == k
        for is_suspected, colour, hatch in (
            (False, COLOURS["clean_loss"], ""),
            (True, COLOURS["poisoned_loss"], "////"),
        ):
            values = judged.suspicion[own & (judged.is_suspected == is_suspected)].clip(bins[0], bins[-1])
            name = "suspects" if is_suspected else "others"
            place.hist(values, bins, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3, label=name)
        place.set_title(label(judged.data.classes[k], 18), fontsize=9, loc="left")
    axes[0, 0].set_ylabel("training images", fontsize=8)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=8)
    figure.supxlabel(
        "1: middle of the group that is less like the other classes, 0: middle of the other images", fontsize=8
    )
    return figure


def gallery(found: Verdict, k: int) -> Drawing:
    """The most suspicious images of a class, and below each what the last model takes it for."""
    return _pictures(found, verdict.most_suspicious(found, k, _GALLERY))


def _pictures(found: Verdict, chosen: Int64[ndarray, " m"]) -> Drawing:
    """Training images, and below each what the last model takes it for."""
    judged, rows = found.train, -(-len(chosen) // _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(9.6, 1.38 * rows), squeeze=False)
    for place in axes.flat:
        place.axis("off")
    for place, index in zip(axes.flat, chosen, strict=False):
        place.imshow(_small(judged.data.images[index]), interpolation="none")
        taken = label(judged.data.classes[judged.last[index]], 14)
        place.text(0.5, -0.04, taken, transform=place.transAxes, fontsize=7, ha="center", va="top")
    return figure


def means(difference: ndarray) -> Drawing:
    """A mean difference in grey levels, in its colours and as its size; grey, and white, where there is none."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.8))
    largest = max(float(np.abs(difference).max()), 1e-9)
    axes[0].imshow(0.5 + difference / (2 * largest), interpolation="none")
    axes[0].set_title("in colour, enlarged; grey: none", fontsize=8, loc="left")
    drawn = axes[1].imshow(np.abs(difference).max(axis=2), interpolation="none", cmap="Greys", vmin=0)
    axes[1].set_title("size, largest of the colours", fontsize=8, loc="left")
    figure.colorbar(drawn, ax=axes[1], label="grey levels")
    for place in axes:
        place.set(xticks=[], yticks=[])
        place.grid(visible=False)
    return figure


def _small(image: UInt8[ndarray, "h w c"]) -> UInt8[ndarray, "i j c"]:
    """An image that makes no page heavy."""
    height, width = image.shape[:2]
    if max(height, width) <= _SIDE:
        return image
    share = _SIDE / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR))


def _suspected(found: Verdict, k: int) -> Cell:
    """How many images of a class are suspected, or why none can be."""
    if k in found.classes:
        own = found.train.data.labels == k
        return Cell(f"{(own & found.train.is_suspected).sum():,}", kind="bad")
    if not found.found.judged[k]:
        return Cell("not judged", kind="soft")
    return Cell("unclear", kind="bad") if k in found.unclear() else Cell("0")


def _table(found: Verdict) -> Table:
    columns = ("class", "images", "separation", "at the end", "valley", "suspects", "test images", "suspected")
    columns += ("phase 1", "model")
    groups = (("", 1), ("training", 5), ("test", 2), ("taken for their label", 2))
    at_end, rows = found.found.at_end, []
    at_first = found.found.after_phase_1 if len(at_end) else found.found.separations
    for k in range(len(found.train.data.classes)):
        own, tested = found.train.data.labels == k, found.test.data.labels == k
        unsuspected = tested & ~found.test.is_suspected
        rows.append(
            (
                words.name_of(found, k),
                f"{own.sum():,}",
                number(at_first[k], "{:.1f}"),
                number(at_end[k], "{:.1f}") if len(at_end) else MISSING,
                number(found.found.valleys[k], "{:.2f}"),
                _suspected(found, k),
                f"{tested.sum():,}",
                f"{(tested & found.test.is_suspected).sum():,}",
                percent(found.test.accuracy(found.test.first, unsuspected)),
                percent(found.test.accuracy(found.test.last, unsuspected)),
            )
        )
    usual = Settings()
    note = (
        "Separation: how many standard deviations the two groups of a class lie apart after phase 1; at the end: in a"
        " model that was trained to the end. Valley: how many images lie in the middle between them, over how many lie"
        " in the middle of one, where the class was suspected first. A class is suspected, unless set otherwise, with a"
        f" separation of {usual.least_separation:g} or more, or {usual.least_separation_at_end:g} at the end, and a"
        f" valley of at most {usual.most_valley:g}, if it has {usual.least_images} images or more and the smaller group"
        f" {usual.least_group}, of {usual.least_looks:g} kinds of look-alikes or more unless one group does not look"
        f" like its class. Where the look does not tell"
        f" which group is the poison, {usual.least_separation_alike:g} are asked for. One that is suspected with"
        f" {usual.least_separation_at_end:g} or more after phase 1 is not judged again."
    )
    return Table(columns, rows, groups, note)
