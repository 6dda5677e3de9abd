"""Arrays in files of NumPy: an .npz archive of images and labels, or two .npy files. No pickle is ever loaded."""

from __future__ import annotations

import contextlib
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ablkit.data import checks, memory
from ablkit.data.images import check_classes
from ablkit.data.importing import brightness
from ablkit.data.importing import classes as names_of_classes
from ablkit.data.importing.source import Item, Source, Tally
from ablkit.errors import UserError, shown
from ablkit.files import status_of, unreadable
from ablkit.shapes import ndarray

if TYPE_CHECKING:
    from PIL import Image

_NAMES = {
    "training": (("train_images", "train_labels"), ("x_train", "y_train"), ("images", "labels"), ("x", "y")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test"), ("val_images", "val_labels")),
}
"""What the arrays in an archive are called, the first that is there being taken."""
_BESIDE = (("val_images", "val_labels"),)
"""What may lie beside the test set, as in MedMNIST; of two that are called otherwise either may be meant."""
_CLASSES = "classes"
_NOT_TAKEN = "arrays that are not taken"
_CHANNELS = (1, 2, 3, 4)
_WAY_OUT = "give images of shape (number, height, width, channels), uint8 or uint16"


def read(path: Path, labels: Path | None = None) -> Source:
    """The images of an archive, or of two files.

    Images are uint8 or uint16 of shape (n, h, w) or (n, h, w, c), or (n, c, h, w) where that can be nothing else, with
    1 to 4 channels. Labels are whole numbers or texts of shape (n,) or (n, 1); each that occurs is a class, and is its
    name unless the archive names the classes in an array `classes`. What else an archive holds is counted as left out.
    Raises UserError for everything else.
    """
    tally = Tally()
    if labels is None:
        train, test, given = _chosen(path, _archive(path, tally), tally)
    else:
        train, test, given = (_single(path), _single(labels)), None, None
    pairs = [_checked(path, *pair, tally) for pair in (train, test) if pair is not None]
    classes, numbers = _classes(path, [labels for _, labels in pairs], given)
    check_classes(classes, str(path))
    names_of_classes.check_alike(str(path), classes, "classes")
    items = [_items(images, own) for (images, _), own in zip(pairs, numbers, strict=True)]
    files = (path,) if labels is None else (path, labels)
    return Source(str(path), classes, items[0], items[1] if len(items) > 1 else None, tally, files)


def _archive(path: Path, tally: Tally) -> dict[str, ndarray]:
    """The arrays of an .npz by name, in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(path, archive, tally)
            needed, free = sum(entry.file_size for entry in entries), memory.free()
            if needed > free:
                raise UserError(
                    f"{path} unpacks to {memory.amount(needed)} and {memory.amount(free)} of memory are free; give the"
                    " images and the labels as two .npy files, which are read piece by piece"
                )
            return {entry.filename.removesuffix(".npy"): _entry(path, archive, entry) for entry in entries}
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or "damaged, or no archive"
        raise UserError(f"{path} cannot be read: {reason}; write it with numpy.savez") from None


def _entries(path: Path, archive: zipfile.ZipFile, tally: Tally) -> list[zipfile.ZipInfo]:
    """What in an archive is an array by its name; raises UserError where a name comes twice."""
    every = archive.infolist()
    for name, number in Counter(entry.filename for entry in every).items():
        if number > 1:
            raise UserError(
                f"{path} holds {shown(name)} {number} times, and only one can be meant; write it again with numpy.savez"
            )
        if not name.endswith(".npy"):
            tally.leave("what is no array by its ending .npy", name)
    return [entry for entry in every if entry.filename.endswith(".npy")]


def _entry(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> ndarray:
    with archive.open(entry) as file:
        return _loaded(f"{entry.filename} in {path}", lambda: np.lib.format.read_array(file, allow_pickle=False))


def _single(path: Path) -> ndarray:
    status = status_of(path)
    if status is None or not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no file; give the images and the labels as two .npy files")
    return _loaded(str(path), lambda: np.lib.format.open_memmap(path, mode="r"))


def _loaded(what: str, load: Callable[[], ndarray]) -> ndarray:
    try:
        with np.errstate(over="raise"):
            return load()
    except PermissionError as error:
        raise unreadable(what, error) from None
    except Exception:  # what a header makes numpy and Python's parser raise has no end
        raise UserError(f"{what} is truncated or no plain array; write it with numpy.save, without objects") from None


def _chosen(
    path: Path, arrays: dict[str, ndarray], tally: Tally
) -> tuple[tuple[ndarray, ndarray], tuple[ndarray, ndarray] | None, list[str] | None]:
    """Images and labels of both splits, and the names of the classes where they are given; the rest is counted."""
    train, test = (_pair(path, arrays, split) for split in _NAMES)
    if train is None:
        names = ", ".join(map(shown, sorted(arrays)[:8])) or "nothing"
        raise UserError(
            f"{path} holds {names}; an archive of images holds train_images and train_labels, or images and labels"
        )
    given = _given(path, arrays, arrays[train[1]].dtype.kind == "U", tally)
    for name, array in arrays.items():
        if name not in {*train, *(test or ()), _CLASSES}:
            is_names = array.ndim == 1 and array.dtype.kind in "SU" and _CLASSES not in arrays
            way_out = f"; if they name the classes, call them {_CLASSES}" if is_names else ""
            tally.leave(_NOT_TAKEN, name, f"shape {array.shape}{way_out}")
    images, labels = train
    pair = None if test is None else (arrays[test[0]], arrays[test[1]])
    return (arrays[images], arrays[labels]), pair, given


def _pair(path: Path, arrays: dict[str, ndarray], split: str) -> tuple[str, str] | None:
    """The names of images and labels; raises UserError where one of them is missing, or where two pairs are meant."""
    found = None
    for images, labels in _NAMES[split]:
        if images in arrays and labels in arrays:
            if found is None:
                found = images, labels
            elif (images, labels) not in _BESIDE and arrays[images].ndim > 2:  # x and y may be something else
                raise UserError(
                    f"{path} holds {found[0]} and {images}, either of which may be the {split} images; leave one"
                    " of them out, with its labels"
                )
        elif found is None and (images in arrays or labels in arrays):
            there, missing = (images, labels) if images in arrays else (labels, images)
            raise UserError(f"{path} holds {there} but no {missing}; give both")
    return found


def _given(path: Path, arrays: dict[str, ndarray], are_texts: bool, tally: Tally) -> list[str] | None:
    """The names in the array `classes`; None where there are none that the labels could be places of."""
    if _CLASSES not in arrays:
        return None
    given = arrays[_CLASSES]
    if given.dtype.kind not in "SU":
        tally.leave(_NOT_TAKEN, _CLASSES, f"{given.dtype}, and so no names")
        return None
    if are_texts:
        tally.leave(_NOT_TAKEN, _CLASSES, "the labels are texts, which name the classes")
        return None
    if given.ndim != 1:
        raise UserError(f"{path}: classes are of shape {given.shape}; give one name a class, of shape (number,)")
    try:
        return [one.decode() if isinstance(one, bytes) else one for one in given.tolist()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: class name {shown(error.object)} is no UTF-8; give the names as texts") from None


def _checked(path: Path, images: ndarray, labels: ndarray, tally: Tally) -> tuple[ndarray, ndarray]:
    """Images of shape (n, h, w) or (n, h, w, c) and labels of shape (n,)."""
    if images.dtype.kind != "u" or images.dtype.itemsize > 2:
        of_floats = ", such as numpy.uint8(numpy.round(255 * images)) of fractions of 1"
        raise UserError(
            f"{path}: images are {images.dtype!s:.80} of shape {images.shape}; {_WAY_OUT}"
            f"{of_floats if images.dtype.kind == 'f' else ''}"
        )
    if images.ndim == 4 and images.shape[3] not in _CHANNELS and images.shape[1] in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
        tally.hints.append("the arrays are (n, c, h, w): their channels were put last")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in _CHANNELS) or 0 in images.shape[1:]:
        raise UserError(f"{path}: images have the shape {images.shape}; {_WAY_OUT}")
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        one_hot = "; of one column a class give labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise UserError(
            f"{path}: labels are {labels.dtype!s:.80} of shape {labels.shape}; give one whole number or text an image"
            f"{one_hot}"
        )
    if len(images) != len(labels):
        raise UserError(f"{path}: {len(images)} images but {len(labels)} labels; give one label an image")
    if images.dtype.itemsize == 2 and images.size:
        brightness.check_deep(path, images, labels, tally.hints)
    return images, labels


def _classes(path: Path, labels: list[ndarray], given: list[str] | None) -> tuple[tuple[str, ...], list[ndarray]]:
    """The names of the classes, and the labels as places among them."""
    if len({one.dtype.kind == "U" for one in labels}) > 1:
        raise UserError(f"{path}: the labels of one split are numbers and those of the other texts; give both alike")
    if given is not None:
        for one in labels:
            outside = one[(one < 0) | (one >= len(given))]
            if len(outside):
                raise UserError(
                    f"{path}: label {outside[0]} is outside the {len(given)} classes; give labels from 0 to"
                    f" {len(given) - 1}"
                )
        return tuple(given), [one.astype(np.int64) for one in labels]
    found = np.unique(labels[0])
    if found.dtype.kind == "U":
        names_of_classes.check_alike(str(path), [name for one in labels for name in np.unique(one).tolist()], "classes")
    for one in labels[1:]:
        lacking = np.setdiff1d(one, found)
        if len(lacking):
            raise UserError(
                f"{path}: the test images have a class {shown(lacking[0].item())} that the training images lack; give"
                " it training images, or leave its test images out"
            )
    if len(found) and found.dtype.kind != "U" and found[0] < 0:
        raise UserError(f"{path}: label {found[0]} is negative; give labels from 0, and leave unlabelled images out")
    names = list(map(str, found))
    classes = checks.ordered(names)
    rank = {name: place for place, name in enumerate(classes)}
    places = np.array([rank[name] for name in names], np.int64)
    return tuple(classes), [places[np.searchsorted(found, one)] for one in labels]


def _items(images: ndarray, labels: ndarray) -> list[Item]:
    """In the order of the array, each opened as an image when it is asked for."""
    return [Item(f"image {at}", int(label), partial(_opened, images, at)) for at, label in enumerate(labels)]


@contextlib.contextmanager
def _opened(images: ndarray, at: int) -> Iterator[Image.Image]:
    from PIL import Image

    one = np.ascontiguousarray(images[at])
    one = one[..., 0] if one.ndim == 3 and one.shape[2] == 1 else one
    if one.dtype.itemsize == 2:  # of which Pillow knows grey images alone
        one = (one >> 8).astype(np.uint8) if one.ndim == 3 else one.astype(np.uint16)
    yield Image.fromarray(one)
