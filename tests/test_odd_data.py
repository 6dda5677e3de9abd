"""Data as people really bring them: each oddity gets one line with what, which and the way out, and nothing hangs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from ablkit import data, files
from ablkit.cli import main
from ablkit.data import Images, leftovers, prepared

CLASSES = tuple("abcd")


def some(number: int = 40, shape: tuple = (8, 8, 3), classes: tuple = CLASSES, labels=None) -> Images:
    pixels = np.random.default_rng(number).integers(0, 256, (number, *shape), dtype=np.uint8)
    return Images(pixels, np.arange(number) % len(CLASSES) if labels is None else np.array(labels), classes, "odd")


# Shapes


@pytest.mark.parametrize(
    ("shape", "way_out"),
    [
        ((28, 28, 1), "numpy.repeat(images, 3, axis=3)"),
        ((28, 28, 2), "numpy.repeat(images[..., :1], 3, axis=3)"),
        ((32, 32, 4), "images[..., :3]"),
        ((3, 32, 32), "look like (n, c, h, w): give images.transpose(0, 2, 3, 1)"),
        ((1, 28, 28), "look like (n, c, h, w)"),
        ((32, 32, 7), "7 channels"),
        ((0, 32, 3), "no pixels"),
    ],
)
def test_images_that_are_not_rgb_are_refused_with_what_makes_them_so(as_users_run_it, shape, way_out):
    assert way_out in refused(some, 4, shape)
    if "numpy" in way_out or way_out.startswith("images["):
        images = np.zeros((4, *shape), np.uint8)
        assert Images(eval(way_out, {"numpy": np, "images": images}), np.zeros(4, np.int64), CLASSES, "odd")
    assert some(4, (32, 32, 3)).images.shape == (4, 32, 32, 3)


def test_the_two_splits_have_one_shape_and_neither_is_empty(roots: Path):
    assert "8 x 8 x 3 and test images 6 x 8 x 3" in refused(
        prepared.write, roots / "odd", some(), some(8, (6, 8, 3)), ""
    )
    assert "no test images" in refused(prepared.write, roots / "odd", some(), some(0), "")
    assert "no training images" in refused(prepared.write, roots / "odd", some(0), some(), "")
    assert not roots.exists()
    prepared.write(roots / "odd", some(), some(8), "")
    by_hand(roots / "odd", "test", some(8, (6, 8, 3)))
    assert "8 x 8 x 3 and test images 6 x 8 x 3" in refused(data.load, "odd")
    by_hand(roots / "odd", "test", some(0))
    assert "no test images" in refused(data.load, "odd")
    by_hand(roots / "odd", "test", some(8))
    assert len(data.load("odd")[1]) == 8


def by_hand(folder: Path, split: str, images: Images) -> None:
    """Put images into a prepared folder as somebody would who has read its layout."""
    meta = prepared.read_meta(folder) | {"shapes": {}}
    for name, array in (("images", images.images), ("labels", images.labels)):
        np.save(folder / f"{split}_{name}.npy", array)
        meta["sha256"][f"{split}_{name}"] = prepared._sha256(array)
    prepared.write_json(folder / "meta.json", meta)


@pytest.mark.parametrize(
    "classes",
    [
        "abcd",
        (1, 2, 3, 4),
        ("a", "b", "c", "b"),
        ("a", "b\nc", "d", "e"),
        ("a", "b", "c", ""),
        ("a", "b", "c", "\ud800"),
    ],
)
def test_names_of_classes_are_different_texts_of_one_line(as_users_run_it, roots: Path, classes):
    assert "class" in refused(some, classes=classes)
    prepared.write(roots / "odd", some(), some(8), "")
    prepared.write_json(roots / "odd" / "meta.json", prepared.read_meta(roots / "odd") | {"classes": classes})
    assert "meta.json" in refused(data.load, "odd")
    joined = "\u0645\u06cc\u200c\u0631\u0648\u062f"  # two words that Persian writes as one
    assert some(classes=("a", "<b>$", "ב" * 300, joined)).classes[3] == joined  # odd, but names


@pytest.mark.parametrize("name", ["gpj.\u202etac", "\u2066d\u2069", "d\u200f"])
def test_names_that_turn_what_is_printed_are_not_stored(roots: Path, name: str):
    turned = some(classes=("a", "b", "c", name)), some(8, classes=("a", "b", "c", name))
    assert f"class name {name!r} is empty or has a" in refused(prepared.write, roots / "odd", *turned, "")
    assert not roots.exists()
    prepared.write(roots / "odd", some(), some(8), "")  # the twin
    prepared.write_json(
        roots / "odd" / "meta.json", prepared.read_meta(roots / "odd") | {"classes": ["a", "b", "c", name]}
    )
    assert f"meta.json: class name {name!r}" in refused(data.load, "odd")


def test_the_names_of_the_classes_and_the_shapes_are_part_of_the_digest(roots: Path):
    prepared.write(roots / "odd", some(), some(8), "")
    first, meta = data.digest("odd"), prepared.read_meta(roots / "odd")
    prepared.write_json(roots / "odd" / "meta.json", meta | {"classes": [*CLASSES, "e"]})
    assert data.digest("odd") != first
    prepared.write_json(roots / "odd" / "meta.json", {k: v for k, v in meta.items() if k not in ("shapes", "source")})
    assert data.digest("odd") == first  # as it was written before shapes were kept
    flat = Images(some().images.reshape(40, 4, 16, 3), some().labels, CLASSES, "odd")
    other = Images(some(8).images.reshape(8, 4, 16, 3), some(8).labels, CLASSES, "odd")
    prepared.write(roots / "flat", flat, other, "")
    assert data.digest("flat") != first
    assert "holds other images or other names" in refused(prepared.write, roots / "odd", flat, other, "")
    renamed = (some(classes=tuple("abce")), some(8, classes=tuple("abce")))
    assert "holds other images or other names" in refused(prepared.write, roots / "odd", *renamed, "")


# Files


def header(shape: str, dtype: str = "|u1", order: str = "False") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(500)


@pytest.mark.parametrize(
    "content",
    [
        header("(-1, 8, 8, 3)"),
        header("(-4, -8, 8, 3)"),
        header("(9223372036854775807, 8, 8, 3)"),
        header("(4611686018427387904, 4, 1, 3)"),  # its size wraps round to 0
        header("(1" + "0" * 60 + ", 8, 8, 3)"),
        header("(True, 8, 8, 3)"),
        header("(" + "(" * 2000 + ")" * 2000 + ")"),
        header("(40, 8, 8, 3)", dtype="O"),
        header("(40, 8, 8, 3)", dtype="]["),
        header("()"),
        header("(40, 8, 8, 3)", order="7"),
        b"\x93NUMPY\x09\x09",
        b"\x80\x04.",
        b"PK\x03\x04 no archive",
    ],
)
def test_no_header_of_an_array_gets_further_than_one_line(roots: Path, content: bytes):
    prepared.write(roots / "odd", some(), some(8), "")
    (roots / "odd" / "train_images.npy").write_bytes(content)
    said = refused(data.load, "odd")
    assert "train_images.npy" in said and prepared.BY_WRITE in said


def test_an_archive_and_numbers_of_another_order_are_named(roots: Path):
    prepared.write(roots / "odd", some(), some(8), "")
    labels = roots / "odd" / "train_labels.npy"
    np.save(labels, some().labels.astype(">i8"))
    assert "holds >i8" in refused(data.load, "odd")
    with open(labels, "wb") as file:
        np.savez(file, labels=some().labels)
    assert "no plain array" in refused(data.load, "odd")
    np.save(labels, np.asfortranarray(some().labels))
    np.save(roots / "odd" / "train_images.npy", np.asfortranarray(some().images))
    assert np.array_equal(data.load("odd")[0].images, some().images)  # the same numbers in another order


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def in_a_circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("name", ["meta.json", "train_images.npy", "test_labels.npy"])
@pytest.mark.parametrize(
    ("put", "what"),
    [
        (pipe, "is a special file"),
        (Path.mkdir, "is a folder"),
        (dangling, "is a link to a file that is missing"),
        (in_a_circle, "cannot be read"),
    ],
)
def test_what_is_no_file_is_named_and_not_waited_for(roots: Path, name: str, put, what: str):
    prepared.write(roots / "odd", some(), some(8), "")
    (roots / "odd" / name).unlink()
    put(roots / "odd" / name)
    said = refused(data.load, "odd")
    assert name in said and what in said


@pytest.mark.parametrize("name", ["meta.json", "train_images.npy"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(roots: Path, monkeypatch, name: str):
    prepared.write(roots / "odd", some(), some(8), "")

    def denied(path, *arguments, **options):
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open(path, *arguments, **options)

    monkeypatch.setattr(prepared, "open", denied, raising=False)  # the tests may run as roots, who reads everything
    said = refused(data.load, "odd")
    assert f"{name} cannot be read: Permission denied" in said and "again" not in said and "delete" not in said
    monkeypatch.undo()
    monkeypatch.setenv("ABLKIT_DATA", str(roots))
    assert len(data.load("odd")[0]) == 40


def test_what_killed_writers_left_goes_and_what_others_write_stays(roots: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = files.host()
    gone = [f".odd.{dead.pid}.tmp", f".odd.{host}.{dead.pid}.tmp", f".odd.{host}.{os.getpid()}.tmp"]
    kept = [f".odd.{host}.{os.getppid()}.tmp", f".odd.elsewhere.{dead.pid}.tmp", f".odder.{dead.pid}.tmp", ".odd.x.tmp"]
    for name in (*gone, *kept):
        (roots / name).mkdir(parents=True)
    prepared.write(roots / "odd", some(), some(8), "")
    assert {path.name for path in roots.iterdir()} == {"odd", *kept}


def test_leftovers_of_all_names_go_but_not_what_somebody_else_named_alike(roots: Path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = files.host()
    gone = [f".{name}.{host}.{dead.pid}.tmp" for name in ("odd", "a.b", "a b")]
    kept = [f".odd.{host}.{os.getpid()}.tmp", f".odd.{host}.{10**30}.tmp", f".odd.{dead.pid}.tmp", f"{host}.tmp"]
    kept += [f".odd.{host}.{os.getppid()}.tmp", f".odd.elsewhere.{dead.pid}.tmp", f".odd.{host}.x.tmp", "odd", ".tmp"]
    for name in (*gone, *kept):
        (roots / name).mkdir(parents=True)
    (roots / f".file.{host}.{dead.pid}.tmp").touch()
    leftovers.sweep_all(roots)
    assert {path.name for path in roots.iterdir()} == {*kept, f".file.{host}.{dead.pid}.tmp"}
    leftovers.sweep_all(roots / "nowhere")


# Names and places


@pytest.mark.parametrize("name", ["{here}/pets", "./pets", "pets/", "pets", "~/pets"])
def test_pictures_are_answered_with_how_to_make_a_data_set_of_them(roots: Path, monkeypatch, name: str):
    for where in (roots, roots.parent / "home"):
        (where / "pets" / "cat").mkdir(parents=True)
        (where / "pets" / "cat" / "1.png").touch()
    monkeypatch.setenv("HOME", str(roots.parent / "home"))
    monkeypatch.chdir(roots)
    assert "`ablkit data import " in refused(data.load, name.format(here=roots))
    for folder in (roots, roots.parent / "home"):
        (folder / "pets" / "cat" / "1.png").rename(folder / "pets" / "cat" / "1.txt")
    assert prepared.BY_WRITE in refused(data.load, name.format(here=roots))  # the twin: no images are there


def test_a_path_of_a_data_set_is_answered_with_its_name(roots: Path, tmp_path: Path, monkeypatch):
    prepared.write(roots / "own", some(), some(8), "")
    prepared.write(tmp_path / "elsewhere" / "far", some(), some(8), "")
    monkeypatch.chdir(roots)
    for path in ("own/", "./own", str(roots / "own"), "x/../own"):
        assert refused(data.load, path).endswith("give 'own'")
    far = str(tmp_path / "elsewhere" / "far")
    assert refused(data.load, far).endswith(f"set ABLKIT_DATA to {tmp_path / 'elsewhere'} and give 'far'")
    (roots / "gone").symlink_to("nowhere")
    (roots / "file").touch()
    assert "is a link to nothing" in refused(data.load, "gone") and "is no folder" in refused(data.load, "file")
    assert "'a\\nb' is no dataset" in refused(data.load, "a\nb") and "no dataset" in refused(data.load, "x" * 5000)


@pytest.mark.parametrize(
    "content", ['{"classes": ["a", "b"]}', '{"name": "pets", "num_classes": 2}', "[" * 9999, '"x"']
)
def test_a_description_by_hand_is_answered_with_what_writes_it(roots: Path, content: str):
    (roots / "pets").mkdir(parents=True)
    (roots / "pets" / "meta.json").write_text(content)
    assert prepared.BY_WRITE in refused(data.load, "pets")


def test_a_name_of_nothing_says_that_nothing_is_there(roots: Path, monkeypatch, capsys):
    roots.mkdir()
    monkeypatch.chdir(roots)
    for name in ("nope", "./nope", "nope/more", str(roots / "nope"), "~/nope", "nope/"):
        for command in ("data", "clean"):
            assert main([command, name]) == 2
            said = capsys.readouterr().err
            assert "is no dataset; known: " in said and "; no folder or file of that name is there either" in said
    assert "did you mean 'digits'? No folder or file of that name" in refused(data.load, "digit")
    (roots.parent / "here" / "nope").mkdir(parents=True)
    monkeypatch.chdir(roots.parent / "here")
    assert "there either" not in refused(data.load, "nope")  # the twin


@pytest.mark.parametrize("name", ["a\u202eb", "a\x7fb", "a ", " a", ".a", "a\u2028b", "\udcff"])
def test_a_name_that_an_import_refuses_is_not_written_either(roots: Path, name: str):
    assert "has no name that a data set can have" in refused(prepared.write, roots / name, some(), some(8), "")
    assert not roots.exists()
    prepared.write(roots / "a b", some(), some(8), "")  # the twin
    assert data.prepared_names() == ["a b"]


def test_an_import_that_has_the_name_of_a_set_of_the_kit_is_not_taken_for_it(roots: Path):
    prepared.write(roots / "imagenette-8", some(), some(8), "", origin={})  # as earlier versions did
    assert "imagenette-8 holds imported images, not imagenette" in refused(data.prepare, "imagenette", size=8)
    assert len(data.load("imagenette-8")[0]) == 40
    (roots / "imagenette-8" / prepared.ORIGIN).unlink()  # the twin
    assert data.prepare("imagenette", size=8) == roots / "imagenette-8"


def test_pictures_under_the_name_of_a_set_of_the_kit_are_imported_under_another(roots: Path):
    for name, instead in (("imagenette", "my-imagenette-32"), ("Digits-32", "Digits-32-32"), ("CIFAR10", "CIFAR10-32")):
        (roots / name / "cat").mkdir(parents=True)
        (roots / name / "cat" / "1.png").touch()
        assert f"--name {instead} --size 32" in refused(data.load, name)
        assert data.reserved(instead) == ""
    assert data.reserved("imagenette-32") and data.reserved("Digits")  # the twin


# What a caller gives


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed -1 must be a whole number of at least 0; use 0, 1, 2, ..."),
        ({"seed": 1.5}, "seed 1.5 must be a whole number"),
        ({"seed": None}, "seed None must be a whole number"),
        ({"train_size": 1.5}, "train_size 1.5 must be a whole number; give how many training images, or 0 for all"),
        ({"train_size": "8"}, "train_size '8' must be a whole number"),
        ({"held_out": "0.1"}, "held_out '0.1' must be a number"),
        ({"name": 5}, "5 is no name of a data set"),
        ({"name": ["odd"]}, "['odd'] is no name of a data set"),
        ({"root": 5}, "root 5 is no path"),
    ],
)
def test_a_draw_by_values_of_the_wrong_kind_is_one_line(as_users_run_it, roots: Path, options: dict, message: str):
    for call in (data.load, data.clean_images, data.files):
        assert message in refused(lambda call=call: call(**{"name": "odd", **options}))
    assert not roots.exists()
    prepared.write(roots / "odd", some(), some(8), "")
    right = {"seed": np.int64(3), "train_size": np.int64(8), "held_out": np.float64(0.2)}
    drawn = [data.load("odd", **kind)[0].images for kind in (right, {name: one.item() for name, one in right.items()})]
    assert np.array_equal(*drawn) and len(drawn[0]) == 8  # the twin


def test_parts_of_images_of_the_wrong_kind_are_one_line(as_users_run_it, roots: Path):
    pixels, labels = some(2).images, some(2).labels
    assert "groups are a list; give a numpy array" in refused(Images, pixels, labels, CLASSES, "odd", groups=[0, 1])
    assert "mirrors 'no' is neither" in refused(Images, pixels, labels, CLASSES, "odd", mirrors="no")
    for wrong in (5, None):
        assert f"folder {wrong} is no path" in refused(prepared.write, wrong, some(), some(8), "")
        assert f"folder {wrong} is no path" in refused(prepared.read, wrong)
    assert "training images are a ndarray" in refused(prepared.write, roots / "odd", pixels, some(8), "")
    prepared.write(str(roots / "odd"), some(), some(8), "")
    assert len(prepared.read(str(roots / "odd"))[0]) == 40  # the twin
    assert prepared.digest(str(roots / "odd")) == data.digest("odd") and prepared.files(str(roots / "odd")) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "16"}, "size '16' must be a whole number"),
        ({"size": "../x"}, "size '../x' must be a whole number"),
        ({"size": 16.0}, "size 16.0 must be a whole number"),
        ({"given": 5}, "given 5 is no path"),
    ],
)
def test_options_of_a_set_of_the_wrong_kind_are_one_line(as_users_run_it, roots: Path, options: dict, message: str):
    assert message in refused(data.prepare, "imagenette", **options)
    assert not roots.exists()
