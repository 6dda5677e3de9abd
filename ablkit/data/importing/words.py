"""What an import says when it is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ablkit.data.images import Images
from ablkit.data.importing.source import Source, Tally

DONE = {
    "grey": "grey",
    "palette": "with a palette",
    "transparent": "with transparency, put on white",
    "16 bits": "of 16 bits a channel, the upper 8 taken",
    "CMYK": "in CMYK",
    "turned": "turned by their EXIF orientation",
    "animated": "animated, the first frame taken",
    "folders in class folders": "folders in class folders, whose images belong to these",
}
"""What was done to images, as `pictures.rgb` says it -> as the summary does."""
_MOST_CLASSES = 40
_MOST_SIZES = 3


def summary(found: Source, train: Images, test: Images, folder: Path, size: int | None) -> list[str]:
    """The lines: images of each class, what was done to how many, and what was left out."""
    sides = " x ".join(map(str, train.images.shape[1:3]))
    origin = "given" if found.test is not None else "drawn from them class by class"
    lines = [f"{plain(str(folder))}: {len(train)} training images, {len(test)} test images ({origin}), {sides}", ""]
    lines += [*_classes(train, test), ""]
    lines += found.tally.hints
    lines += [line for line in [_resized(found.tally, size)] if line]
    lines += [f"{number} {DONE[what]}" for what, number in found.tally.done.items()]
    lines += [f"left out: {line}" for line in found.tally.left_out()]
    return lines


def plain(line: str) -> str:
    """A line with an escape in place of each sign that moves a cursor, turns the text or cannot be printed."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def _classes(train: Images, test: Images) -> list[str]:
    numbers = [np.bincount(part.labels, minlength=len(train.classes)) for part in (train, test)]
    width = max(5, *(len(name) for name in train.classes[:_MOST_CLASSES]))
    rows = [
        f"{name:<{width}} {first:>9} {second:>6}" for name, first, second in zip(train.classes, *numbers, strict=True)
    ]
    more = len(rows) - _MOST_CLASSES
    rows = rows[:_MOST_CLASSES] + ([f"and {more} more classes"] if more > 0 else [])
    lacking = [name for name, number in zip(train.classes, numbers[1], strict=True) if not number]
    if lacking:
        rows.append(
            f"without test images: {', '.join(lacking[:_MOST_SIZES])}{' ...' * (len(lacking) > _MOST_SIZES)}; such a"
            " class can be no attack's target"
        )
    return [f"{'class':<{width}} {'training':>9} {'test':>6}", *rows]


def _resized(tally: Tally, size: int | None) -> str:
    others = {sides: number for sides, number in tally.sizes.most_common() if sides != (size, size)}
    if size is None or not others:
        return ""
    named = [f"{height} x {width} ({number})" for (height, width), number in others.items()]
    more = f" and {len(named) - _MOST_SIZES} more sizes" if len(named) > _MOST_SIZES else ""
    number = sum(others.values())
    return f"{number} resized to {size} x {size}, the whole frame: from {', '.join(named[:_MOST_SIZES])}{more}"
