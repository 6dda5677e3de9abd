"""Images that go from their files to the disk one by one, so that no set is too large for the memory."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ablkit.data import memory, pictures
from ablkit.data.importing import words
from ablkit.data.importing.brightness import Brightness
from ablkit.data.importing.source import Item, Source
from ablkit.errors import UserError, shown
from ablkit.randomness import numpy_stream
from ablkit.shapes import Int64, UInt8, ndarray

_MOST_OWN_SIDE = 256
"""Pixels of a side that images keep unasked: a training on larger ones takes more memory than most machines have."""
_PIECE = 1 << 20
"""Bytes that are copied at a time."""
_SECONDS_BETWEEN = 10


@dataclass(frozen=True)
class Read:
    """The images that could be read, in the order of the items."""

    images: UInt8[ndarray, "n h w c"]
    """A map of the file that they were written to."""
    labels: Int64[ndarray, " n"]
    names: list[str]
    count: int
    """How many of them come from the first list of items."""


def read(found: Source, size: int | None, file: IO[bytes], report: Callable[[str], None]) -> Read:
    """Write the pixels of all items that can be read to a file, and count the others.

    Raises UserError where `size` is None and images are of several sizes or large, where they are too small, where none
    can be read, where all for training are the same or nearly black, and OSError where the disk is full.
    """
    train, tally, levels = found.train, found.tally, Brightness()
    shape, labels, names, count, both = None, [], [], 0, train + (found.test or [])
    first, is_alike = None, True
    told = time.monotonic()
    for place, item in enumerate(both):
        if time.monotonic() - told >= _SECONDS_BETWEEN:
            told = time.monotonic()
            report(f"{place:,} of {len(both):,} images read")
        try:
            with item.opened() as image:
                pixels, done = pictures.rgb(image, size, may_be_black=True)
                sides = pictures.shape(image)
        except pictures.Unusable as error:
            tally.leave("files that cannot be read as images", item.name, str(error))
            continue
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise _several_sizes(both)
        if size is None:
            _check_large(shape)
        file.write(pixels.tobytes())
        labels.append(item.label)
        names.append(item.name)
        levels.add("training" if place < len(train) else "test", item.label, item.name, pixels, done)
        tally.done.update(what for what in done if what in words.DONE)
        tally.sizes[sides] += 1
        if place < len(train):
            first = pixels if first is None else first
            is_alike = is_alike and np.array_equal(first, pixels)
            count += 1
    if shape is None:
        raise UserError(
            f"none of {len(both)} files can be read as an image: {'; '.join(tally.left_out())}; see to them"
        )
    check_side(min(shape[:2]), shape)
    levels.check(found)
    if is_alike and count > 1:
        raise _one_picture(count)
    file.flush()
    images = np.memmap(file, np.uint8, "r", shape=(len(labels), *shape))
    return Read(images, np.array(labels, np.int64), names, count)


def _one_picture(count: int) -> UserError:
    return UserError(
        f"all {count} training images are one and the same picture, which leaves nothing to tell apart; see what"
        " they hold, and give images that differ"
    )


def check_side(side: int, shape: tuple[int, ...]) -> None:
    """Raise UserError where images are smaller than any model takes them."""
    if side < pictures.LEAST_SIDE:
        raise UserError(
            f"images of {shape[0]} x {shape[1]} are too small to be trained on; give --size {pictures.LEAST_SIDE} or"
            " more, such as --size 32"
        )


def _check_large(shape: tuple[int, ...]) -> None:
    if max(shape[:2]) > _MOST_OWN_SIDE:
        raise UserError(
            f"images of {shape[0]} x {shape[1]} are larger than {_MOST_OWN_SIDE} x {_MOST_OWN_SIDE}, and a training on"
            " them needs too much memory; give --size 64, or another number of pixels, to resize them"
        )


def _several_sizes(items: list[Item]) -> UserError:
    """The error that names the sizes, which the heads of the files tell."""
    found: Counter[tuple[int, int]] = Counter()
    for item in items:
        try:
            with item.opened() as image:
                found[pictures.shape(image)] += 1
        except pictures.Unusable:
            continue
    named = ", ".join(f"{height} x {width} ({number} images)" for (height, width), number in found.most_common(3))
    more = f" and {len(found) - 3} more sizes" if len(found) > 3 else ""
    return UserError(
        f"the images are of several sizes: {named}{more}; give --size 32, or another number of pixels, to resize them"
    )


def check_room(folder: Path, number: int, size: int, copies: int) -> None:
    """Raise UserError where the disk of a folder has no room for so many images of size x size pixels."""
    needed, free = number * size * size * 3 * copies, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{number} images of {size} x {size} need {memory.amount(needed)} on the disk of {folder}, which"
            f" has {memory.amount(free)} free; give a smaller --size, or set ABLKIT_DATA to a folder elsewhere"
        )


def drawn(labels: ndarray, classes: tuple[str, ...], share: float, seed: int) -> tuple[ndarray, ndarray]:
    """Places of training and of test images, drawn class by class, each in its former order.

    Of every class the share `share` is for testing, rounded to whole images, at least one and not all. Raises
    UserError where a class has fewer than two images.
    """
    stream, test = numpy_stream(seed, "split"), []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise UserError(
                f"class {shown(name)} has {len(members)} image{'s' * (len(members) != 1)} that can be read, and a test"
                " set can be drawn where every class has two or more; add images, take the class away, or give test"
                " images of your own"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        test.append(stream.choice(members, count, replace=False))
    chosen = np.sort(np.concatenate(test))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def copied(images: ndarray, order: ndarray, file: IO[bytes]) -> ndarray:
    """A map of another file with the images in that order, copied piece by piece."""
    step = max(1, _PIECE // images[0].nbytes)
    for start in range(0, len(order), step):
        file.write(images[order[start : start + step]].tobytes())
    file.flush()
    return np.memmap(file, np.uint8, "r", shape=(len(order), *images.shape[1:]))
