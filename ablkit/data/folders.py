"""Images as folders of PNG files, a class each: what other tools read, without any loss."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ablkit.data.checks import split_of
from ablkit.data.images import Images

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+()-]{0,59}(?<![ .])", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def class_folders(classes: tuple[str, ...]) -> list[str]:
    """A name of a folder for each class, whose order, as a reader of folders sorts them, is that of the classes.

    That is the class's own name where all of them can be, in that order. Otherwise its number stands before it, and
    signs that not every system allows in a name become `-`.
    """
    alike = {unicodedata.normalize("NFC", name).casefold() for name in classes}
    is_plain = all(_PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name) and not split_of(name) for name in classes)
    are_numbers = all(name.isdecimal() for name in classes)
    # Some readers sort numbers as texts, others by size.
    is_sorted = list(classes) == sorted(classes, key=lambda name: (int(name) if are_numbers else 0, name))
    if is_plain and is_sorted and list(classes) == sorted(classes) and len(alike) == len(classes):
        return list(classes)
    digits = len(str(len(classes) - 1))
    return [f"{label:0{digits}}_{re.sub(r'[^A-Za-z0-9_.+-]+', '-', name)[:60]}" for label, name in enumerate(classes)]


def write(folder: Path, images: Images) -> Iterator[str]:
    """Write the images into class folders below `folder`; yields the path of each, relative to it, once it is there."""
    from PIL import Image  # here, as a machine that has only torch and numpy can do without it

    names = class_folders(images.classes)
    digits = len(str(max(0, len(images) - 1)))
    for label in set(images.labels.tolist()):
        (folder / names[label]).mkdir(parents=True, exist_ok=True)
    for at, (label, pixels) in enumerate(zip(images.labels, images.images, strict=True)):
        name = f"{names[label]}/{at:0{digits}}.png"
        Image.fromarray(pixels).save(os.path.join(folder, name), compress_level=4)
        yield name
