"""Folders that are no classes: those for training and for testing, however they are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ablkit.data.checks import split_of
from ablkit.errors import UserError, shown

TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
_NAMED = 3


def found(names: list[str], inner: Callable[[str], list[str]]) -> tuple[str, str | None, list[str]]:
    """The folder of the training images, "" for the whole, that of the test images, and those which are neither.

    Args:
        inner: gives the folders in one of `names`.
    """
    by_name = {name.casefold(): name for name in names}
    train = next((by_name[name] for name in TRAIN if name in by_name), None)
    tests = [by_name[name] for name in TEST if name in by_name]
    # A class may be called so, too: of vehicles, or of what hangs on a line.
    if train is None or not inner(train) or (not tests and len(names) > 1):
        return "", None, []
    test = next((name for name in tests if inner(name)), None)
    return train, test, [name for name in names if name not in (train, test)]


def hints(within: dict[str, list[str]]) -> list[str]:
    """A line where class folders hold splits, which are put together; `within` has the folders in each."""
    mixed = [name for name, inner in within.items() if len({*map(split_of, inner)} - {""}) > 1]
    if not mixed:
        return []
    return [
        f"{len(mixed)} class folders hold folders for training and for testing, such as {shown(mixed[0])}, whose images"
        " were put together; to keep them apart, put train and test above the class folders"
    ]


def check(where: Path, within: dict[str, list[str]]) -> None:
    """Raise UserError where folders that would become classes are splits by their names, or by what they hold, too.

    Args:
        within: their names -> the folders in each.
    """
    splits = {name: split_of(name) for name in within}
    train, test = ([name for name, split in splits.items() if split == one] for one in ("train", "test"))
    for first, second in ((first, second) for first in train for second in test):
        both = sorted({*within[first]} & {*within[second]})
        if len(both) > 1:
            raise UserError(
                f"{where}: {shown(first)} and {shown(second)} both hold class folders, such as {shown(both[0])} and"
                f" {shown(both[1])}, so they are no classes; rename {shown(first)} to train and {shown(second)} to test"
            )
    if len(splits) < 2 or not all(splits.values()):
        return
    listed = ", ".join(map(shown, [*splits][:_NAMED])) + " ..." * (len(splits) > _NAMED)
    if any(within.values()):
        way_out = "call the folder for training train and the one for testing test, with class folders in each"
    else:
        way_out = (
            f"put each image into a folder named after its class, such as {where.resolve().name}/train/cat/1.png and"
            " test/cat/2.png beside it"
        )
    raise UserError(
        f"{where}: its folders {listed} have the names of splits, not of classes; {way_out}, or give the folder above"
        " the classes. If they are classes, choose them: `ablkit data import` with --classes"
    )
