"""Folders of classes, each with its images, as one array: what image sets such as ImageNet are handed on as."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ablkit.data import checks, pictures, prepared
from ablkit.data.images import Images
from ablkit.errors import UserError, shown, unknown
from ablkit.files import status_of, unreadable


def read(folder: Path | str, name: str, *, size: int, classes: Sequence[str] = ()) -> Images:
    """The images in the folders of some classes, in the order of classes and file names.

    Each is cut to its centre square, which is resized to `size` x `size` (bilinear). They are written to the disk one
    by one, so that there may be more than memory holds.

    Args:
        name: of the data set.
        classes: names of their folders; all by default.

    What is hidden is skipped. Raises UserError where a folder is missing, has no image or may not be read, where all of
    them are splits by their names, for a file that is no picture, and for what is of the wrong kind.
    """
    folder = checks.path("folder", folder)
    bounds = {"least": pictures.LEAST_SIDE, "most": pictures.MOST_SIDE}
    size = checks.whole("size", size, "give the pixels of each side, such as 64", **bounds)
    if isinstance(classes, str):
        raise UserError(f"classes {shown(classes)} are a text; give a list of names, such as [{shown(classes)}]")
    if not isinstance(classes, Iterable):
        raise UserError(f"classes {shown(classes)} are no list of names; give one, such as ['cat', 'dog']")
    classes = list(classes)
    there = checks.ordered(path.name for path in _inside(folder) if path.is_dir())
    if not there:
        raise UserError(f"{name}: {folder} holds no folders of classes; give one that does")
    if not classes and len(there) > 1 and all(map(checks.split_of, there)):
        raise UserError(
            f"{name}: {folder} holds {', '.join(map(shown, there[:3]))}, which are splits and no classes by their"
            " names; give one of these folders, or choose them as `classes`"
        )
    for one in classes:
        if one not in there:
            raise unknown(f"class of {name}", one, there)
    paths, labels = [], []
    for label, one in enumerate(classes or there):
        own = [path for path in _inside(folder / one) if path.name.lower().endswith(pictures.ENDINGS)]
        if not own:
            raise UserError(f"{name}: {folder / one} holds no images; add some or choose other classes")
        paths += own
        labels += [label] * len(own)
    images = prepared.on_disk((_square(path, size) for path in paths), len(paths), (size, size, 3))
    return Images(images, np.array(labels, np.int64), tuple(classes or there), name)


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in the order of the names; raises UserError where it may not be read."""
    status = status_of(folder)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return []
    try:
        return sorted(path for path in folder.iterdir() if not pictures.is_hidden(path.name))
    except OSError as error:
        raise unreadable(folder, error) from None


def _square(path: Path, size: int) -> np.ndarray:
    from PIL import Image, ImageOps  # here, as a machine that has only torch and numpy can do without it

    try:
        with pictures.opened(str(path)) as picture:
            pixels, _ = pictures.rgb(picture)
    except (pictures.Unusable, OSError) as error:
        raise UserError(f"{path} is no picture that can be read ({error}); replace or remove it") from None
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), (size, size), Image.Resampling.BILINEAR))
