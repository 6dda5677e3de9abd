"""What is to be cleaned: a data set by its name, or a folder of images, which becomes one first."""

from __future__ import annotations

import os
from pathlib import Path

from ablkit import data, paths
from ablkit.data import prepared
from ablkit.data.importing import import_images, tree
from ablkit.errors import UserError


def found(given: str, name: str | None = None, **options: object) -> tuple[str, Path | None]:
    """The name of the data set that `given` stands for, imported now if need be, and the folder of its files.

    A name of a data set comes before a folder of the same name in the current one. A folder that was imported before is
    not read again.

    Args:
        name: of the data set that a folder becomes; by default that of the folder.
        options: further ones of `import_images`.

    Raises UserError where it is neither, and where a folder has changed since it was imported.
    """
    root = paths.data_root()
    if given in data.DATASETS or os.path.isfile(root / given / "meta.json"):
        if name is not None:
            raise UserError(f"{given} is a data set already, so --name {name} has no meaning; leave it out")
        return given, None
    folder = Path(given).expanduser()
    if not folder.exists():
        data.prepare(given)  # which says what is near it
    own = name or folder.resolve().name
    if os.path.isfile(root / own / "meta.json"):
        _check_same(folder, root / own)
        print(f"{folder} was imported before, as data set {own}")
    else:
        import_images(folder, own, **options)
    return own, folder if folder.is_dir() else None


def _check_same(folder: Path, made: Path) -> None:
    """Raise UserError where a prepared set was not made of this folder, or not of what lies there now."""
    again = f"give another --name, or delete {made} first"
    files = prepared.files(made)
    if not folder.is_dir() or files is None:
        raise UserError(f"there is a data set in {made} already; {again}, or clean that one by its name")
    listed = tree.read(folder)
    there = {item.name for item in [*listed.train, *(listed.test or ())]}
    known = {*files.train, *files.test}
    since = (made / "meta.json").stat().st_mtime
    newer = [name for name in there if os.lstat(folder / name).st_mtime > since]
    if known - there or newer:
        named = sorted([*(known - there), *newer])[0]
        raise UserError(f"{folder} is not what {made} was made of, as {named!a} shows; {again}")
