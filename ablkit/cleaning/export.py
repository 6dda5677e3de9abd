"""The set without the suspects, as folders of image files."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np

from ablkit import data, paths
from ablkit.data import Images, folders, prepared
from ablkit.data.importing import origin
from ablkit.errors import UserError, shown
from ablkit.files import saying_why
from ablkit.shapes import Bool, Int64, ndarray

SPLITS = ("train", "test")
_WORDS = {"true": False, "1": False, "yes": False, "false": True, "0": True, "no": True}
"""What a spreadsheet may write for `is_suspected`, in small letters -> whether the image is kept."""
_NAMED = 5


def check_new(to: Path, source: Path | None = None) -> None:
    """Raise UserError where a folder is there already, or would lie in the one that is cleaned."""
    if os.path.lexists(to):
        raise UserError(f"--export {to} exists already; name a new folder")
    if source is not None and os.path.realpath(to).startswith(os.path.realpath(source) + os.sep):
        raise UserError(f"--export {to} lies in {source}, which it would become a part of; name a folder elsewhere")


def export(
    to: Path,
    name: str,
    table: Path,
    folder: Path | None,
    suspects: Int64[ndarray, " m"] | None = None,
    **drawn: object,
) -> list[str]:
    """Write the images without suspicion as the new folder `to`, whole or not at all; return lines that say how many.

    The original files are copied where their folder is known, with their paths in it. Otherwise the prepared pixels are
    written as `to`/train/CLASS/*.png and `to`/test/CLASS/*.png.

    Args:
        name: of the data set.
        table: of its images, `images.csv` of the run; where somebody has changed what it suspects, it is followed.
        folder: that the set was imported from, where it is there.
        suspects: indices of the training images that the model was trained without; a line says where the table has
            others.
        drawn: what was drawn of the set, see `data.load`.

    Raises UserError where `to` is there or cannot be written, where the table does not name each image once or leaves
    none to train on, and where a file of the folder has gone or is another than the one that was judged.
    """
    to = Path(os.path.abspath(to))
    check_new(to)
    splits, files = data.load(name, **drawn), data.files(name, **drawn)
    sums = {} if files is None or folder is None else origin.recorded(paths.data_root() / name)
    rows = _rows(table)
    kept = [_kept(table, rows, split, len(images)) for split, images in zip(SPLITS, splits, strict=True)]
    if not kept[0].any():
        raise UserError(
            f"{table} suspects all {len(kept[0]):,} training images, and leaves none; set is_suspected of some to FALSE"
        )
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
    lines = [f"without {whole - left:,} suspect{'s' * (whole - left != 1)}: {left:,} images in {to}"]
    lines += [] if suspects is None else _changed(table, kept[0], suspects)
    lines += [told for split, *own in zip(SPLITS, splits, kept, strict=True) if (told := _emptied(split, *own))]
    if unseen := sum(map(len, data.load(name))) - whole:
        lines.append(f"{unseen:,} images of {name} were not looked at, as train_size draws some, and are not there")
    return lines


_UNDO = "undo what was changed; --force trains again and makes a new table, without your changes"


def _rows(table: Path) -> list[dict[str, str]]:
    """The rows of the table, as the run or a spreadsheet has saved it: with commas or semicolons, in any encoding.

    What is read of a row is ASCII: names of files that another encoding spoils have no part in it.
    """
    try:
        text = table.read_bytes().decode("utf-8-sig", "replace")
        header = text.partition("\n")[0]
        separator = ";" if ";" in header and "," not in header else ","
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except (OSError, csv.Error) as error:
        raise _not_written(table, " ".join(str(error).split())[:100]) from None
    for column in ("split", "number", "is_suspected"):
        if rows and column not in rows[0]:
            raise _not_written(table, f"it has no column {column}")
    return rows


def _kept(table: Path, rows: list[dict[str, str]], split: str, count: int) -> Bool[ndarray, " n"]:
    """Of each image of a split, whether the table suspects it not, in whatever order and letters its rows are."""
    own = {row["number"]: row["is_suspected"] for row in rows if row["split"] == split}
    many = sum(row["split"] == split for row in rows)
    if many != count:
        raise _not_written(table, f"{many} rows of {count} images in {split}")
    for number in map(str, range(count)):
        if number not in own:
            raise _not_written(table, f"no row of image {number} in {split}")
        if (own[number] or "").strip().lower() not in _WORDS:
            said = shown(own[number] or "")
            raise UserError(f"{table}: is_suspected of image {number} in {split} is {said}; write TRUE or FALSE")
    return np.array([_WORDS[own[str(number)].strip().lower()] for number in range(count)], bool)


def _changed(table: Path, kept: Bool[ndarray, " n"], suspects: Int64[ndarray, " m"]) -> list[str]:
    """A line on the training images of which the table says something else than the run that made it."""
    is_suspect = np.isin(np.arange(len(kept)), suspects)
    more, fewer = int((~kept & ~is_suspect).sum()), int((kept & is_suspect).sum())
    if not more + fewer:
        return []
    return [
        f"{table.name} was changed: {more:,} more training image{'s are' if more != 1 else ' is'} suspected, {fewer:,}"
        " no more. The set follows it; the model does not, as it was trained before"
    ]


def _not_written(table: Path, reason: str) -> UserError:
    return UserError(f"{table} is not the table that the run wrote ({reason}); {_UNDO}")


def _emptied(split: str, images: Images, kept: Bool[ndarray, " n"]) -> str:
    """A line on the classes whose images of a split are all suspected; empty where there is none."""
    gone = [k for k in np.unique(images.labels) if not kept[images.labels == k].any()]
    names = ", ".join(shown(images.classes[k]) for k in gone[:_NAMED])
    names += f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
    return f"no image is left in {split} of {len(gone)} of {len(images.classes)} classes: {names}" if gone else ""


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
