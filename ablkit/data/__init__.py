"""Data sets by name: prepared once as plain arrays, then read from there."""

from __future__ import annotations

import inspect
import os
import shlex
from pathlib import Path

from ablkit import paths
from ablkit.data import (
    checks,
    cifar10,
    cifar100,
    digits,
    drawing,
    fashion_mnist,
    gtsrb,
    imagenette,
    leftovers,
    pictures,
    prepared,
)
from ablkit.data.cards import Card
from ablkit.data.images import Images
from ablkit.errors import UserError, shown, unknown

__all__ = [
    "CARDS",
    "DATASETS",
    "Card",
    "Images",
    "clean_images",
    "digest",
    "files",
    "load",
    "prepare",
    "prepared_names",
]

_SETS = (cifar10, cifar100, digits, fashion_mnist, gtsrb, imagenette)
_SOURCES = {one.CARD.name: one.fetch for one in _SETS}

CARDS = {one.CARD.name: one.CARD for one in _SETS}
"""Every data set that is fetched by name, and what there is to know of it before."""
DATASETS = tuple(CARDS)


def prepare(name: str, root: Path | None = None, **options: object) -> Path:
    """The prepared folder of the data set `name`, made now if it is not there; `root` defaults to `paths.data_root()`.

    A name outside DATASETS stands for a folder of your own under `root`, in the layout of `ablkit.data.prepared`.

    Args:
        **options: of the set's `fetch`: `given`, a folder that holds its files already; `size` for imagenette, which is
            then named after it, such as `imagenette-128`.

    Raises UserError for an unknown name or option, a damaged folder, images of your own in the place of a set of the
    kit, or a data set that cannot be had.
    """
    root = _root(root)
    if not isinstance(name, str | os.PathLike):
        raise UserError(f"{shown(name)} is no name of a data set; give a text, such as 'digits'")
    folders = _folders(root)
    # By listing, not by joining: a name such as "../x" must not leave the root.
    if name not in {*DATASETS, *folders}:
        raise _no_dataset(name, root, folders)
    for option in options:
        if name not in DATASETS or option not in inspect.signature(_SOURCES[name]).parameters:
            raise UserError(f"{name} takes no --{'from' if option == 'given' else option}; leave it out")
    if "size" in options:
        options["size"] = checks.whole("size", options["size"], "give the pixels of each side, such as 64")
    if options.get("given") is not None:
        options["given"] = checks.path("given", options["given"])
    sized = options.get("size", 0) not in (0, CARDS[name].size if name in CARDS else 0)
    folder = root / (f"{name}-{options['size']}" if sized else name)
    if folder.name in folders and _listed(folder):
        prepared.read_meta(folder, _way_out(name, folder))
        if name in DATASETS and os.path.lexists(folder / prepared.ORIGIN):  # earlier versions let an import have it
            raise UserError(f"{folder} holds imported images, not {name}; rename it, then run the same command again")
    elif name in DATASETS:
        # Before the download: a folder that cannot be written should not cost one.
        paths.check_writable(root, "ABLKIT_DATA")
        root.mkdir(parents=True, exist_ok=True)
        leftovers.sweep_all(root)
        train, test, source = _SOURCES[name](**options)
        prepared.write(folder, train, test, source)
    else:
        raise UserError(f"{folder} is empty; {_way_out(name, folder)}")
    return folder


def load(
    name: str, *, train_size: int = 0, seed: int = 0, held_out: float = 0.0, root: Path | None = None
) -> tuple[Images, Images]:
    """The (train, test) images of the data set `name`, prepared first if need be.

    `train_size` > 0 keeps that many training images, drawn by `seed` alone and in their original order; 0 keeps all
    but the share `held_out`, see `clean_images`. For one seed a smaller draw is part of every larger one. Whole splits
    are read-only memory maps. Raises UserError as `prepare` does, for a damaged file, and for sizes that the set does
    not have.

    Of a set with groups, such as the tracks of GTSRB, whole ones are drawn, evenly from all classes, and the last is
    cut at `train_size`; 0 cuts none. No group is both among these and among `clean_images`.
    """
    drawing.check(train_size, seed, held_out)
    train, test = _read(name, root)
    return drawing.kept(train, train_size=train_size, seed=seed, held_out=held_out), test


def clean_images(
    name: str, *, train_size: int = 0, seed: int = 0, held_out: float = 0.05, root: Path | None = None
) -> Images:
    """Training images that `load` with the same arguments leaves out: what a defender holds who knows them as clean.

    As many as the share `held_out` of the training images: on top of `train_size` > 0, or of them all. Of a set with
    groups they come from all groups that are left, and without `train_size` may be fewer by the rest of one group.
    """
    drawing.check(train_size, seed, held_out)
    train, _ = _read(name, root)
    return drawing.held(train, train_size=train_size, seed=seed, held_out=held_out)


