"""Prepared folders: one data set as plain arrays, memory-mapped and checked by sha256.

<name>/train_images.npy  uint8 (n, h, w, 3)      <name>/train_labels.npy  int64 (n,)
<name>/test_images.npy                           <name>/test_labels.npy
<name>/meta.json         name, classes, source, and the shape and the sha256 of each array
<name>/files.json        only of imported files: where each image comes from; no part of the digest
<name>/origin.json       only of an import: its options, and a sum of each file; no part of the digest

Only where a set has them: train_groups.npy, int64 (n,), and `"mirrors": false` in meta.json; see `Images`.
`write` makes one from arrays, `ablkit.data.importing` from files.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ablkit.data import checks, leftovers
from ablkit.data.images import Images, check_classes
from ablkit.errors import UserError, shown
from ablkit.files import read_json, read_text, saying_why, temporary_beside, write_json, write_whole
from ablkit.shapes import UInt8, ndarray

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
OPTIONAL = ("train_groups",)
ORIGIN = "origin.json"
BY_WRITE = "ablkit.data.prepared.write(folder, train, test, source)"
"""How a folder is made of arrays, as messages say it."""
_AGAIN = f"make the folder again with {BY_WRITE}"
_DENIED = {errno.EACCES, errno.EPERM}

# What this process has checked already: hashing once is enough while the files stay as they are.
_checked: set[tuple] = set()


class Files(NamedTuple):
    """The file that each image comes from, relative to what was imported; the order is that of the arrays."""

    train: list[str]
    test: list[str]


def write(
    folder: Path | str, train: Images, test: Images, source: str, files: Files | None = None, origin: dict | None = None
) -> None:
    """Write both splits as the prepared folder `folder`, whole or not at all.

    `source` says in a few words where the images come from, `files` of which file each is made, `origin` what an import
    was told. Writing the same again
    changes nothing, and what killed writers of it have left goes. Raises UserError where a split is empty, where the
    two differ in the shape of their images or in their classes, where `folder` holds something else or cannot be
    written, where its name would not be listed as a data set's, and where the disk is full.
    """
    folder = checks.path("folder", folder)
    if not checks.can_be_named(folder.name):
        raise UserError(f"{shown(str(folder))} has no name that a data set can have; give data/NAME")
    _check_splits(folder, train, test)
    check_classes(train.classes, str(folder))
    arrays = dict(zip(ARRAYS, (train.images, train.labels, test.images, test.labels), strict=True))
    if train.groups is not None:
        arrays["train_groups"] = train.groups
    meta: dict[str, object] = {} if train.mirrors else {"mirrors": False}
    meta |= {
        "name": folder.name,
        "classes": list(train.classes),
        "source": str(source),
        "shapes": {key: list(array.shape) for key, array in arrays.items()},
        "sha256": {key: _sha256(array) for key, array in arrays.items()},
    }
    with beside(folder) as temporary:
        for key, array in arrays.items():
            write_whole(temporary / f"{key}.npy", lambda path, array=array: _save(path, array))
        if files is not None:
            write_json(temporary / "files.json", files._asdict())
        if origin is not None:
            write_json(temporary / ORIGIN, origin)
        write_json(temporary / "meta.json", meta)
        _move_into_place(temporary, folder, meta)


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, to be filled and renamed to it; it goes if it is not, and what killed writers left.

    Raises UserError in place of the system's error where it cannot be written.
    """
    temporary = temporary_beside(folder)  # for a rename cannot cross file systems
    try:
        leftovers.sweep(folder)
        temporary.mkdir(parents=True)
        yield temporary
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; name a folder you may write") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(folder: Path | str, way_out: str = _AGAIN) -> tuple[Images, Images]:
    """The (train, test) images of the prepared folder `folder`, as read-only memory maps.

    Every array is checked against its sha256, once in each process. Raises UserError that names the file which is
    missing, truncated, of the wrong dtype or changed, and ends in `way_out`; for a file that may not be read, and for
    what `write` refuses, it says so instead.
    """
    folder = checks.path("folder", folder)
    meta = read_meta(folder, way_out)
    arrays = {key: _open(folder / f"{key}.npy", way_out) for key in meta["sha256"]}
    for key, array in arrays.items():
        path = folder / f"{key}.npy"
        status = path.stat()
        state = (path.resolve(), status.st_size, status.st_mtime_ns, meta["sha256"][key])
        is_same = list(array.shape) == meta["shapes"].get(key, list(array.shape))
        if not is_same or (state not in _checked and _sha256(array) != meta["sha256"][key]):
            part = "sha256" if is_same else "shape"
            raise UserError(f"{path} is corrupt: its {part} is not the one in meta.json; {way_out}")
        _checked.add(state)
    about = {"classes": tuple(meta["classes"]), "name": folder.name, "mirrors": meta["mirrors"]}
    train = Images(arrays["train_images"], arrays["train_labels"], groups=arrays.get("train_groups"), **about)
    test = Images(arrays["test_images"], arrays["test_labels"], **about)
    _check_splits(folder, train, test)
    return train, test


