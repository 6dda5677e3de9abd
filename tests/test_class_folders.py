"""What `class_folders.read` skips and refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from pets import pets, picture, save

from ablkit.data import class_folders


def read(folder: Path, **options):
    return class_folders.read(folder, "pets", **{"size": 8} | options)


def test_what_is_hidden_changes_nothing(tmp_path: Path):
    plain = read(pets(tmp_path / "pets"))
    save(tmp_path / "pets" / ".ipynb_checkpoints" / "a.png", picture(1))
    (tmp_path / "pets" / "__MACOSX").mkdir()
    (tmp_path / "pets" / "cat" / "._000.png").write_bytes(b"of macOS")
    again = read(tmp_path / "pets")
    assert again.classes == plain.classes == ("cat", "dog") and np.array_equal(again.images, plain.images)
    save(tmp_path / "pets" / "elk" / "a.png", picture(1))
    assert read(tmp_path / "pets").classes == ("cat", "dog", "elk")  # the twin


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 5}, "classes 5 are no list of names"),
        ({"classes": None}, "classes None are no list of names"),
        ({"size": 4}, "size 4 must be a whole number from 5 to 1024"),
        ({"size": 1025}, "size 1025 must be a whole number from 5 to 1024"),
    ],
)
def test_what_cannot_be_is_one_line(as_users_run_it, tmp_path: Path, options, message):
    pets(tmp_path / "pets", 1)
    assert message in refused(lambda: read(tmp_path / "pets", **options))
    for right in ({"classes": ("dog", "cat")}, {"size": 5}, {"size": 1024}):  # the twin
        assert len(read(tmp_path / "pets", **right)) == 2


def test_splits_are_no_classes_unless_they_are_chosen(tmp_path: Path):
    for split in ("train", "val"):
        pets(tmp_path / "pets" / split, 1)
        save(tmp_path / "pets" / split / "x.png", picture(1))
    assert "holds 'train', 'val', which are splits and no classes" in refused(lambda: read(tmp_path / "pets"))
    assert read(tmp_path / "pets" / "train").classes == ("cat", "dog")
    assert read(tmp_path / "pets", classes=("train", "val")).classes == ("train", "val")


def test_numbered_classes_are_in_the_order_of_an_import(tmp_path: Path):
    assert read(pets(tmp_path / "pets", 1, ("10", "9", "100"))).classes == ("9", "10", "100")


def test_a_locked_folder_is_said_to_be_locked(tmp_path: Path, monkeypatch):
    folder, status = pets(tmp_path / "pets"), os.stat

    def stat(path, *arguments, **options):
        if str(path) == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied")
        return status(path, *arguments, **options)

    with monkeypatch.context() as patch:  # the tests may run as root, who reads everything
        patch.setattr(os, "stat", stat)
        assert "pets cannot be read: Permission denied; allow yourself to read it" in refused(lambda: read(folder))
    assert len(read(folder)) == 8  # the twin
