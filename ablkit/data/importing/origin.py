"""What a set was imported from: the options and a sum of every file, so that another folder is not taken for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ablkit.data import prepared
from ablkit.data.importing.source import Source
from ablkit.errors import UserError, shown
from ablkit.files import read_json

_DIGITS = 16
"""Of a sum: enough to tell files apart, and a third of the room."""


BRINGS_TEST = "brings its test images with it"


class Options(NamedTuple):
    """What an import was told."""

    size: int | None = None
    test_share: float = 0.2
    seed: int = 0
    classes: Sequence[str] = ()


def of(found: Source, options: Options) -> dict:
    """Options and files of an import; what draws a test set only where one is drawn."""
    told = {"size": options.size, "classes": list(options.classes)}
    if found.test is None:
        told |= {"test_share": options.test_share, "seed": options.seed}
    return {"options": told, "files": sums(found)}


def sums(found: Source) -> dict[str, str]:
    """Name of each file of a source -> the first digits of its sha256."""
    names = [] if found.arrays else [item.name for item in [*found.train, *(found.test or ())]]
    paths = {path.name: path for path in found.arrays} | {name: Path(found.where) / name for name in names}
    return {name: _digest(path) for name, path in paths.items()}


def read(made: Path, told: dict, way_out: str) -> dict:
    """What a prepared set was made of; raises UserError, ending in `way_out`, where it was told something else."""
    path = made / prepared.ORIGIN
    if not path.is_file():
        raise UserError(f"there is a data set in {made} already, and nothing tells what of; {way_out}")
    known = {"options": {}, "files": {}} | read_json(path)
    if told.get("test_share") is not None and known["options"] and "test_share" not in known["options"]:
        share = told["test_share"]
        raise UserError(
            f"what {made} was made of {BRINGS_TEST}, so --test-share {share:g} has no meaning; leave it out"
        )
    for name, before in known["options"].items():
        if told.get(name, before) != before:
            option = f"--{name.replace('_', '-')}"
            was = f"with {option} {shown(before)}" if before else f"without {option}"
            now = f"with {shown(told[name])}" if told[name] else "without it"
            raise UserError(f"{made} was made {was}, not {now}; {way_out}")
    return known


def recorded(made: Path) -> dict[str, str]:
    """The sum of each file that a prepared set was made of; see `sum_of`."""
    return read_json(made / prepared.ORIGIN).get("files", {})


def sum_of(content: bytes) -> str:
    """The first digits of the sha256 of a file."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def check(made: Path, known: dict, now: dict[str, str], way_out: str) -> None:
    """Raise UserError, ending in `way_out`, where a prepared set was not made of these files."""
    before = known["files"]
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if other:
        raise UserError(f"{made} was made of other files, as {other[0]!a} shows ({len(other)} differ); {way_out}")


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