def files(folder: Path | str, way_out: str = _AGAIN) -> Files | None:
    """The file that each image of the prepared folder `folder` comes from; None where it was not made of files.

    Names that are no UTF-8 are as `os.fsdecode` gives them. Raises UserError where the list does not fit the images.
    """
    folder = checks.path("folder", folder)
    path = folder / "files.json"
    if not os.path.lexists(path):
        return None
    found, shapes = read_json(path), read_meta(folder, way_out)["shapes"]
    for split in Files._fields:
        names = found.get(split)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path} lacks `{split}`, a list of names of files; {way_out}")
        if [len(names)] != shapes.get(f"{split}_labels"):
            raise UserError(f"{path} names {len(names)} files of another number of {split} images; {way_out}")
    return Files(found["train"], found["test"])


def digest(folder: Path | str) -> str:
    """Twelve hex digits that stand for the images, their labels and the names of the classes, without reading arrays.

    For the groups and for `mirrors`, too, where a set has them.
    Only folders of earlier versions, whose meta.json does not know the shapes, have their arrays opened for these.
    """
    folder = checks.path("folder", folder)
    meta = read_meta(folder)
    shapes = {
        key: meta["shapes"].get(key) or list(_open(folder / f"{key}.npy", _AGAIN).shape) for key in meta["sha256"]
    }
    facts = {"classes": meta["classes"], "shapes": shapes, "sha256": meta["sha256"]}
    facts |= {} if meta["mirrors"] else {"mirrors": False}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def read_meta(folder: Path, way_out: str = _AGAIN) -> dict:
    """The checked content of `folder`'s meta.json; raises UserError, ending in `way_out`, where a part is missing."""
    path = folder / "meta.json"
    _check_readable(path, way_out)
    try:
        meta = json.loads(read_text(path))
    except (UserError, ValueError, RecursionError):
        raise UserError(f"{path} is damaged: it is not JSON; {way_out}") from None
    meta = meta if isinstance(meta, dict) else {}
    classes, sums, shapes = meta.get("classes"), meta.get("sha256"), meta.get("shapes", {})
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{path} lacks `classes`, a list of names; {way_out}")
    if not isinstance(sums, dict) or not all(isinstance(sums.get(key), str) for key in ARRAYS):
        raise UserError(f"{path} lacks `sha256` of {', '.join(ARRAYS)}; {way_out}")
    if not isinstance(shapes, dict):
        raise UserError(f"{path} has `shapes` that are no shapes of arrays; {way_out}")
    mirrors = meta.get("mirrors", True)
    if not isinstance(mirrors, bool):
        raise UserError(f"{path} has `mirrors` that is neither true nor false; {way_out}")
    check_classes(classes, str(path))
    found = {key: sums[key] for key in (*ARRAYS, *OPTIONAL) if isinstance(sums.get(key), str)}
    return {**meta, "sha256": found, "shapes": shapes, "mirrors": mirrors}


