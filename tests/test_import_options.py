"""Options, values and places of an import that cannot be: each is refused in one line with nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from pets import bring, check_refused, pets

from ablkit import files, paths
from ablkit.cli import main
from ablkit.data import importing, prepared
from ablkit.data.importing import reading

OPTIONS = {
    ("--size", "1e9"): "must be a whole number from 5 to 1024",
    ("--size", "0"): "must be a whole number from 5 to 1024",
    ("--size", "4"): "must be a whole number from 5 to 1024",
    ("--size", "9000"): "must be a whole number from 5 to 1024",
    ("--size", "32x32"): "--size '32x32' must be a whole number",
    ("--test-share", "0"): "--test-share 0.0 must be between 0 and 1",
    ("--test-share", "1"): "--test-share '1' is no share",
    ("--test-share", "nan"): "--test-share 'nan' is no share",
    ("--seed", "-1"): "--seed '-1' must be a whole number",
    ("--name", "cifar10"): "--name cifar10 is the name of a data set of the kit",
    ("--name", "../x"): "--name '../x' can be no data set's name",
    ("--name", "a\nb"): "--name 'a\\nb' can be no data set's name",
    ("--name", ""): "--name '' can be no data set's name",
    ("--name", "pets "): "--name 'pets ' can be no data set's name",
    ("--name", " pets"): "--name ' pets' can be no data set's name",
    ("--name", "p\u202estep"): "--name 'p\\u202estep' can be no data set's name",
    ("--name", "\u72ac" * 90): "takes 270 bytes, and a folder's name may take 200; give a short word, such as pets",
    ("--name", "CIFAR10"): "--name CIFAR10 is the name of a data set of the kit, cifar10, where case is ignored",
    ("--name", "imagenette-128"): "--name imagenette-128 is the name of a data set of the kit, imagenette, in another",
    ("--name", "Imagenette-7"): "give another one, such as my-Imagenette-7",
    ("--classes", "cat,dgo"): "'dgo' is no class folder of",
    ("--classes", "cat,dog,cat"): "--classes names 'cat' 2 times; name each class once",
    ("--classes", "cat"): "--classes names 'cat' alone",
    ("--classes", "cat,"): "--classes has an empty name",
    ("--classes", ""): "--classes has an empty name",
}


def test_a_chosen_class_without_images_and_a_choice_of_a_file_are_one_line(roots: Path, tmp_path: Path, capsys):
    (pets(tmp_path / "pets") / "cow").mkdir()
    check_refused(
        bring(tmp_path / "pets", "--classes", "cat,cow"), capsys, roots, "the class folder 'cow' has no images"
    )
    np.savez(tmp_path / "x.npz", images=np.zeros((9, 8, 8, 3), np.uint8), labels=np.arange(9) % 2)
    check_refused(
        bring(tmp_path / "x.npz", "--classes", "0,1"), capsys, roots, "--classes chooses among the class folders"
    )
    assert bring(tmp_path / "pets", "--classes", "cat,dog") == 0  # the twin


@pytest.mark.parametrize("given", OPTIONS)
def test_an_option_that_cannot_be_is_one_line(roots: Path, tmp_path: Path, capsys, given):
    code = bring(pets(tmp_path / "pets"), *given)
    check_refused(code, capsys, roots, OPTIONS[given])


@pytest.mark.parametrize(
    "name", ["cifar10-128", "imagenet-12", "imagenette-small", "my cats", "my-CIFAR10", "\u72ac" * 66]
)
def test_a_name_that_no_set_of_the_kit_can_have_is_taken(roots: Path, tmp_path: Path, name: str):
    """The twin of those above."""
    assert main(["data", "import", str(pets(tmp_path / "pets")), "--name", name]) == 0
    assert prepared.read(roots / name)[0].name == name


def test_a_name_that_is_taken_is_left_alone(roots: Path, tmp_path: Path, capsys):
    assert bring(pets(tmp_path / "pets")) == 0
    before = prepared.digest(roots / "pets")
    capsys.readouterr()
    assert bring(pets(tmp_path / "pets", 6)) == 2
    assert "pets exists already; give another --name" in capsys.readouterr().err
    assert prepared.digest(roots / "pets") == before


WRONG = {
    "a size as a text": ({"size": "32"}, "--size '32' must be a whole number from 5 to 1024"),
    "a size with a point": ({"size": 8.0}, "--size 8.0 must be a whole number from 5 to 1024"),
    "a size that is true": ({"size": True}, "--size True must be a whole number"),
    "a share as a text": ({"test_share": "0.2"}, "--test-share '0.2' must be a number"),
    "a share that is not a number": ({"test_share": float("nan")}, "--test-share nan must be between 0 and 1"),
    "a share without an end": ({"test_share": 10**400}, "must be a number"),
    "a seed as a text": ({"seed": "0"}, "--seed '0' must be a whole number of at least 0"),
    "a seed with a point": ({"seed": 1.5}, "--seed 1.5 must be a whole number"),
    "a seed below 0": ({"seed": -1}, "--seed -1 must be a whole number of at least 0"),
    "classes as a text": ({"classes": "cat,dog"}, "--classes 'cat,dog' is no list of names"),
    "classes as numbers": ({"classes": [0, 1]}, "--classes [0, 1] is no list of names"),
    "no classes": ({"classes": None}, "--classes None is no list of names"),
    "labels that are no path": ({"labels": 5}, "labels 5 is no path"),
    "a root that is no path": ({"root": 5}, "root 5 is no path"),
    "a source that is no path": ({"source": 5}, "source 5 is no path"),
    "a name that is no text": ({"name": 5}, "--name 5 can be no data set's name"),
    "a report that is no function": ({"report": None}, "report None takes no lines"),
}


@pytest.mark.parametrize("odd", WRONG)
def test_a_value_of_the_wrong_kind_is_one_line_for_the_library_too(as_users_run_it, roots: Path, tmp_path: Path, odd):
    options, message = WRONG[odd]
    right = {"source": pets(tmp_path / "pets"), "name": "pets", "report": lambda _: None}
    assert message in refused(lambda: importing.import_images(**right | options))
    assert not roots.exists()


def test_numbers_and_names_of_numpy_are_as_good_as_those_of_python(as_users_run_it, roots: Path, tmp_path: Path):
    """The twin of those above."""
    own = {"size": 8, "test_share": 0.5, "seed": 3, "classes": ["dog", "cat"]}
    of_numpy = {
        "size": np.int64(8),
        "test_share": np.float64(0.5),
        "seed": np.uint8(3),
        "classes": np.array(["dog", "cat"]),
    }
    for name, options in (("own", own), ("numpy", of_numpy)):
        importing.import_images(str(pets(tmp_path / "pets")), name, report=lambda _: None, **options)
    assert prepared.digest(roots / "own") == prepared.digest(roots / "numpy")
    assert prepared.read_json(roots / "own" / "origin.json") == prepared.read_json(roots / "numpy" / "origin.json")


# Places


def test_a_place_that_cannot_be_written_or_is_full_is_one_line(roots: Path, tmp_path: Path, capsys, monkeypatch):
    source = pets(tmp_path / "pets")
    with monkeypatch.context() as patch:  # the tests may run as root, who writes everywhere
        patch.setattr(paths.os, "access", lambda *_: False)
        check_refused(bring(source), capsys, roots, "set ABLKIT_DATA to a folder you may write")
    with monkeypatch.context() as patch:
        patch.setattr(reading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
        check_refused(bring(source, "--size", "32"), capsys, roots, "give a smaller --size")
        need = f"8 images of 64 x 64 need 0.3 MiB on the disk of {roots}, which has 0.2 MiB free"
        patch.setattr(reading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 200_000})())
        check_refused(bring(source, "--size", "64"), capsys, roots, need)
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", lambda dir: open("/dev/full", "w+b", buffering=0))  # noqa: SIM115
        check_refused(bring(source), capsys, roots, "no room left to write")
    with monkeypatch.context() as patch:
        denied = PermissionError(errno.EACCES, "Permission denied")
        patch.setattr(importing.tree.os, "scandir", lambda _: (_ for _ in ()).throw(denied))
        check_refused(bring(source), capsys, roots, "cannot be read: Permission denied")
    assert bring(source) == 0  # the twin


def test_a_source_that_may_not_be_read_is_not_said_to_be_missing(roots: Path, tmp_path: Path, capsys, monkeypatch):
    locked, status = tmp_path / "locked", os.stat
    np.save(tmp_path / "images.npy", np.zeros((8, 8, 8, 3), np.uint8))

    def stat(path, *arguments, **options):
        if str(path).startswith(str(locked)):
            raise PermissionError(errno.EACCES, "Permission denied")
        return status(path, *arguments, **options)

    def check(message: str, *source: str) -> None:
        code = main(["data", "import", *map(str, source), "--name", "pets"])
        check_refused(code, capsys, roots, f"{source[-1]} {message}")

    sources = ([locked / "pets"], [locked / "a.npz"], [tmp_path / "images.npy", locked / "b.npy"])
    with monkeypatch.context() as patch:  # the tests may run as root, who reads everything
        patch.setattr(os, "stat", stat)
        for source in sources:
            check("cannot be read: Permission denied; allow yourself to read it", *source)
    for source in sources:  # the twin
        check("does not exist" if len(source) == 1 else "is no file", *source)


def test_the_root_of_all_files_is_no_folder_of_classes(roots: Path, tmp_path: Path, capsys):
    (tmp_path / "top").symlink_to("/")
    for source in ("/", tmp_path / "top"):
        check_refused(bring(source), capsys, roots, f"{source} is the root of all files; give the folder that holds")


def test_a_link_that_cannot_be_followed_is_counted(roots: Path, tmp_path: Path, capsys, monkeypatch):
    source, real = pets(tmp_path / "pets"), os.path.realpath
    (source / "cat" / "x.png").symlink_to(source / "cat" / "000.png")

    def refusing(path, **options):  # as /proc does for what belongs to others, or has ended
        if str(path).endswith("x.png"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(importing.tree.os.path, "realpath", refusing)
        assert bring(source) == 0
    assert "left out: links that cannot be followed (1): 'cat/x.png'" in capsys.readouterr().out
    assert main(["data", "import", str(source), "--name", "twin"]) == 0
    assert "left out" not in capsys.readouterr().out


def test_what_a_killed_import_left_goes_at_the_next_one_of_any_name(roots: Path, tmp_path: Path):
    pets(tmp_path / "pets")
    code = "import os, sys, numpy; from ablkit.cli import main; from ablkit.data import prepared; "
    code += "prepared.write_json = lambda *_: os.kill(os.getpid(), 9); main(sys.argv[1:])"
    killed = ["data", "import", str(tmp_path / "pets"), "--name", "killed"]
    done = subprocess.run([sys.executable, "-c", code, *killed], env={**os.environ}, check=False)
    (left,) = roots.iterdir()
    assert done.returncode == -9 and re.fullmatch(r"\.killed\..*\d\.tmp", left.name) and list(left.glob("*.npy"))
    alive = left.with_name(f".alive.{files.host()}.{os.getppid()}.tmp")
    own = left.with_name(f".own.{files.host()}.{os.getpid()}.tmp")  # in another thread
    others = left.with_name(left.name.replace(files.host(), "elsewhere"))
    for folder in (alive, own, others):
        folder.mkdir()
    assert bring(tmp_path / "pets") == 0
    assert {*roots.iterdir()} == {roots / "pets", alive, own, others}
