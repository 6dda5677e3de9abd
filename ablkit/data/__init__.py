"""Data sets by name: prepared once as plain arrays, then read from there."""

from __future__ import annotations

from pathlib import Path

from ablkit import paths
from ablkit.data import cifar10, digits, prepared
from ablkit.data.images import Images
from ablkit.errors import UserError, unknown
from ablkit.randomness import numpy_stream

__all__ = ["DATASETS", "Images", "digest", "load", "prepare"]

_SOURCES = {"cifar10": cifar10.fetch, "digits": digits.fetch}

DATASETS = tuple(_SOURCES)


def prepare(name: str, root: Path | None = None) -> Path:
    """The prepared folder of the data set `name`, made now if it is not there; `root` defaults to `paths.data_root()`.

    A name outside DATASETS stands for a folder of your own under `root`, in the layout of `ablkit.data.prepared`.
    Raises UserError for an unknown name, a damaged folder, or a data set that cannot be had.
    """
    root = paths.data_root() if root is None else Path(root)
    folder = root / name
    # By listing, not by joining: a name such as "../x" must not leave the root.
    if name not in {*DATASETS, *(path.name for path in root.glob("[!.]*") if path.is_dir())}:
        raise unknown("dataset", name, {*DATASETS, *(path.parent.name for path in root.glob("[!.]*/meta.json"))})
    if folder.is_dir() and any(folder.iterdir()):
        prepared.read_meta(folder, _way_out(name, folder))
    elif name in DATASETS:
        _make_root(root)
        train, test, source = _SOURCES[name]()
        prepared.write(folder, train, test, source)
    else:
        raise UserError(f"{folder} is empty; {_way_out(name, folder)}")
    return folder


def load(name: str, *, train_size: int = 0, seed: int = 0, root: Path | None = None) -> tuple[Images, Images]:
    """The (train, test) images of the data set `name`, prepared first if need be.

    `train_size` > 0 keeps that many training images, drawn by `seed` alone and in their original order; 0 keeps all.
    For one seed a smaller draw is part of every larger one. Whole splits are read-only memory maps. Raises UserError
    as `prepare` does, for a damaged file, and for a `train_size` that the set does not have.
    """
    folder = prepare(name, root)
    train, test = prepared.read(folder, _way_out(name, folder))
    if not 0 <= train_size <= len(train):
        raise UserError(
            f"train_size {train_size} is not possible: {name} has {len(train)} training images; "
            f"give 1 to {len(train)}, or 0 for all"
        )
    if train_size:
        chosen = numpy_stream(seed, "subset").permutation(len(train))[:train_size]
        chosen.sort()
        train = train.take(chosen)
    return train, test


def digest(name: str, root: Path | None = None) -> str:
    """Twelve hex digits that stand for the data set's content; prepares it first if need be."""
    return prepared.digest(prepare(name, root))


def _way_out(name: str, folder: Path) -> str:
    if name in DATASETS:
        return f"delete the folder {folder} and run `ablkit data {name}`"
    return f"make the folder {folder} again"


def _make_root(root: Path) -> None:
    # Before the download: a folder that cannot be written should not cost one.
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {root}: {error.strerror}; set ABLKIT_DATA to a folder you may write") from error
