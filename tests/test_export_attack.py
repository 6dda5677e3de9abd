"""Poisoned sets as PNG files: no pixel is lost, the truth is true, and the folder is there whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import refused, toy
from PIL import Image

from ablkit import attacks, data
from ablkit.attacks import export as exporting
from ablkit.attacks.export import COLUMNS, export
from ablkit.cli import main
from ablkit.data import Images, folders, importing, prepared

CHEAP = {
    "badnets": {},
    "blend": {},
    "sig": {},
    "cba": {},
    "trojan": {"steps": 2, "surrogate_epochs": 1},
    "lba": {"steps": 2, "surrogate_epochs": 1},
    "cl": {"steps": 2, "surrogate_epochs": 1},
    "fc": {"steps": 2, "surrogate_epochs": 1},
    "dynamic": {"epochs": 1, "mask_epochs": 1, "width": 2},
    "dfst": {"images": 20, "epochs": 1, "width": 2, "blocks": 1, "rounds": 1, "model_epochs": 1}
    | {"retrain_epochs": 1, "injector_epochs": 1},
}
"""Every attack with settings that cost next to nothing, and so teach its trigger nothing."""
SEVERAL = {"cover": "0.1", "labels": "all2three"}
SPLITS = ("train", "test", "triggered_test")


@pytest.fixture
def small(roots: Path) -> Path:
    """A data set of 120 and 60 images of 16 x 16; returns the folder of the data sets."""
    prepared.write(roots / "small", toy(120, 1), toy(60, 2), "made by a test")
    return roots


def read(folder: Path) -> tuple[list[dict], dict[str, np.ndarray]]:
    """The rows of the truth, and the pixels of each file."""
    with open(folder / "truth.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, {row["file"]: np.asarray(Image.open(folder / row["file"])) for row in rows}


def test_every_attack_is_exported_here():
    assert CHEAP.keys() == attacks.ATTACKS.keys()


@pytest.mark.parametrize(
    ("attack", "more"), [*((name, {}) for name in CHEAP), *((name, SEVERAL) for name in ("badnets", "blend"))]
)
def test_files_and_truth_are_what_the_attack_made(small: Path, tmp_path: Path, attack: str, more: dict):
    settings = CHEAP[attack] | more
    rate = 0.5 if attack in ("sig", "cl", "fc") else 0.1
    export(tmp_path / "out", dataset="small", attack=attack, rate=rate, settings=settings, report=lambda _: None)
    train, test = data.load("small")
    poisoned = attacks.poison(train, attack, rate=rate, **settings)
    triggered = poisoned.triggered(test)
    rows, pixels = read(tmp_path / "out")
    parts = {split: [row for row in rows if row["file"].split("/")[0] == split] for split in SPLITS}
    assert sum(map(len, parts.values())) == len(rows) and tuple(rows[0]) == COLUMNS
    expected = (poisoned.data.images, test.images, triggered.images)
    for split, images in zip(SPLITS, expected, strict=True):
        assert np.array_equal(np.stack([pixels[row["file"]] for row in parts[split]]), images)

    def column(split: str, name: str) -> list[int]:
        return [int(row[name]) for row in parts[split]]

    assert column("train", "label") == poisoned.data.labels.tolist()
    assert column("train", "true_label") == poisoned.true_labels.tolist()
    assert column("train", "is_poisoned") == poisoned.is_poisoned.astype(int).tolist() and poisoned.is_poisoned.any()
    assert column("train", "is_decoy") == poisoned.is_decoy.astype(int).tolist()
    assert column("test", "label") == test.labels.tolist()
    assert column("triggered_test", "label") == triggered.labels.tolist()
    assert column("triggered_test", "aim") == triggered.aims.tolist()
    partners = {row["partner"] for row in parts["triggered_test"]}
    assert partners == ({""} if triggered.partners is None else {str(k) for k in triggered.partners})
    assert {row["aim"] + row["partner"] for split in ("train", "test") for row in parts[split]} == {""}
    assert all(row["file"].split("/")[1] == test.classes[int(row["label"])] for row in rows)
    assert not np.array_equal(poisoned.data.images, train.images)  # the twin: something was poisoned


def test_what_is_exported_comes_back_with_the_same_pixels_and_labels(small: Path, tmp_path: Path, capsys):
    words = ["attacks", "export", "--dataset", "small", "--attack", "blend", "--rate", "0.2", "-p", "alpha", "0.3"]
    assert main([*words, "--seed", "3", "--target", "2", "--to", str(tmp_path / "out")]) == 0
    assert (
        "120 to train on, 24 of them poisoned, 60 clean to test on, and 54 with the trigger" in capsys.readouterr().out
    )
    assert main(["data", "import", str(tmp_path / "out"), "--name", "back"]) == 0
    train, test = data.load("small")
    poisoned = attacks.poison(train, "blend", rate=0.2, target=2, seed=3, alpha=0.3)
    files = prepared.files(small / "back")
    for back, own, names in zip(data.load("back"), (poisoned.data, test), files, strict=True):
        place = [int(Path(name).stem) for name in names]
        assert np.array_equal(back.images, own.images[place]) and np.array_equal(back.labels, own.labels[place])
        assert sorted(place) == list(range(len(own))) and back.classes == own.classes
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert (about["attack"], about["rate"], about["target"], about["seed"]) == ("blend", 0.2, 2, 3)
    assert about["settings"]["alpha"] == 0.3 and about["dataset_digest"] == data.digest("small")
    assert about["mirrors"] is True
    prepared.write(small / "signs", *(replace(one, mirrors=False) for one in data.load("small")), "made by a test")
    export(tmp_path / "signs", dataset="signs", report=lambda _: None)  # the twin
    assert json.loads((tmp_path / "signs" / "about.json").read_text())["mirrors"] is False


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("cat", "dog"), ["cat", "dog"]),
        (("dog", "cat"), ["0_dog", "1_cat"]),
        (("T-shirt/top", "Trouser"), ["0_T-shirt-top", "1_Trouser"]),
        (("Cat", "cat"), ["0_Cat", "1_cat"]),
        (("9", "10"), ["0_9", "1_10"]),
        (("08", "09", "10"), ["08", "09", "10"]),
        (("..", "con"), ["0_..", "1_con"]),
        (("test", "train"), ["0_test", "1_train"]),
        ((".hidden", "x"), ["0_.hidden", "1_x"]),
        (("x" * 300, "y"), ["0_" + "x" * 60, "1_y"]),
        (("猫", "犬"), ["0_-", "1_-"]),
    ],
)
def test_folders_keep_the_order_of_the_classes_on_every_system(roots: Path, tmp_path: Path, classes, expected):
    assert folders.class_folders(classes) == expected
    images = Images(toy(8, 1).images, np.arange(8) % len(classes), classes, "own")
    assert len(list(folders.write(tmp_path / "out", images))) == 8
    importing.import_images(tmp_path / "out", "back", report=lambda _: None)
    files, (train, _) = prepared.files(roots / "back"), data.load("back")
    assert train.classes == tuple(expected)
    assert train.labels.tolist() == [int(Path(name).stem) % len(classes) for name in files.train]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--attack", "badnet"], "'badnet' is no attack; did you mean 'badnets'?"),
        (["--rate", "1.5"], "--rate '1.5' is no share"),
        (["--rate", "0.001"], "--rate 0.001 poisons none of 120 training images"),
        (["--rate", "0.95"], "may be poisoned (not of the target class)"),
        (["--target", "10"], "target 10 is no class of small"),
        (["--dataset", "smal"], "'smal' is no dataset; did you mean 'small'?"),
        (["--train-size", "500"], "train_size 500"),
        (["-p", "varient", "grid"], "'varient' is no setting of badnets; did you mean 'variant'?"),
        (["-p", "device", "cpu"], "'device' is no setting of badnets"),
        (["-p", "cover", "0.95"], "cover 0.95 asks for"),
        (["--to", "../here"], "exists already; name a new folder"),
        (["--device", ""], "'' is no device"),
        (["--device", "tpu"], "'tpu' is no device"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(small, tmp_path, monkeypatch, capsys, given, message):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["attacks", "export", "--dataset", "small", "--to", "out", *given]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and printed.out == ""
    assert not list((tmp_path / "here").iterdir())
    assert main(["attacks", "export", "--dataset", "small", "--to", "out"]) == 0  # the twin


def test_a_full_disk_leaves_nothing(small: Path, tmp_path: Path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    here = tmp_path / "here"
    here.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        assert "no room left to write" in refused(export, here / "out", dataset="small")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[exporting.__name__], "write_json", full)
        assert "no room left to write" in refused(export, here / "out", dataset="small")
    assert not list(here.iterdir())
    export(here / "out", dataset="small")
    assert sorted(path.name for path in (here / "out").iterdir()) == sorted([*SPLITS, "truth.csv", "about.json"])