def _read(name: str, root: Path | None) -> tuple[Images, Images]:
    folder = prepare(name, root)
    return prepared.read(folder, _way_out(name, folder))


def digest(name: str, root: Path | None = None) -> str:
    """Twelve hex digits that stand for the data set's content; prepares it first if need be."""
    return prepared.digest(prepare(name, root))


def files(
    name: str, *, train_size: int = 0, seed: int = 0, held_out: float = 0.0, root: Path | None = None
) -> prepared.Files | None:
    """The file of each image that `load` with the same arguments gives; None where the set was made of arrays."""
    drawing.check(train_size, seed, held_out)
    found = prepared.files(prepare(name, root))
    if found is None:
        return None
    train, _ = _read(name, root)
    chosen = drawing.kept_indices(train, train_size=train_size, seed=seed, held_out=held_out)
    return found._replace(train=[found.train[index] for index in chosen])


def prepared_names(root: Path | None = None) -> list[str]:
    """The names of the prepared folders in `root`, in alphabetical order."""
    root = _root(root)
    return sorted(one for one in _folders(root) if os.path.isfile(root / one / "meta.json"))


def reserved(name: str) -> str:
    """Why no set of one's own can have a name, in words; empty where one can.

    A set of the kit has it, or has it in another size. Not every file system tells capital letters from others.
    """
    plain = name.casefold()
    own, _, size = plain.rpartition("-")
    if plain in DATASETS:
        return "is the name of a data set of the kit" + (f", {plain}, where case is ignored" if name != plain else "")
    if own in DATASETS and size.isdecimal() and "size" in inspect.signature(_SOURCES[own]).parameters:
        return f"is the name of a data set of the kit, {own}, in another size"
    return ""


def _root(root: Path | None) -> Path:
    return paths.data_root() if root is None else checks.path("root", root)


def _way_out(name: str, folder: Path) -> str:
    if pictures.are_in(folder):
        return _by_import(folder, f"{name}-32")
    if name in DATASETS:
        return f"delete the folder {folder} and run `ablkit data {name}`"
    return f"make the folder {folder} again with {prepared.BY_WRITE}"


def _by_import(folder: Path | str, name: str) -> str:
    name = f"my-{name}" if reserved(name) else name
    command = f"ablkit data import {shlex.quote(str(folder))} --name {shlex.quote(name)} --size 32"
    return f"its images are imported with `{command}`; then give {shown(name)}"


def _folders(root: Path) -> list[str]:
    """The names of the folders in `root`, without hidden ones and those whose name would break a line."""
    found = _listed(root)
    return [path.name for path in found if path.name.isprintable() and path.name[0] != "." and os.path.isdir(path)]


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder, nothing where it is missing; raises UserError where it cannot be read."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read: {error.strerror}; allow it, or set ABLKIT_DATA to another folder"
        ) from None


def _no_dataset(name: str, root: Path, folders: list[str]) -> UserError:
    """The error for a name that is none of `folders`: a path, something else than a folder, or a slip."""
    where = os.path.abspath(os.path.expanduser(name))
    known = {*DATASETS, *(one for one in folders if os.path.isfile(root / one / "meta.json"))}
    plain = os.path.basename(os.path.normpath(name))
    if plain in ("", ".", ".."):
        return unknown("dataset", name, known)
    if plain not in known and not os.path.lexists(where) and not os.path.lexists(root / name):
        said = str(unknown("dataset", name, known))
        return UserError(f"{said}{' No' if said[-1] == '?' else '; no'} folder or file of that name is there either")
    if plain == name and os.path.lexists(root / name):
        what = "a link to nothing" if os.path.islink(root / name) else "no folder"
        return UserError(f"{shown(name)} is no dataset: {root / name} is {what}; {_way_out(name, root / name)}")
    said = f"{shown(name)} is no dataset but a path, and a data set is named by its folder in {root}"
    is_elsewhere = os.path.isdir(where) and os.path.realpath(where) != os.path.realpath(root / plain)
    if plain in known and not is_elsewhere:
        return UserError(f"{said}; give {shown(plain)}")
    if os.path.isfile(os.path.join(where, "meta.json")):
        return UserError(f"{said}; set ABLKIT_DATA to {os.path.dirname(where)} and give {shown(plain)}")
    if pictures.are_in(where):
        return UserError(f"{said}; {_by_import(where, plain if is_elsewhere else f'{plain}-32')}")
    return UserError(f"{said}; make one there from arrays with {prepared.BY_WRITE}, then give {shown(plain)}")