def on_disk(
    images: Iterable[UInt8[ndarray, "h w c"]], count: int, shape: tuple[int, int, int]
) -> UInt8[ndarray, "n h w c"]:
    """So many images of one shape as an array that lies on the disk, so that `write` needs memory for one at a time.

    The file is a temporary one without a name, gone with the array; TMPDIR says where. Raises UserError where the disk
    is full.
    """
    with tempfile.TemporaryFile(prefix="ablkit-") as file, saying_why(Path(tempfile.gettempdir())):
        # Written and then mapped: a map that grows while the disk is full ends the process.
        for image in images:
            file.write(np.ascontiguousarray(image).data)
        file.flush()
        return np.memmap(file, np.uint8, "r", shape=(count, *shape))


def _check_splits(folder: Path, train: Images, test: Images) -> None:
    """Raise UserError where a split is empty or the two do not go together."""
    for split, images in (("training", train), ("test", test)):
        if not isinstance(images, Images):
            raise UserError(f"{folder}: {split} images are a {type(images).__name__}; give ablkit.data.Images")
    if train.classes != test.classes:
        raise UserError(f"{folder}: the two splits have different classes; give the same names in the same order")
    if train.mirrors != test.mirrors:
        raise UserError(f"{folder}: only one of the two splits may be mirrored; give both the same `mirrors`")
    for split, images in (("training", train), ("test", test)):
        if not len(images):
            raise UserError(f"{folder}: there are no {split} images; give some")
    first, second = (" x ".join(map(str, images.images.shape[1:])) for images in (train, test))
    if first != second:
        raise UserError(f"{folder}: training images are {first} and test images {second}; give both the same shape")


def _check_readable(path: Path, way_out: str) -> None:
    """Raise UserError where `path` is no regular file that may be read; nothing is waited for, as a pipe would be."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISREG(kind):
            with open(path, "rb"):
                return
    except FileNotFoundError:
        what = "is a link to a file that is missing" if path.is_symlink() else "is missing"
        raise UserError(f"{path} {what}; {way_out}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; {_right_to_read(error)}") from None
    raise UserError(f"{path} is a {'folder' if stat.S_ISDIR(kind) else 'special file'}, not a file; {way_out}")


def _right_to_read(error: OSError) -> str:
    # Good data must not be thrown away for want of a right.
    return "allow yourself to read it" if error.errno in _DENIED else "see to its disk or link"


def _open(path: Path, way_out: str) -> ndarray:
    _check_readable(path, way_out)
    try:
        # A shape whose size wraps round to a small one is to be an error too.
        with np.errstate(over="raise"), warnings.catch_warnings(action="ignore"):
            array = np.lib.format.open_memmap(path, mode="r")  # of plain arrays alone: no pickle, no archive
    except Exception:  # what a header makes numpy and Python's parser raise has no end
        raise UserError(f"{path} is truncated or no plain array; {way_out}") from None
    dtype, dimensions = (np.uint8, 4) if path.stem.endswith("images") else (np.int64, 1)
    if array.dtype != dtype or array.ndim != dimensions:
        raise UserError(
            f"{path} holds {array.dtype!s:.80} with {array.ndim} dimensions, "
            f"not {np.dtype(dtype).name} with {dimensions}; {way_out}"
        )
    return array


def _save(path: Path, array: ndarray) -> None:
    # Through an open file: given a name, np.save would add .npy to the temporary one.
    with open(path, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _sha256(array: ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def _move_into_place(temporary: Path, folder: Path, meta: dict) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        # Something is there already: fine if another process has just made the same.
        if not (folder / "meta.json").is_file():
            if folder.exists():
                raise UserError(f"{folder} exists and is no prepared data set; delete or rename it first") from None
            raise
        if digest(folder) != digest(temporary):
            raise UserError(
                f"{folder} holds other images or other names of classes; delete it or choose another name"
            ) from None
