"""Folders for training and for testing never become classes in silence, however they are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pets import CLASSES, bring, check_refused, pets, picture, save

from ablkit.cli import main
from ablkit.data import checks, folders, prepared

SPLITS = (
    *("train", "Training", "training_set", "TrainSet", "Train_images", "images-train", "train2017", "data train"),
    *("test", "Testing set", "test1", "val", "valid", "VALIDATION", "dev", "eval_data", "hold-out", "dataset_test"),
)
NAMES = ("trains", "testament", "invalid", "cat", "set", "images", "device", "0_train", "contest", "trainer", "2017")


def with_classes(*splits: str):
    def make(source: Path) -> None:
        for at, split in enumerate(splits):
            pets(source / split, start=100 * at)

    return make


def flat(*splits: str):
    return lambda source: pets(source, classes=splits)


RENAME = "so they are no classes; rename {!r} to train and {!r} to test"
REFUSED = {
    "Kaggle's": (with_classes("training_set", "test_set"), RENAME.format("training_set", "test_set")),
    "with images in the name": (
        with_classes("Train_images", "Test_images"),
        RENAME.format("Train_images", "Test_images"),
    ),
    "one of them well named": (with_classes("train", "dev"), RENAME.format("train", "dev")),
    "with something beside": (
        lambda source: [with_classes("train_set", "val_set")(source), pets(source, classes=("samples",), start=900)],
        RENAME.format("train_set", "val_set"),
    ),
    "no training": (with_classes("val", "test"), "its folders 'test', 'val' have the names of splits, not of classes"),
    "images alone": (flat("train", "test"), "such as pets/train/cat/1.png and test/cat/2.png beside it"),
    "images alone, called val": (flat("train", "val"), "have the names of splits, not of classes; put each image into"),
    "splits in a split": (
        lambda source: [flat("train", "dev")(source / "train"), flat("train", "dev")(source / "test")],
        "pets/train: its folders 'dev', 'train' have the names of splits",
    ),
}


@pytest.mark.parametrize("odd", REFUSED)
def test_splits_are_refused_as_classes(roots: Path, tmp_path: Path, capsys, odd: str):
    make, message = REFUSED[odd]
    make(tmp_path / "pets")
    check_refused(bring(tmp_path / "pets"), capsys, roots, message)


def test_renamed_as_the_message_says_they_are_splits(roots: Path, tmp_path: Path):
    source = tmp_path / "pets"
    with_classes("training_set", "test_set")(source)
    assert bring(source) == 2
    (source / "training_set").rename(source / "train")
    (source / "test_set").rename(source / "test")
    assert bring(source) == 0
    train, test = prepared.read(roots / "pets")
    assert train.classes == CLASSES and len(train) == len(test) == 8


@pytest.mark.parametrize("classes", [("test", "bus"), ("dev", "train", "tram"), ("valid", "invalid")])
def test_a_class_with_the_name_of_a_split_is_taken_beside_others(roots: Path, tmp_path: Path, classes):
    """The twin of those that are refused."""
    assert bring(pets(tmp_path / "pets", classes=classes)) == 0
    assert prepared.read(roots / "pets")[0].classes == tuple(sorted(classes))


def test_classes_with_the_names_of_splits_alone_are_taken_where_they_are_chosen(roots: Path, tmp_path: Path, capsys):
    source = pets(tmp_path / "pets", classes=("train", "test"))
    check_refused(bring(source), capsys, roots, "If they are classes, choose them: `ablkit data import` with --classes")
    assert bring(source, "--classes", "train,test") == 0
    assert prepared.read(roots / "pets")[0].classes == ("train", "test")


def test_folders_of_two_classes_that_hold_other_folders_are_taken(roots: Path, tmp_path: Path):
    for name in ("train", "test", "bus"):
        for at, inner in enumerate((name, "more")):
            save(tmp_path / "pets" / name / inner / f"{at}.png", picture(len(name) * 10 + at))
        save(tmp_path / "pets" / name / "x.png", picture(len(name) * 10 + 7))
    (tmp_path / "pets" / "train").rename(tmp_path / "pets" / "trainset")
    assert main(["data", "import", str(tmp_path / "pets"), "--name", "pets"]) == 0
    assert prepared.read(roots / "pets")[0].classes == ("bus", "test", "trainset")


def test_names_of_splits_are_told_from_others():
    assert all(map(checks.split_of, SPLITS)) and not any(map(checks.split_of, NAMES))
    assert [checks.split_of(name) for name in ("Train_images", "val2017")] == ["train", "test"]


def test_what_is_written_as_class_folders_can_be_imported_again():
    assert folders.class_folders(("test_set", "training_set")) == ["0_test_set", "1_training_set"]
    assert folders.class_folders(("cat", "dog")) == ["cat", "dog"]  # the twin


def test_splits_in_class_folders_are_told(roots: Path, tmp_path: Path, capsys):
    for at, name in enumerate(CLASSES):
        pets(tmp_path / "pets" / name, 3, ("train", "test"), start=100 * at)
    assert bring(tmp_path / "pets") == 0
    told = capsys.readouterr().out
    assert "2 class folders hold folders for training and for testing, such as 'cat', whose images were put" in told
    for name in CLASSES:
        (tmp_path / "pets" / name / "test").rename(tmp_path / "pets" / name / "indoors")
    assert main(["data", "import", str(tmp_path / "pets"), "--name", "twin"]) == 0
    assert "for testing" not in capsys.readouterr().out
