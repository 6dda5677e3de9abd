"""Your own images as a prepared data set: from a folder of class folders, or from arrays in files of NumPy."""

from __future__ import annotations

import os
import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ablkit import data, paths
from ablkit.data import checks, leftovers, pictures, prepared
from ablkit.data.images import Images
from ablkit.data.importing import arrays, origin, reading, tree, words
from ablkit.data.importing.origin import Options
from ablkit.data.importing.source import Source
from ablkit.errors import UserError, shown
from ablkit.files import saying_why, status_of

_WAYS = "give a folder of class folders, an .npz file, or the images and the labels as two .npy files"


def import_images(
    source: Path | str,
    name: str,
    *,
    labels: Path | str | None = None,
    size: int | None = None,
    test_share: float | None = None,
    seed: int = 0,
    classes: Sequence[str] = (),
    root: Path | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Make the prepared data set `name` of a folder of images, or of arrays, whole or not at all; returns its folder.

    `ablkit.data.importing.tree` says what a folder looks like, `arrays` what a file holds, and
    `ablkit.data.pictures.rgb` what is done with images that are not plain RGB. Images that cannot be read are counted,
    named and left out. `prepared.files` gives the file of each image of a folder.

    Args:
        labels: the .npy file of the labels, where `source` is that of the images.
        size: both sides of the images, to which the whole frame is resized; without it all must have one size.
        test_share: share of every class that becomes the test set, drawn by `seed`; 0.2 where the source has none, and
            not to be given where it has one.
        classes: of a folder those that are taken, in this order; all by default.
        root: of the prepared folders, by default `paths.data_root()`.
        report: takes the lines of the summary.

    Raises UserError where that cannot be a data set, `name` is taken, something is of the wrong kind, or there is no
    room.
    """
    root = paths.data_root() if root is None else checks.path("root", root)
    source = checks.path("source", source)
    folder = _target(root, name)
    is_told, share = test_share is not None, Options().test_share
    size, test_share, seed = _numbers(size, test_share if is_told else share, seed)
    classes = _chosen(classes)
    if not callable(report):
        raise UserError(f"report {shown(report)} takes no lines; give a function, such as print")
    found = _source(source, None if labels is None else checks.path("labels", labels), classes)
    if is_told and found.test is not None:
        raise UserError(f"{source} {origin.BRINGS_TEST}, so --test-share {test_share:g} has no meaning; leave it out")
    number = len(found.train) + len(found.test or ())
    paths.check_writable(root, "ABLKIT_DATA")
    with saying_why(folder):
        root.mkdir(parents=True, exist_ok=True)
        leftovers.sweep_all(root)  # before it is asked what room there is
        # Without names: whatever ends this process, nothing of them is left.
        with tempfile.TemporaryFile(dir=root) as first, tempfile.TemporaryFile(dir=root) as second:
            if size is not None:
                reading.check_room(root, number, size, copies=2 if found.test is not None else 3)
            read = reading.read(found, size, first, report)
            train, test, files = _parts(found, read, second, name, test_share, seed)
            record = origin.of(found, Options(size, test_share, seed, classes))
            prepared.write(folder, train, test, _told(source, found, size, test_share, seed, classes), files, record)
    for line in words.summary(found, train, test, folder, size):
        report(line)
    return folder


def check_same(source: Path, folder: Path, told: dict, way_out: str) -> None:
    """Raise UserError, ending in `way_out`, where a prepared folder was not made of this source, as it is now.

    Args:
        told: options of `import_images`; what is not among them may be whatever it was.
    """
    known = origin.read(folder, told, way_out)
    found = _source(source, None, tuple(known["options"].get("classes", ())))
    origin.check(folder, known, origin.sums(found), way_out)


def _target(root: Path, name: str) -> Path:
    if fault := checks.fault_of_name(name):
        raise UserError(f"--name {shown(name)} {fault}; give a short word, such as pets")
    if reason := data.reserved(name):
        raise UserError(f"--name {name} {reason}; give another one, such as my-{name}")
    folder = root / name
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already; give another --name, or delete it first")
    return folder


def _numbers(size: int | None, test_share: float, seed: int) -> tuple[int | None, float, int]:
    """The three as Python's own numbers, as a record of them is written; raises UserError where one cannot be."""
    if size is not None:
        bounds = {"least": pictures.LEAST_SIDE, "most": pictures.MOST_SIDE}
        size = checks.whole("--size", size, "most sets here take 32", **bounds)
    test_share = checks.number("--test-share", test_share, "give a share of 1, such as 0.2")
    if not 0 < test_share < 1:
        raise UserError(f"--test-share {shown(test_share)} must be between 0 and 1, such as 0.2")
    return size, test_share, checks.whole("--seed", seed, "use 0, 1, 2, ...", least=0)


def _chosen(given: Iterable[str]) -> tuple[str, ...]:
    """The names of the chosen class folders; raises UserError where they cannot be."""
    classes = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else None
    if classes is None or not all(isinstance(name, str) for name in classes):
        raise UserError(f"--classes {shown(given)} is no list of names; give one, such as ['cat', 'dog']")
    for name, number in Counter(unicodedata.normalize("NFC", name) for name in classes).items():
        if not name:
            raise UserError("--classes has an empty name; give those of class folders, such as cat,dog")
        if number > 1:
            raise UserError(f"--classes names {shown(name)} {number} times; name each class once")
    if len(classes) == 1:
        raise UserError(
            f"--classes names {shown(classes[0])} alone, which leaves nothing to tell apart; name two or more"
        )
    return classes


def _source(path: Path, labels: Path | None, classes: tuple[str, ...]) -> Source:
    status = status_of(path)
    if status is None and not os.path.islink(path):
        raise UserError(f"{path} does not exist; {_WAYS}")
    if status is not None and stat.S_ISDIR(status.st_mode):
        if labels is not None:
            raise UserError(f"{path} is a folder, whose class folders are its labels; leave {labels} out")
        if all(os.path.isfile(path / name) for name in ("meta.json", "train_images.npy")):
            raise UserError(
                f"{path} is a prepared data set already; to use it set ABLKIT_DATA to {path.resolve().parent} and give"
                f" {shown(path.name)}"
            )
        return tree.read(path, classes)
    if status is None or not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is neither a folder nor a regular file; {_WAYS}")
    if classes:
        raise UserError(f"{path} is a file, and --classes chooses among the class folders of a folder; leave it out")
    ending = path.suffix.lower()
    if ending == ".npz" and labels is None:
        return arrays.read(path)
    if ending == ".npz":
        raise UserError(f"{path} brings its labels with it; leave {labels} out")
    if ending == ".npy" and labels is not None:
        return arrays.read(path, labels)
    if ending == ".npy":
        raise UserError(f"{path} has no labels beside it; give both, as in `ablkit data import images.npy labels.npy`")
    is_packed = ending in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
    raise UserError(f"{path} is a file; {'unpack it and give its folder' if is_packed else _WAYS}")


def _parts(
    found: Source, read: reading.Read, file: object, name: str, test_share: float, seed: int
) -> tuple[Images, Images, prepared.Files | None]:
    """The two splits, and the files that their images come from."""
    labels, images, names, count = read.labels, read.images, read.names, read.count
    _check_every_class(found, labels[:count] if found.test is not None else labels)
    if found.test is None:
        first, second = reading.drawn(labels, found.classes, test_share, seed)
        order = np.concatenate((first, second))
        images, labels, names = reading.copied(images, order, file), labels[order], [names[at] for at in order]
        count = len(first)
    elif count == len(labels):
        way_out = "leave out the arrays of the test set" if found.arrays else "take the folder away"
        raise UserError(f"{found.where} has no test image that can be read; add some, or {way_out}")
    splits = (slice(None, count), slice(count, None))
    train, test = (Images(images[part], labels[part], found.classes, name) for part in splits)
    return train, test, prepared.Files(*(names[part] for part in splits)) if not found.arrays else None


def _check_every_class(found: Source, labels: object) -> None:
    lacking = [name for label, name in enumerate(found.classes) if label not in labels]
    if lacking and found.arrays:
        raise UserError(
            f"{found.where}: class {shown(lacking[0])} has no training image; give it some, or leave its name out of"
            " the array `classes` and number the labels without it"
        )
    if lacking:
        left = "; ".join(found.tally.left_out())
        raise UserError(
            f"{found.where}: class {shown(lacking[0])} has no training image that can be read; see to them, or take it"
            f" away{f'; left out: {left}' if left else ''}"
        )


def _told(source: Path, found: Source, size: int | None, test_share: float, seed: int, classes: Sequence[str]) -> str:
    resized = "" if size is None else f", resized to {size} x {size}"
    split = (
        "" if found.test is not None else f", a share of {test_share:g} of every class drawn for testing, seed {seed}"
    )
    chosen = f", {len(classes)} classes chosen" if classes else ""
    return words.plain(f"imported from {source.resolve().name}{chosen}{resized}{split}")
