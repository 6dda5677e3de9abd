"""A folder of class folders: which files are images of which class, and what is left out.

Files further down belong to the class folder that they lie in. No link is followed out of the folder or to one above
it, and nothing is opened here: see `ablkit.data.pictures`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ablkit.data import checks, pictures
from ablkit.data.images import check_classes
from ablkit.data.importing import classes as names_of_classes
from ablkit.data.importing import splits
from ablkit.data.importing.source import Item, Source, Tally
from ablkit.errors import UserError, shown, unknown
from ablkit.files import unreadable


def read(folder: Path, chosen: tuple[str, ...] = ()) -> Source:
    """The images of a folder with class folders in it, or with a folder of such for training and one for testing.

    Args:
        chosen: the class folders that are taken, in this order; all by default.

    Raises UserError where there are no two classes with images, where a chosen one is missing or has none, where two
    have names that only some systems tell apart, where they are splits by their names, and where the test set has a
    class that the training set lacks.
    """
    tally = Tally()
    root = os.path.realpath(folder)
    if root == os.path.dirname(root):
        raise UserError(f"{folder} is the root of all files; give the folder that holds the class folders")
    try:
        names = _folders(root, "", Tally())
    except OSError as error:
        raise unreadable(folder, error) from None
    train, test, beside = splits.found(names, partial(_inner, root))
    chosen = names_of_classes.named(chosen, _inner(root, train))
    if train:
        _folders(root, "", tally)  # what lies beside the two; of a whole, `_classes` counts it
    for name in beside:
        tally.leave("folders beside those for training and testing", name)
    for name in [name for name in names if not train and name.casefold() in splits.TRAIN and _inner(root, name)]:
        tally.hints.append(
            f"{shown(name)} is taken for a class: no folder beside it is for testing, as one named test or val would be"
        )
    first = _classes(root, train, tally, chosen)
    second = {} if test is None else _classes(root, test, tally, chosen)
    _check_chosen(folder / train, chosen, first, root, train)
    within = {name: _inner(root, _joined(train, name)) for name in first}
    if not chosen:  # who names them means them
        splits.check(folder / train, within)
    tally.hints += splits.hints(within)
    classes = _checked(folder, first, second, train, tally)
    if chosen:
        tally.hints.append(f"{len(chosen)} of {len(_folders(root, train, Tally()))} class folders are taken, as chosen")
        classes = chosen
    items = [_items(root, files, classes) for files in (first, second)]
    return Source(str(folder), classes, items[0], items[1] if test is not None else None, tally)


def _inner(root: str, name: str) -> list[str]:
    """The names of the folders in one of the root, as far as it can be opened."""
    try:
        return _folders(root, name, Tally())
    except OSError:
        return []


def _classes(root: str, split: str, tally: Tally, chosen: tuple[str, ...]) -> dict[str, list[str]]:
    """Class -> its files, relative to the root, of the chosen or all; what cannot be opened is counted."""
    try:
        names = _folders(root, split, tally)
    except OSError as error:
        tally.leave("folders that cannot be opened", split, error.strerror or "")
        return {}
    found = {}
    for name in sorted(set(names) & set(chosen or names), key=os.fsencode):
        files = _files(root, _joined(split, name), tally)
        if files:
            found[name] = files
        else:
            tally.leave("class folders without images", _joined(split, name))
    return found


def _check_chosen(where: Path, chosen: tuple[str, ...], found: dict, root: str, split: str) -> None:
    """Raise UserError where a class that was chosen is not there, or has no images."""
    if lacking := [name for name in chosen if name not in found]:
        there = _folders(root, split, Tally())
        if lacking[0] not in there:
            raise unknown(f"class folder of {where}", lacking[0], there)
        raise UserError(f"{where}: the class folder {shown(lacking[0])} has no images; choose others")


def _folders(root: str, inner: str, tally: Tally) -> list[str]:
    """The names of the folders in one that holds no images itself; what else lies there is counted."""
    found = []
    with os.scandir(os.path.join(root, inner)) as entries:
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
            name = _joined(inner, entry.name)
            if pictures.is_hidden(entry.name):
                tally.leave("hidden or of the system", name)
            elif wrong := _wrong_link(entry, root, os.path.join(root, inner)):
                tally.leave(wrong, name)
            elif _is(entry.is_dir):
                found.append(entry.name)
            else:
                is_image = entry.name.lower().endswith(pictures.ENDINGS)
                tally.leave("images in no class folder" if is_image else "files that are no images", name)
    return found


def _files(root: str, top: str, tally: Tally) -> list[str]:
    """The image files in a folder and below it, relative to the root, in the order of their names."""
    found, left, seen = [], [top], set()
    while left:
        inner = left.pop()
        where = os.path.join(root, inner)
        real = os.path.realpath(where)
        if real in seen:  # reached over another link
            continue
        seen.add(real)
        try:
            with os.scandir(where) as scanned:
                entries = list(scanned)
        except OSError as error:
            tally.leave("folders that cannot be opened", inner, error.strerror or "")
            continue
        for entry in entries:
            name = f"{inner}/{entry.name}"
            if pictures.is_hidden(entry.name):
                tally.leave("hidden or of the system", name)
            elif wrong := _wrong_link(entry, root, where):
                tally.leave(wrong, name)
            elif _is(entry.is_dir):
                left.append(name)
                tally.done["folders in class folders"] += 1
            elif not _is(entry.is_file):
                tally.leave("no regular files", name)
            elif entry.name.lower().endswith(pictures.ENDINGS):
                found.append(name)
            else:
                tally.leave("files that are no images by their ending", name)
    return sorted(found, key=os.fsencode)


def _is(asked: Callable[[], bool]) -> bool:
    try:
        return asked()
    except OSError:  # a link to what may not be looked at
        return False


def _wrong_link(entry: os.DirEntry, root: str, where: str) -> str:
    """Why a link is not followed; empty for one that is, and for what is none."""
    if not entry.is_symlink():
        return ""
    try:
        real = os.path.realpath(entry.path)
    except OSError:  # gone meanwhile, or another user's, as in /proc
        return "links that cannot be followed"
    if not os.path.exists(real):
        return "links to nothing"
    if not _is_in(real, root):
        return "links out of the folder"
    return "links to a folder that they lie in" if _is_in(os.path.realpath(where), real) else ""


def _is_in(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _joined(inner: str, name: str) -> str:
    return f"{inner}/{name}" if inner else name


def _items(root: str, files: dict[str, list[str]], classes: tuple[str, ...]) -> list[Item]:
    return [
        Item(name, label, partial(pictures.opened, os.path.join(root, name)))
        for label, of_class in enumerate(classes)
        for name in files.get(of_class, [])
    ]


def _checked(folder: Path, first: dict, second: dict, train: str, tally: Tally) -> tuple[str, ...]:
    """The classes in their order; raises UserError where they are none."""
    left = "; left out: " + "; ".join(tally.left_out()[:3]) if tally.left else ""
    if not first:
        where = folder / train if train else folder
        raise UserError(
            f"{where} has no class folders with images: put each image into a folder named after its class, such as"
            f" {where.name}/cat/1.png{left}"
        )
    names_of_classes.check_alike(str(folder), {*first, *second}, "class folders")
    if len(first) == 1:
        (only,) = first
        raise UserError(
            f"{folder} has images in one class folder, {shown(only)}, and one class leaves nothing to tell apart; give"
            f" a folder with two or more. If {shown(only)} holds class folders itself, give that{left}"
        )
    classes = tuple(checks.ordered(first))
    check_classes(classes, str(folder))
    for name in second:
        if name not in first:
            raise UserError(
                f"{folder}: the test images have a class {shown(name)} that the training images lack; take its folder"
                " away, or give it training images"
            )
    return classes
