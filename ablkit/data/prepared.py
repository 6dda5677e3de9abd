"""Prepared folders: one data set as plain arrays, memory-mapped and checked by sha256.

<name>/train_images.npy  uint8 (n, h, w, c)      <name>/train_labels.npy  int64 (n,)
<name>/test_images.npy                           <name>/test_labels.npy
<name>/meta.json         name, classes, source, and the sha256 of each array's bytes
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.files import read_json, write_json, write_whole
from ablkit.shapes import ndarray

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")

# What this process has checked already: hashing once is enough while the files stay as they are.
_checked: set[tuple] = set()


def write(folder: Path, train: Images, test: Images, source: str) -> None:
    """Write both splits as the prepared folder `folder`, whole or not at all.

    `source` says in a few words where the images come from. Writing the same arrays again changes nothing. Raises
    UserError where `folder` holds something else, cannot be written, or the disk is full.
    """
    if train.classes != test.classes:
        raise UserError(f"{folder}: the two splits have different classes; give the same names in the same order")
    arrays = dict(zip(ARRAYS, (train.images, train.labels, test.images, test.labels), strict=True))
    sums = {key: _sha256(array) for key, array in arrays.items()}
    # Beside the target, for a rename cannot cross file systems; named by process, for two may prepare at once.
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for key, array in arrays.items():
            write_whole(temporary / f"{key}.npy", lambda path, array=array: _save(path, array))
        meta = {"name": folder.name, "classes": list(train.classes), "source": source, "sha256": sums}
        write_json(temporary / "meta.json", meta)
        _move_into_place(temporary, folder, sums)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; name a folder you may write") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(folder: Path, way_out: str = "make the folder again") -> tuple[Images, Images]:
    """The (train, test) images of the prepared folder `folder`, as read-only memory maps.

    Every array is checked against its sha256, once in each process. Raises UserError that names the file which is
    missing, truncated, of the wrong dtype or changed, and ends in `way_out`.
    """
    meta = read_meta(folder, way_out)
    arrays = {key: _open(folder / f"{key}.npy", way_out) for key in ARRAYS}
    for key, array in arrays.items():
        path = folder / f"{key}.npy"
        status = path.stat()
        state = (path.resolve(), status.st_size, status.st_mtime_ns, meta["sha256"][key])
        if state not in _checked and _sha256(array) != meta["sha256"][key]:
            raise UserError(f"{path} is corrupt: its sha256 is not the one in meta.json; {way_out}")
        _checked.add(state)
    about = (tuple(meta["classes"]), folder.name)
    return (
        Images(arrays["train_images"], arrays["train_labels"], *about),
        Images(arrays["test_images"], arrays["test_labels"], *about),
    )


def digest(folder: Path) -> str:
    """Twelve hex digits that stand for the content of all four arrays, without reading them."""
    sums = read_meta(folder)["sha256"]
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:12]


def read_meta(folder: Path, way_out: str = "make the folder again") -> dict:
    """The checked content of `folder`'s meta.json; raises UserError, ending in `way_out`, where a part is missing."""
    path = folder / "meta.json"
    if not path.is_file():
        raise UserError(f"{path} is missing; {way_out}")
    try:
        meta = read_json(path)
    except UserError:
        raise UserError(f"{path} is damaged: it is not JSON; {way_out}") from None
    meta = meta if isinstance(meta, dict) else {}
    classes, sums = meta.get("classes"), meta.get("sha256")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{path} lacks `classes`, a list of names; {way_out}")
    if not isinstance(sums, dict) or not all(isinstance(sums.get(key), str) for key in ARRAYS):
        raise UserError(f"{path} lacks `sha256` of {', '.join(ARRAYS)}; {way_out}")
    return {**meta, "sha256": {key: sums[key] for key in ARRAYS}}


def _open(path: Path, way_out: str) -> ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {way_out}") from None
    except (ValueError, EOFError, OSError):
        # A header that does not parse, fewer bytes than it promises, or Python objects, which are never loaded.
        raise UserError(f"{path} is truncated or no plain array; {way_out}") from None
    dtype, dimensions = (np.uint8, 4) if path.stem.endswith("images") else (np.int64, 1)
    if array.dtype != dtype or array.ndim != dimensions:
        raise UserError(
            f"{path} holds {array.dtype} with {array.ndim} dimensions, "
            f"not {np.dtype(dtype).name} with {dimensions}; {way_out}"
        )
    return array


def _save(path: Path, array: ndarray) -> None:
    # Through an open file: given a name, np.save would add .npy to the temporary one.
    with open(path, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _sha256(array: ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def _move_into_place(temporary: Path, folder: Path, sums: dict[str, str]) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        # Something is there already: fine if another process has just made the same.
        if not (folder / "meta.json").is_file():
            if folder.exists():
                raise UserError(f"{folder} exists and is no prepared data set; delete or rename it first") from None
            raise
        if read_meta(folder)["sha256"] != sums:
            raise UserError(f"{folder} holds other images; delete it or choose another name") from None
