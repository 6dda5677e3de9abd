"""Imagenette, ten classes of ImageNet: the subset that can be downloaded, as the paper's twelve were never named."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ablkit.data import class_folders, download
from ablkit.data.cards import Card
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.settings import MOST_COUNTED

CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
"""WordNet's number, which names the folder, -> what the class is called."""
CARD = Card(
    "imagenette",
    "Imagenette",
    *(9_469, 3_925, 10, 64),
    download_bytes=99_000_000,
    licence="Apache 2.0 for the selection; the images are ImageNet's, for research that is not commercial",
)

_ARCHIVES = {160: "160px", 320: "320px", MOST_COUNTED: "full"}
"""Longest side that is asked for -> the archive whose images are at least so large, as torchvision names it."""
_SPLITS = ("train", "val")


def fetch(
    given: Path | None = None, *, size: int = CARD.size, classes: Sequence[str] = ()
) -> tuple[Images, Images, str]:
    """(train, test, source): the centre square of each image, resized to `size` x `size`; `val` is the test set.

    Downloads about 100 MB through torchvision, for images of more than 160 pixels 330 MB, of more than 320 1.6 GB.

    Args:
        given: a folder that holds the folders `train` and `val` already.
        classes: folders of the classes to be taken, see CLASSES; all by default.

    Raises UserError where it cannot be had.
    """
    if size < 1:
        raise UserError(f"size {size} leaves no pixels; give 32 or more")
    with tempfile.TemporaryDirectory(prefix="ablkit-imagenette-") as scratch:
        sources = {"torchvision's host": lambda: _downloaded(Path(scratch), size)}
        if given is not None:
            sources = {str(given): lambda: _checked(given)}
        way_out = "download imagenette2-160.tgz elsewhere, unpack it and give its folder with --from"
        folder, place = download.from_first("imagenette", sources, way_out)
        splits = [class_folders.read(folder / split, "imagenette", size=size, classes=classes) for split in _SPLITS]
    train, test = (replace(one, classes=tuple(CLASSES.get(name, name) for name in one.classes)) for one in splits)
    about = f"Imagenette 2 from {place}, centre squares resized to {size}x{size} (bilinear)"
    return train, test, about


def _downloaded(scratch: Path, size: int) -> Path:
    from ablkit.data.vision import torchvision  # here, as it imports torch

    archive = next(name for largest, name in _ARCHIVES.items() if size <= largest)
    torchvision().datasets.Imagenette(scratch, split="train", size=archive, download=True)
    return next(path.parent for path in scratch.glob("*/train"))


def _checked(folder: Path) -> Path:
    for split in _SPLITS:
        if not (folder / split).is_dir():
            raise ValueError(f"it has no folder {split}")
    return folder
