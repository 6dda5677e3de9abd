"""The arrays of a run folder, validated: indices, losses and trajectories, or `Damaged` with the name of the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from ablkit.errors import shown
from ablkit.runs.records import Damaged
from ablkit.shapes import Float, Int64, ndarray

T = TypeVar("T")


def isolated(folder: Path, images: int) -> Int64[ndarray, " k"]:
    """Indices of the examples that a run isolated, of so many training images; raises Damaged."""
    return _indices(folder / "isolated.npy", images)


def excluded(folder: Path, images: int) -> Int64[ndarray, " m"] | None:
    """Indices of the suspects that a run excluded, of so many training images, None where it judged none.

    Raises Damaged.
    """
    path = folder / "excluded.npy"
    return _indices(path, images) if os.path.lexists(path) else None


def poisoned(folder: Path, images: int) -> Int64[ndarray, " p"] | None:
    """Indices of the poisoned ones of so many training images, None where the run kept none; raises Damaged."""
    path = folder / "poisoned.npy"
    return _indices(path, images) if os.path.lexists(path) else None


def _indices(path: Path, images: int) -> Int64[ndarray, " k"]:
    indices = array(path)
    inside = indices.ndim == 1 and indices.dtype == np.int64 and ((indices >= 0) & (indices < images)).all()
    if not inside or len(np.unique(indices)) != len(indices):
        raise Damaged(path, f"is damaged (it holds no indices of {images} images)")
    return indices


def losses(folder: Path, images: int) -> Float[ndarray, " n"] | None:
    """Loss of each of so many training images at the turning epoch, None where the run kept none; raises Damaged."""
    path = folder / "losses.npy"
    if not os.path.lexists(path):
        return None
    found = array(path)
    if found.shape != (images,) or not np.issubdtype(found.dtype, np.floating):
        raise Damaged(path, f"is damaged (it holds no losses of {images} images)")
    return found


def trajectories(folder: Path, images: int) -> dict[str, Float[ndarray, "epochs n"]]:
    """Scores of each of so many training images after each epoch of phase 1, by name; empty where the run kept none.

    Raises Damaged.
    """
    path = folder / "trajectories.npz"
    if not os.path.lexists(path):
        return {}
    found = _arrays(path)
    for name, values in found.items():
        if values.ndim != 2 or values.shape[1] != images or not np.issubdtype(values.dtype, np.floating):
            raise Damaged(path, f"is damaged ({shown(name)} holds no losses of {images} images)")
    return found


def array(path: Path) -> ndarray:
    """The array in a .npy file, whatever it holds but objects; raises Damaged."""
    found = _loaded(path, lambda file: np.load(file, allow_pickle=False))
    if not isinstance(found, np.ndarray):
        raise Damaged(path, "is damaged (it holds no array)")
    return found


def _arrays(path: Path) -> dict[str, ndarray]:
    arrays = _loaded(path, lambda file: dict(np.load(file, allow_pickle=False)))
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise Damaged(path, "is damaged (it holds no arrays)")
    return arrays


def _loaded(path: Path, load: Callable[[BinaryIO], T]) -> T:
    if not os.path.isfile(path):
        raise Damaged(path, "does not exist, or is no regular file")
    try:
        with open(path, "rb") as file:
            return load(file)
    except Exception as error:  # a damaged header fails in many ways, up to MemoryError
        raise Damaged(path, f"is damaged ({type(error).__name__})") from None
