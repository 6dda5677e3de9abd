"""The set without the suspects, as folders of image files."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np

from ablkit.data import Images, folders, prepared
from ablkit.data.prepared import Files
from ablkit.errors import UserError
from ablkit.files import saying_why
from ablkit.shapes import Bool, ndarray


def check_new(to: Path, source: Path | None = None) -> None:
    """Raise UserError where a folder is there already, or would lie in the one that is cleaned."""
    if os.path.lexists(to):
        raise UserError(f"--export {to} exists already; name a new folder")
    if source is not None and os.path.realpath(to).startswith(os.path.realpath(source) + os.sep):
        raise UserError(f"--export {to} lies in {source}, which it would become a part of; name a folder elsewhere")


def export(
    to: Path, splits: tuple[Images, Images], table: Path, files: Files | None, folder: Path | None
) -> tuple[int, int]:
    """Write the images without suspicion as the new folder `to`, whole or not at all.

    Returns how many they are, and how many the others.

    The original files are copied where their folder is known, with their paths in it. Otherwise the prepared pixels are
    written as `to`/train/CLASS/*.png and `to`/test/CLASS/*.png.

    Args:
        splits: the images of the run, training ones first.
        table: of these images, `images.csv` of the run.
        files: of these images, see `data.files`.
        folder: that the set was imported from, where it is there.

    Raises UserError where `to` is there or cannot be written, and where a file of the folder has gone.
    """
    to = Path(os.path.abspath(to))
    check_new(to)
    kept = [_kept(table, split) for split in ("train", "test")]
    with prepared.beside(to) as temporary, saying_why(to):
        for split, images, own in zip(("train", "test"), splits, kept, strict=True):
            if files is None or folder is None:
                list(folders.write(temporary / split, images.take(np.flatnonzero(own))))
            else:
                _copy(folder, [name for name, keep in zip(getattr(files, split), own, strict=True) if keep], temporary)
        check_new(to)
        os.rename(temporary, to)
    whole = sum(map(len, kept))
    left = int(sum(own.sum() for own in kept))
    return left, whole - left


def _kept(table: Path, split: str) -> Bool[ndarray, " n"]:
    with open(table, encoding="utf-8", newline="") as file:
        return np.array([row["is_suspected"] == "False" for row in csv.DictReader(file) if row["split"] == split], bool)


def _copy(folder: Path, names: list[str], to: Path) -> None:
    for name in names:
        try:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, to / name)
        except FileNotFoundError:
            raise UserError(f"{name!a} has gone from {folder} since it was imported; bring it back") from None
