"""Data: what is prepared is whole, checked and the same every time; what is not says why in one line."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ablkit import data
from ablkit.data import Images, prepared
from ablkit.errors import UserError


def tiny(number: int, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (number, 4, 4, 3), dtype=np.uint8)
    return Images(pixels, random.integers(0, 3, number), ("a", "b", "c"), "own")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepared.write(tmp_path / "own", tiny(20), tiny(10, seed=1), "made by a test")
    return tmp_path / "own"


def same(first: Images, second: Images) -> bool:
    return np.array_equal(first.images, second.images) and np.array_equal(first.labels, second.labels)


def one_line(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# Images


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, np.int64), "float32"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32), "int32"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64), "2 images but 3 labels"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 3]), "label 3 is outside the 3 classes"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([-1, 0]), "label -1 is outside"),
    ],
)
def test_images_refuse_arrays_that_do_not_fit(as_users_run_it, images, labels, message):
    with pytest.raises(UserError, match=message) as error:
        Images(images, labels, ("a", "b", "c"), "own")
    assert one_line(error).startswith("own: ")
    assert len(Images(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 2]), ("a", "b", "c"), "own")) == 2


def test_take_keeps_the_order_asked_for_and_copies():
    images = tiny(5)
    taken = images.take(np.array([4, 1]))
    assert np.array_equal(taken.images, images.images[[4, 1]]) and np.array_equal(taken.labels, images.labels[[4, 1]])
    taken.images[:] = 0
    assert images.images.any()


# Prepared folders


def test_a_prepared_folder_gives_back_what_was_written_as_read_only_maps(folder: Path):
    train, test = prepared.read(folder)
    assert same(train, tiny(20)) and same(test, tiny(10, seed=1))
    assert train.classes == ("a", "b", "c") and train.name == "own"
    assert isinstance(train.images, np.memmap) and not train.images.flags.writeable
    assert {path.name for path in folder.iterdir()} == {"meta.json", *(f"{key}.npy" for key in prepared.ARRAYS)}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))  # a clock tick may be longer than this test


def widen(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64))


def pickle_objects(path: Path) -> None:
    np.save(path, np.array([{}, {}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("key", prepared.ARRAYS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "is missing"),
        (truncate, "truncated"),
        (empty, "truncated"),
        (flip_last_byte, "corrupt"),
        (widen, "holds float64"),
        (pickle_objects, "no plain array"),
    ],
)
def test_a_damaged_array_is_named_with_the_way_out(folder: Path, key: str, damage, message: str):
    prepared.read(folder)  # whole, and checked once: the damage must be seen all the same
    damage(folder / f"{key}.npy")
    with pytest.raises(UserError, match=message) as error:
        prepared.read(folder, "make it again")
    assert f"{key}.npy" in one_line(error) and one_line(error).endswith("make it again")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "lacks `classes`"),
        ('{"classes": ["a"]}', "lacks `sha256`"),
        ('{"classes": ["a"], "sha256": {"train_images": "0"}}', "lacks `sha256`"),
    ],
)
def test_a_damaged_description_is_named(as_users_run_it, folder: Path, content: str, message: str):
    (folder / "meta.json").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        prepared.read(folder)
    assert "meta.json" in one_line(error)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "Full"), OSError(errno.EACCES, "Denied")])
def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch, stop):
    def fail(*_):
        raise stop

    monkeypatch.setattr(prepared, "write_json", fail)  # the last file: the four arrays lie there by then
    with pytest.raises(KeyboardInterrupt if isinstance(stop, KeyboardInterrupt) else UserError) as error:
        prepared.write(tmp_path / "own", tiny(3), tiny(3), "")
    assert isinstance(error.value, KeyboardInterrupt) or stop.strerror in one_line(error)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    prepared.write(tmp_path / "own", tiny(3), tiny(3), "")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="no room left") as error:
        prepared.write(tmp_path / "own", tiny(3), tiny(3), "")
    assert one_line(error) and list(tmp_path.iterdir()) == []


def test_writing_again_keeps_the_same_images_and_refuses_others(folder: Path):
    prepared.write(folder, tiny(20), tiny(10, seed=1), "again")
    with pytest.raises(UserError, match="holds other images"):
        prepared.write(folder, tiny(20, seed=9), tiny(10, seed=1), "")
    (folder / "meta.json").unlink()
    with pytest.raises(UserError, match="no prepared data set"):
        prepared.write(folder, tiny(20), tiny(10, seed=1), "")
    assert [path.name for path in folder.parent.iterdir()] == ["own"]


def test_the_digest_follows_the_content_without_reading_it(folder: Path):
    first = prepared.digest(folder)
    prepared.write(folder.with_name("copy"), tiny(20), tiny(10, seed=1), "another source")
    prepared.write(folder.with_name("other"), tiny(20), tiny(10, seed=2), "made by a test")
    (folder / "train_images.npy").unlink()
    assert prepared.digest(folder) == prepared.digest(folder.with_name("copy")) == first
    assert prepared.digest(folder.with_name("other")) != first


# Loading by name


def test_digits_are_whole_and_the_same_every_time(tmp_path: Path):
    train, test = data.load("digits", root=tmp_path / "one")
    again, _ = data.load("digits", root=tmp_path / "two")
    assert (train.images.shape, test.images.shape) == ((1437, 32, 32, 3), (360, 32, 32, 3))
    assert train.classes == tuple("0123456789") and set(train.labels) == set(test.labels) == set(range(10))
    assert same(train, again) and data.digest("digits", tmp_path / "one") == data.digest("digits", tmp_path / "two")
    # Full range, grey, and each original pixel a square of four.
    assert (train.images.min(), train.images.max()) == (0, 255)
    assert np.array_equal(train.images[..., 0], train.images[..., 2])
    assert np.array_equal(train.images[:, ::4, ::4].repeat(4, axis=1).repeat(4, axis=2), train.images)


def test_a_prepared_set_is_not_made_again(tmp_path: Path, monkeypatch):
    calls = []
    monkeypatch.setitem(data._SOURCES, "digits", lambda: calls.append(1) or (tiny(4), tiny(2), "fake"))
    assert data.prepare("digits", tmp_path) == data.prepare("digits", tmp_path) == tmp_path / "digits"
    assert len(calls) == 1


def test_a_subset_is_a_function_of_the_seed_alone(folder: Path):
    def subset(size: int, seed: int) -> Images:
        return data.load("own", train_size=size, seed=seed, root=folder.parent)[0]

    assert same(subset(8, seed=3), subset(8, seed=3))
    assert not same(subset(8, seed=3), subset(8, seed=4))
    everything = [image.tobytes() for image in tiny(20).images]
    places = [everything.index(image.tobytes()) for image in subset(8, seed=3).images]
    larger = [everything.index(image.tobytes()) for image in subset(12, seed=3).images]
    assert len(set(places)) == 8 and places == sorted(places) and set(places) < set(larger)
    assert same(subset(0, seed=3), tiny(20)) and same(subset(20, seed=3), tiny(20))
    assert same(data.load("own", train_size=8, root=folder.parent)[1], tiny(10, seed=1))  # never the test images


@pytest.mark.parametrize("groups", [False, True])
def test_a_subset_that_lacks_a_class_is_refused_with_the_smallest_that_does_not(tmp_path: Path, groups: bool):
    labels = np.repeat([0, 0, 0, 1], 10)
    full = replace(tiny(40), labels=labels, groups=np.arange(40) // 5 if groups else None)
    prepared.write(tmp_path / "own", full, tiny(10, seed=1), "made by a test")
    with pytest.raises(UserError, match="train_size 1 leaves 1 of 2 classes of own without an image, such as") as error:
        data.load("own", train_size=1, root=tmp_path)
    assert one_line(error)
    enough = int(str(error.value).partition("with seed 0 give ")[2].split()[0])
    assert set(data.load("own", train_size=enough, root=tmp_path)[0].labels) == {0, 1}
    with pytest.raises(UserError, match=f"train_size {enough - 1} leaves 1 of 2 classes"):
        data.load("own", train_size=enough - 1, root=tmp_path)


@pytest.mark.parametrize("size", [-1, 21])
def test_an_impossible_subset_is_refused(folder: Path, size: int):
    with pytest.raises(UserError, match=f"train_size {size} is not possible: own has 20 training images") as error:
        data.load("own", train_size=size, root=folder.parent)
    assert one_line(error)


@pytest.mark.parametrize(
    ("name", "near"), [("cifar", "cifar10"), ("owm", "own"), ("../own", "own"), (".", "digits"), ("", "digits")]
)
def test_an_unknown_name_gets_the_nearest_ones(folder: Path, name: str, near: str):
    with pytest.raises(UserError, match="is no dataset") as error:
        data.load(name, root=folder.parent)
    assert near in one_line(error)
    assert len(data.load("own", root=folder.parent)[0]) == 20


def test_the_way_out_depends_on_whose_folder_it_is(folder: Path, monkeypatch):
    monkeypatch.setitem(data._SOURCES, "digits", lambda: (tiny(4), tiny(2), "fake"))
    truncate(data.prepare("digits", folder.parent) / "test_images.npy")
    truncate(folder / "test_images.npy")
    with pytest.raises(UserError, match=r"delete the folder .*digits and run `ablkit data digits`"):
        data.load("digits", root=folder.parent)
    with pytest.raises(UserError, match=r"make the folder .*own again"):
        data.load("own", root=folder.parent)


@pytest.mark.parametrize("name", ["digits", "own"])
def test_a_folder_without_its_description_is_not_filled_up(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "notes.txt").touch()
    with pytest.raises(UserError, match=r"meta\.json is missing"):
        data.prepare(name, tmp_path)
    assert [path.name for path in (tmp_path / name).iterdir()] == ["notes.txt"]


def test_a_root_that_cannot_be_made_is_named_before_any_download(tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setitem(data._SOURCES, "cifar10", lambda: pytest.fail("downloaded for nothing"))
    with pytest.raises(UserError, match="set ABLKIT_DATA"):
        data.prepare("cifar10", tmp_path / "file" / "data")
