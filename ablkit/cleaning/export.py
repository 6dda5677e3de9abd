"""The set without the suspects, as folders of image files."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from ablkit import data, paths
from ablkit.data import folders, prepared
from ablkit.data.importing import origin
from ablkit.errors import UserError
from ablkit.files import saying_why
from ablkit.shapes import Bool, ndarray

SPLITS = ("train", "test")


def check_new(to: Path, source: Path | None = None) -> None:
    """Raise UserError where a folder is there already, or would lie in the one that is cleaned."""
    if os.path.lexists(to):
        raise UserError(f"--export {to} exists already; name a new folder")
    if source is not None and os.path.realpath(to).startswith(os.path.realpath(source) + os.sep):
        raise UserError(f"--export {to} lies in {source}, which it would become a part of; name a folder elsewhere")


def export(to: Path, name: str, table: Path, folder: Path | None, **drawn: object) -> list[str]:
    """Write the images without suspicion as the new folder `to`, whole or not at all; return lines that say how many.

    The original files are copied where their folder is known, with their paths in it. Otherwise the prepared pixels are
    written as `to`/train/CLASS/*.png and `to`/test/CLASS/*.png.

    Args:
        name: of the data set.
        table: of its images, `images.csv` of the run; where somebody has changed what it suspects, it is followed.
        folder: that the set was imported from, where it is there.
        drawn: what was drawn of the set, see `data.load`.

    Raises UserError where `to` is there or cannot be written, where the table does not name each image once, and where
    a file of the folder has gone or is another than the one that was judged.
    """
    to = Path(os.path.abspath(to))
    check_new(to)
    splits, files = data.load(name, **drawn), data.files(name, **drawn)
    sums = {} if files is None or folder is None else origin.recorded(paths.data_root() / name)
    kept = [_kept(table, split, len(images)) for split, images in zip(SPLITS, splits, strict=True)]
    with prepared.beside(to) as temporary, saying_why(to):
        for split, images, own in zip(SPLITS, splits, kept, strict=True):
            if files is None or folder is None:
                list(folders.write(temporary / split, images.take(np.flatnonzero(own))))
            else:
                names = [name for name, keep in zip(getattr(files, split), own, strict=True) if keep]
                _copy(folder, names, sums, temporary)
        check_new(to)
        os.rename(temporary, to)
    whole, left = sum(map(len, kept)), int(sum(own.sum() for own in kept))
    lines = [f"without {whole - left:,} suspects: {left:,} images in {to}"]
    if unseen := sum(map(len, data.load(name))) - whole:
        lines.append(f"{unseen:,} images of {name} were not looked at, as train_size draws some, and are not there")
    return lines


def _kept(table: Path, split: str, count: int) -> Bool[ndarray, " n"]:
    """Of each image of a split, whether the table suspects it not, in whatever order and letters its rows are."""
    found: dict[str, bool] = {}
    try:
        with open(table, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split") == split]
        for row in rows:
            found[row["number"]] = {"true": False, "false": True}[row["is_suspected"].lower()]
        if len(rows) != count:
            raise ValueError(f"{len(rows)} rows of {count} images in {split}")
        return np.array([found[str(number)] for number in range(count)], bool)
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        reason = f"{error.args[0]} of {split}" if isinstance(error, KeyError) else " ".join(str(error).split())[:100]
        raise UserError(
            f"{table} is not the table that the run wrote ({reason}); undo what was changed, or use --force"
        ) from None


def _copy(folder: Path, names: list[str], sums: dict[str, str], to: Path) -> None:
    """Copy files that are still those that were judged: a link or another content may have come in their place."""
    for name in names:
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"{name!a} of {folder} cannot be read any more ({error.strerror}); bring it back") from None
        if origin.sum_of(content) != sums.get(name):
            raise UserError(f"{name!a} of {folder} has changed since it was imported; bring the old file back")
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
