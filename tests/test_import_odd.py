"""Odd inputs one by one: each is refused in one line with nothing left behind, or counted, named and left out."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from pets import pets, picture, save
from PIL import Image

from ablkit import files, paths
from ablkit.cli import main
from ablkit.data import importing, pictures, prepared
from ablkit.data.importing import reading


def bring(source: Path | str, *more: str) -> int:
    return main(["data", "import", str(source), "--name", "pets", *more])


def test_a_plain_folder_is_taken_without_a_word_on_oddities(roots: Path, tmp_path: Path, capsys):
    """The twin of all below."""
    assert bring(pets(tmp_path / "pets")) == 0
    told = capsys.readouterr().out
    assert "left out" not in told and "6 training images, 2 test images" in told
    assert [path.name for path in roots.iterdir()] == ["pets"]


# Refused


def renamed(source: Path, old: str, new: str | bytes) -> None:
    os.rename(os.fsencode(source / old), os.path.join(os.fsencode(source), os.fsencode(new)))


def alone(source: Path, name: str = "cat") -> None:
    for path in source.iterdir():
        if path.name != name:
            for file in path.iterdir():
                file.unlink()
            path.rmdir()


def wrapped(source: Path) -> None:
    names = sorted(path.name for path in source.iterdir())
    (source / "dataset").mkdir()
    for name in names:
        renamed(source, name, f"dataset/{name}")


def all_broken(source: Path) -> None:
    for path in (source / "cat").iterdir():
        path.write_bytes(b"no image")


def one_left(source: Path) -> None:
    for path in sorted((source / "cat").iterdir())[1:]:
        path.unlink()


def with_test(source: Path, *classes: str) -> None:
    wrapped(source)
    renamed(source, "dataset", "train")
    pets(source / "test", 2, classes, start=50)


def broken_test(source: Path) -> None:
    with_test(source, "cat")
    for path in (source / "test" / "cat").iterdir():
        path.write_bytes(b"no image")


def flat(source: Path) -> None:
    for path in sorted(source.rglob("*.png")):
        path.rename(source / f"{path.parent.name}-{path.name}")
    for name in ("cat", "dog"):
        (source / name).rmdir()


def moved_out(source: Path) -> None:
    for name in ("cat", "dog"):
        (source / name).rename(source.parent / name)
        (source / name).symlink_to(source.parent / name)


FOLDERS = {
    "nothing in it": (lambda source: [renamed(source, name, f"../{name}") for name in ("cat", "dog")], "no class fold"),
    "images without class folders": (flat, "images in no class folder (8): 'cat-000.png'"),
    "one class": (alone, "one class folder, 'cat'"),
    "a folder around the class folders": (wrapped, "If 'dataset' holds class folders itself, give that"),
    "classes that differ in case": (lambda source: pets(source, classes=("Cat",)), "'Cat' and 'cat' differ"),
    "classes that differ in normalisation": (
        lambda source: pets(source, classes=tuple(unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))),
        "differ in case or in how Unicode writes them",
    ),
    "a class with a line break": (lambda source: renamed(source, "cat", "c\nat"), "'c\\nat' is empty or has a line br"),
    "a class that is no UTF-8": (lambda source: renamed(source, "cat", b"c\xfft"), "'c\\udcfft' is empty or has"),
    "a class that turns the line": (lambda source: renamed(source, "cat", "c\u202etac"), "'c\\u202etac' is empty or"),
    "one picture alone": (
        lambda source: [save(path, picture(1)) for path in source.rglob("*.png")],
        "all 8 training images are one and the same picture, which leaves nothing to tell apart; see what",
    ),
    "16 bits of which 8 are used": (
        lambda source: [
            save(path, picture(at, (8, 8)).astype(np.uint16)) for at, path in enumerate(sorted(source.rglob("*.png")))
        ],
        "one and the same picture, which leaves nothing to tell apart; of 16 bits the upper 8 are taken",
    ),
    "a class of one image": (one_left, "class 'cat' has 1 image that can be read"),
    "a class of broken images": (all_broken, "class 'cat' has no training image that can be read"),
    "a test class that is not trained on": (lambda source: with_test(source, "cat", "cow"), "'cow' that the training"),
    "a test set of broken images": (broken_test, "no test image that can be read"),
    "several sizes": (
        lambda source: save(source / "cat" / "x.png", picture(9, (9, 8, 3))),
        "several sizes: 8 x 8 (8 images), 9 x 8 (1 images); give --size 32",
    ),
    "images too small to train on": (
        lambda source: [save(path, picture(at, (4, 4, 3))) for at, path in enumerate(source.rglob("*.png"))],
        "4 x 4 are too small",
    ),
    "links out of the folder alone": (moved_out, "links out of the folder (2): 'cat', 'dog'"),
}


@pytest.mark.parametrize("odd", FOLDERS)
def test_a_folder_that_can_be_no_data_set_is_one_line(roots: Path, tmp_path: Path, capsys, odd: str):
    change, message = FOLDERS[odd]
    change(pets(tmp_path / "pets"))
    check_refused(bring(tmp_path / "pets"), capsys, roots, message)


def check_refused(code: int, capsys: pytest.CaptureFixture, roots: Path, message: str) -> None:
    printed = capsys.readouterr()
    assert code == 2 and printed.out == ""
    assert message in printed.err and printed.err.startswith("ablkit: ") and printed.err.count("\n") == 1
    assert not roots.exists() or not list(roots.iterdir())


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


@pytest.mark.parametrize("name", ["cifar10-128", "imagenet-12", "imagenette-small", "my cats", "my-CIFAR10"])
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


def a_set(path: Path) -> Path:
    importing.import_images(pets(path / "source"), "there", root=path, report=lambda _: None)
    return path / "there"


def a_file(name: str, content: bytes = b"x"):
    def make(path: Path) -> Path:
        (path / name).write_bytes(content)
        return path / name

    return make


def a_pipe(path: Path) -> Path:
    os.mkfifo(path / "pipe.npz")
    return path / "pipe.npz"


def an_archive(**content: np.ndarray):
    def make(path: Path) -> Path:
        np.savez(path / "a.npz", **content)
        return path / "a.npz"

    return make


def of_entries(*entries: tuple[str, np.ndarray | bytes]):
    """An archive with whatever names, one of them twice or not."""

    def make(path: Path) -> Path:
        with zipfile.ZipFile(path / "a.npz", "w") as archive, warnings.catch_warnings(action="ignore"):
            for name, content in entries:
                if isinstance(content, bytes):
                    archive.writestr(name, content)
                else:
                    np.lib.format.write_array(file := io.BytesIO(), content)
                    archive.writestr(name, file.getvalue())
        return path / "a.npz"

    return make


IMAGES, LABELS = picture(1, (8, 8, 8, 3)), np.arange(8) % 2
PLAIN = (("images.npy", IMAGES), ("labels.npy", LABELS))
SOURCES = {
    "a path that does not exist": (lambda path: path / "nope", "does not exist; give a folder of class folders"),
    "a text file": (a_file("a.txt"), "a.txt is a file; give a folder"),
    "an archive of files": (a_file("pets.zip"), "unpack it and give its folder"),
    "a prepared set": (a_set, "is a prepared data set already; to use it set ABLKIT_DATA"),
    "a pipe": (a_pipe, "neither a folder nor a regular file"),
    "no labels": (a_file("images.npy"), "has no labels beside it"),
    "a damaged archive": (a_file("a.npz", b"PK\3\4"), "cannot be read: damaged, or no archive"),
    "objects": (an_archive(images=IMAGES, labels=np.array([{}] * 8)), "labels.npy in"),
    "other names": (an_archive(pixels=IMAGES, labels=LABELS), "holds labels but no images"),
    "names of nothing known": (an_archive(a=IMAGES), "holds 'a'; an archive of images holds train_images"),
    "fractions": (an_archive(images=IMAGES / 255, labels=LABELS), "numpy.uint8(numpy.round(255 * images))"),
    "one column a class": (an_archive(images=IMAGES, labels=np.eye(2, dtype=int)[LABELS]), "labels.argmax(axis=1)"),
    "seven channels": (an_archive(images=picture(1, (8, 9, 8, 7)), labels=LABELS), "the shape (8, 9, 8, 7)"),
    "too few labels": (an_archive(images=IMAGES, labels=LABELS[1:]), "8 images but 7 labels"),
    "labels below 0": (an_archive(images=IMAGES, labels=LABELS - 1), "label -1 is negative"),
    "two pairs for training": (
        an_archive(train_images=IMAGES, train_labels=LABELS, images=IMAGES, labels=LABELS),
        "holds train_images and images, either of which may be the training images; leave one of them out",
    ),
    "two pairs for testing": (
        an_archive(images=IMAGES, labels=LABELS, test_images=IMAGES, test_labels=LABELS, x_test=IMAGES, y_test=LABELS),
        "holds test_images and x_test, either of which may be the test images",
    ),
    "one name twice": (of_entries(*PLAIN, ("images.npy", 255 - IMAGES)), "holds 'images.npy' 2 times"),
    "classes in a table": (
        an_archive(images=IMAGES, labels=LABELS, classes=np.array([["cat"], ["dog"]])),
        "classes are of shape (2, 1); give one name a class",
    ),
    "classes that are no text": (
        an_archive(images=IMAGES, labels=LABELS, classes=np.array([b"cat", b"\xff"])),
        "class name b'\\xff' is no UTF-8",
    ),
    "classes that turn the line": (
        an_archive(images=IMAGES, labels=LABELS, classes=np.array(["cat", "\u2067dog"])),
        "class name '\\u2067dog' is empty or has a line break or control sign",
    ),
    "labels outside classes of bytes": (
        an_archive(images=IMAGES, labels=LABELS + 1, classes=np.array([b"cat", b"dog"])),
        "label 2 is outside the 2 classes",
    ),
    "16 bits of which 8 are used": (
        an_archive(images=IMAGES.astype(np.uint16), labels=LABELS),
        "images are uint16 with no value above 255, and of 16 bits the upper 8 are taken",
    ),
    "grey of 16 bits of which 8 are used": (
        an_archive(images=IMAGES[..., 0].astype(">u2") % 200, labels=LABELS),
        "no value above 199, and of 16 bits the upper 8 are taken, which would make all of them black; give images.ast",
    ),
    "one picture alone": (
        an_archive(x_train=IMAGES * 0, y_train=LABELS, x_test=IMAGES, y_test=LABELS),
        "all 8 training images are one and the same picture",
    ),
    "splits of two sizes": (
        an_archive(train_images=IMAGES, train_labels=LABELS, test_images=IMAGES[:, :6], test_labels=LABELS),
        "several sizes: 8 x 8 (8 images), 6 x 8 (8 images)",
    ),
    "an empty test set": (
        an_archive(x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:0], y_test=LABELS[:0]),
        "no test image that can be read",
    ),
    "no images": (an_archive(images=IMAGES[:0], labels=LABELS[:0]), "leaves nothing to tell apart"),
    "a test class that is not trained on": (
        an_archive(x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS + 1),
        "a class 2 that the training images lack",
    ),
}


@pytest.mark.parametrize("odd", SOURCES)
def test_what_is_no_source_is_one_line(roots: Path, tmp_path: Path, capsys, odd: str):
    make, message = SOURCES[odd]
    check_refused(bring(make(tmp_path)), capsys, roots, message)


BESIDE = {
    "a validation set": (
        an_archive(images=IMAGES, labels=LABELS, x_val=IMAGES, y_val=LABELS),
        "arrays that are not taken (2): 'x_val' (shape (8, 8, 8, 3)), 'y_val' (shape (8,))",
    ),
    "numbers as classes": (
        an_archive(images=IMAGES, labels=LABELS, classes=np.arange(2)),
        "arrays that are not taken (1): 'classes' (int64, and so no names)",
    ),
    "classes beside texts": (
        an_archive(images=IMAGES, labels=np.array(["cat", "dog"])[LABELS], classes=np.array([["dog"], ["cat"]])),
        "arrays that are not taken (1): 'classes' (the labels are texts, which name the classes)",
    ),
    "names under another name": (
        an_archive(images=IMAGES, labels=LABELS, class_names=np.array(["cat", "dog"])),
        "arrays that are not taken (1): 'class_names' (shape (2,); if they name the classes, call them classes)",
    ),
    "places beside images": (  # x and y may be anything
        an_archive(images=IMAGES, labels=LABELS, x=np.zeros(8), y=np.zeros(8)),
        "arrays that are not taken (2): 'x' (shape (8,)), 'y' (shape (8,))",
    ),
    "files that are no arrays": (
        of_entries(*PLAIN, ("readme.txt", b"x"), ("a\nb", b"x"), ("images", b"x"), ("more/", b"")),
        "what is no array by its ending .npy (4): 'readme.txt', 'a\\nb', 'images' and 1 more",
    ),
}


@pytest.mark.parametrize("odd", BESIDE)
def test_what_an_archive_holds_beside_is_counted_and_named(roots: Path, tmp_path: Path, capsys, odd: str):
    make, message = BESIDE[odd]
    assert bring(make(tmp_path)) == 0
    told = capsys.readouterr()
    assert f"left out: {message}\n" in told.out and told.out.count("left out") == 1 and told.err == ""
    assert main(["data", "import", str(of_entries(*PLAIN)(tmp_path)), "--name", "plain"]) == 0
    assert "left out" not in capsys.readouterr().out  # the twin


@pytest.mark.parametrize(("bits", "is_told"), [(10, True), (12, True), (14, True), (16, False)])
def test_a_range_that_ends_before_16_bits_is_told(roots: Path, tmp_path: Path, capsys, bits: int, is_told: bool):
    path = an_archive(images=IMAGES.astype(np.uint16) << (bits - 8), labels=LABELS)(tmp_path)
    assert bring(path) == 0
    told = capsys.readouterr().out
    assert ("of 65,535, so its images are dark" in told) == is_told
    assert "the arrays have 16 bits: the upper 8 were taken" in told


def test_labels_beside_an_archive_are_the_mistake_that_is_named(roots: Path, tmp_path: Path, capsys):
    path = of_entries(*PLAIN)(tmp_path)
    np.save(tmp_path / "y.npy", LABELS)
    code = main(["data", "import", str(path), str(tmp_path / "y.npy"), "--name", "pets"])
    check_refused(code, capsys, roots, f"a.npz brings its labels with it; leave {tmp_path / 'y.npy'} out")
    assert bring(path) == 0  # the twin


def test_an_archive_larger_than_the_memory_is_not_unpacked(roots: Path, tmp_path: Path, capsys, monkeypatch):
    path = an_archive(images=IMAGES, labels=LABELS)(tmp_path)
    with monkeypatch.context() as patch:
        listed = zipfile.ZipFile.infolist
        patch.setattr(zipfile.ZipFile, "infolist", lambda self: [enlarged(entry) for entry in listed(self)])
        check_refused(bring(path), capsys, roots, "GiB of memory are free; give the images and the labels as two")
    assert bring(path) == 0  # the twin


def enlarged(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    entry.file_size = 1 << 50
    return entry


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


# Counted, named and left out


def cut(name: str):
    def make(source: Path) -> None:
        path = save(source / "cat" / name, picture(70, (64, 64, 3)))
        path.write_bytes(path.read_bytes()[:2000])

    return make


def put(name: str | bytes, content: bytes = b"x"):
    def make(source: Path) -> None:
        path = Path(os.fsdecode(os.path.join(os.fsencode(source), os.fsencode(name))))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return make


def link(name: str, to: str):
    def make(source: Path) -> None:
        save(source.parent / "outside" / "secret.png", picture(71))
        (source / name).symlink_to(to)

    return make


def bomb(source: Path) -> None:
    Image.new("1", (12_000, 12_000)).save(source / "cat" / "bomb.png")


def of_mode(mode: str):
    return lambda source: Image.new(mode, (8, 8)).save(source / "cat" / "x.tiff")


UNREAD = "files that cannot be read as images (1): "
LEFT = {
    "no bytes": (put("cat/x.png", b""), UNREAD + "'cat/x.png' (empty)"),
    "a text with the ending of an image": (put("cat/x.png", b"hello"), UNREAD + "'cat/x.png' (no image)"),
    "half a PNG": (cut("x.png"), UNREAD + "'cat/x.png' ("),
    "half a JPEG": (cut("x.jpg"), UNREAD + "'cat/x.jpg' ("),
    "a decompression bomb": (bomb, UNREAD + "'cat/bomb.png' (more than 80,000,000 pixels)"),
    "a page for a printer": (put("cat/x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"), UNREAD + "'cat/x.png' (no image)"),
    "fractions": (of_mode("F"), UNREAD + "'cat/x.tiff' (its pixels are fractions, whose range is unknown)"),
    "32 bits": (of_mode("I"), UNREAD + "'cat/x.tiff' (its pixels are of 32 bits, whose range is unknown)"),
    "a broken name": (put("cat/a\nb.png"), UNREAD + "'cat/a\\nb.png' (no image)"),
    "a name that is no UTF-8": (put(b"cat/\xff.png"), UNREAD + "'cat/\\udcff.png' (no image)"),
    "a hidden file": (put("cat/.x.png"), "hidden or of the system (1): 'cat/.x.png'"),
    "what systems leave": (put("cat/Thumbs.db"), "hidden or of the system (1): 'cat/Thumbs.db'"),
    "what macOS packs": (put("__MACOSX/cat/._0.png"), "hidden or of the system (1): '__MACOSX'"),
    "another ending": (put("cat/notes.txt"), "files that are no images by their ending (1): 'cat/notes.txt'"),
    "an image in no class": (put("x.png"), "images in no class folder (1): 'x.png'"),
    "a table beside the classes": (put("labels.csv"), "files that are no images (1): 'labels.csv'"),
    "an empty class": (lambda source: (source / "cow").mkdir(), "class folders without images (1): 'cow'"),
    "a link to a file outside": (
        link("cat/x.png", "../../outside/secret.png"),
        "links out of the folder (1): 'cat/x.png'",
    ),
    "a link to a folder outside": (link("cat/x", "../../outside"), "links out of the folder (1): 'cat/x'"),
    "a class that is a link outside": (link("cow", "../outside"), "links out of the folder (1): 'cow'"),
    "a link to nothing": (link("cat/x.png", "nowhere"), "links to nothing (1): 'cat/x.png'"),
    "a link to itself": (link("cat/x.png", "x.png"), "links to nothing (1): 'cat/x.png'"),
    "a link in a circle": (link("cat/x", ".."), "links to a folder that they lie in (1): 'cat/x'"),
    "a pipe": (lambda source: os.mkfifo(source / "cat" / "x.png"), "no regular files (1): 'cat/x.png'"),
}


@pytest.mark.parametrize("odd", LEFT)
def test_an_oddity_is_counted_named_and_left_out(roots: Path, tmp_path: Path, capsys, odd: str):
    change, message = LEFT[odd]
    change(pets(tmp_path / "pets"))
    assert bring(tmp_path / "pets") == 0
    told = capsys.readouterr()
    assert f"left out: {message}" in told.out and told.out.count("left out") == 1 and told.err == ""
    assert "6 training images, 2 test images" in told.out
    assert not any(b"secret" in path.read_bytes() for path in roots.rglob("*.json"))


def test_a_file_and_a_folder_that_may_not_be_read_are_named(roots: Path, tmp_path: Path, capsys, monkeypatch):
    source = pets(tmp_path / "pets")
    save(source / "dog" / "more" / "x.png", picture(72))
    denied = PermissionError(errno.EACCES, "Permission denied")
    status, scan = os.stat, os.scandir

    def refusing(real, name):
        def call(path, *arguments, **options):
            if str(path).endswith(name):
                raise denied
            return real(path, *arguments, **options)

        return call

    with monkeypatch.context() as patch:  # the tests may run as root, who reads everything
        patch.setattr(pictures.os, "stat", refusing(status, "cat/000.png"))
        patch.setattr(importing.tree.os, "scandir", refusing(scan, "dog/more"))
        assert bring(source, "--test-share", "0.3") == 0
    told = capsys.readouterr().out
    assert "left out: files that cannot be read as images (1): 'cat/000.png' (Permission denied)" in told
    assert "left out: folders that cannot be opened (1): 'dog/more' (Permission denied)" in told


TAKEN = {
    "a folder in a class folder": lambda source: save(source / "cat" / "a" / "b" / "x.png", picture(7)),
    "a link inside": lambda source: (source / "cat" / "x.png").symlink_to("../dog/000.png"),
    "a link to a folder inside": lambda source: (
        save(source / "cat" / ".more" / "x.png", picture(7)),
        (source / "cat" / "x").symlink_to(".more"),
    ),
    "a name with a line break": lambda source: save(source / "cat" / "a\nb.png", picture(7)),
    "a long name": lambda source: save(source / "cat" / f"{'x' * 240}.png", picture(7)),
    "a deep folder": lambda source: save(source.joinpath("cat", *["x" * 40] * 40, "x.png"), picture(7)),
    "damaged facts": lambda source: save(source / "cat" / "x.png", picture(7), exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("odd", TAKEN)
def test_an_oddity_that_does_no_harm_is_taken(roots: Path, tmp_path: Path, capsys, odd: str):
    TAKEN[odd](pets(tmp_path / "pets"))
    assert bring(tmp_path / "pets") == 0
    assert "7 training images, 2 test images" in capsys.readouterr().out


def test_links_to_folders_that_link_to_each_other_come_to_an_end(roots: Path, tmp_path: Path, capsys):
    source = pets(tmp_path / "pets")
    inner = [source / "cat" / f"f{at}" for at in range(8)]
    for folder in inner:
        folder.mkdir()
    for folder in inner:
        for other in inner:
            if other != folder:
                (folder / other.name).symlink_to(other)
    assert bring(source) == 0
    assert "6 training images, 2 test images" in capsys.readouterr().out
