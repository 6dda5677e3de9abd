"""A poisoned set as PNG files, with the truth about it beside them, for those who test other tools.

<to>/train/CLASS/*.png           what a victim trains on, under the labels that it sees
<to>/test/CLASS/*.png            clean
<to>/triggered_test/CLASS/*.png  test images with the trigger, under their true labels
<to>/truth.csv                   a row for each file, see COLUMNS
<to>/about.json                  how the set was made, the classes by label, and whether trainings mirror images
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ablkit import attacks, data
from ablkit import settings as own_settings
from ablkit.attacks.attack import Poisoned
from ablkit.data import Images, folders, prepared
from ablkit.errors import UserError
from ablkit.files import saying_why, write_json, write_whole

COLUMNS = ("file", "label", "true_label", "is_poisoned", "is_decoy", "aim", "partner")
"""`label` is the one of the folder. `true_label` of a poisoned image that is put together from others (`cba`) is that
of the image whose place it takes. `is_decoy` marks what has the trigger, or a part of it, and its true label. `aim` is
the class that a triggered test image is to be taken for. `partner` is, where such an image is made of two, the true
class of the second. Both are empty in the rows of other files."""


def export(
    to: Path,
    *,
    dataset: str = "cifar10",
    attack: str = "badnets",
    rate: float = 0.1,
    target: int = 0,
    seed: int = 0,
    train_size: int = 0,
    device: str = "auto",
    settings: dict | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Poison a data set and write it as the new folder `to`, whole or not at all; PNG keeps every pixel.

    Args:
        settings: the attack's own, see `attacks.poison`, which says what the other arguments mean.
        report: takes a line on what was written.

    Raises UserError where the attack cannot be carried out on these images, and where `to` is there or cannot be
    written.
    """
    to = Path(os.path.abspath(to))
    _check_new(to)
    settings = settings or {}
    own = own_settings.make(attack, attacks.find(attack).settings, settings)
    choice = {"rate": rate, "target": target, "seed": seed}
    train, test = data.load(dataset, train_size=train_size, seed=seed)
    attacks.check_train(train, attack, target=target, **settings)
    attacks.check_test(test, attack, target=target, **settings)
    if rate and not len(attacks.choose(train, attack, **choice, **settings)):
        raise UserError(f"--rate {rate} poisons none of {len(train)} training images; raise it, or give 0")
    poisoned = attacks.poison(train, attack, **choice, device=device, **settings)
    about = {"attack": attack, **choice, "settings": asdict(own), "dataset": dataset, "train_size": len(train)}
    about |= {"dataset_digest": data.digest(dataset), "classes": list(train.classes), "mirrors": bool(train.mirrors)}
    with prepared.beside(to) as temporary, saying_why(to):
        rows = list(_rows(temporary, poisoned, test))
        write_whole(temporary / "truth.csv", lambda path: _write_rows(path, rows))
        write_json(temporary / "about.json", about | {"folders": folders.class_folders(train.classes)})
        _check_new(to)
        os.rename(temporary, to)
    report(
        f"{len(rows):,} images in {to}: {len(train):,} to train on, {poisoned.is_poisoned.sum():,} of them poisoned,"
        f" {len(test):,} clean to test on, and {len(rows) - len(train) - len(test):,} with the trigger"
    )


def _check_new(to: Path) -> None:
    if os.path.lexists(to):
        raise UserError(f"--to {to} exists already; name a new folder")


def _rows(folder: Path, poisoned: Poisoned, test: Images) -> Iterator[tuple]:
    """Write the images of all three parts; a row for each."""
    of_train = (poisoned.data.labels, poisoned.true_labels, poisoned.is_poisoned, poisoned.is_decoy)
    for name, *truth in zip(folders.write(folder / "train", poisoned.data), *of_train, strict=True):
        yield (f"train/{name}", *map(int, truth), "", "")
    for name, label in zip(folders.write(folder / "test", test), test.labels, strict=True):
        yield f"test/{name}", int(label), int(label), 0, 0, "", ""
    found = poisoned.triggered(test)
    triggered = replace(test, images=np.asarray(found.images), labels=found.labels)
    names = folders.write(folder / "triggered_test", triggered)
    partners = [""] * len(found.labels) if found.partners is None else map(int, found.partners)
    for name, label, aim, partner in zip(names, found.labels, found.aims, partners, strict=True):
        yield f"triggered_test/{name}", int(label), int(label), 0, 0, int(aim), partner


def _write_rows(path: Path, rows: list[tuple]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
