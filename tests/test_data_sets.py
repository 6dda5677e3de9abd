"""The readers of named data sets, on small files of the published layouts: what is taken, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import refused
from PIL import Image
from readmes import TEXTS
from test_cifar10 import add

from ablkit import data
from ablkit.cli import main
from ablkit.data import cards, cifar10, cifar100, class_folders, fashion_mnist, gtsrb, imagenette

RANDOM = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    Image.fromarray(pixels).save(file := io.BytesIO(), format=kind)
    return file.getvalue()


# CIFAR-100


def test_cifar100_has_the_second_label_and_comes_from_a_folder_or_a_file(tmp_path, monkeypatch):
    images, coarse, fine = noise(6, 32, 32, 3), noise(6) % 20, np.array([99, 1, 2, 50, 4, 5], np.uint8)
    rows = np.concatenate([coarse[:, None], fine[:, None], images.transpose(0, 3, 1, 2).reshape(6, -1)], 1)
    path = tmp_path / "cifar-100-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "cifar-100-binary/train.bin", rows[:4].tobytes())
        add(archive, "cifar-100-binary/test.bin", rows[4:].tobytes())
        names = "\n".join(f"class_{number}" for number in range(100))
        add(archive, "cifar-100-binary/fine_label_names.txt", f"{names}\n".encode())
    assert "is not what was published: its md5 is another" in refused(cifar100.fetch, tmp_path)  # the twin
    monkeypatch.setattr(cifar100, "CHECKSUM", f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}")
    for given in (tmp_path, path):
        train, test, source = cifar100.fetch(given)
        assert np.array_equal(train.images, images[:4]) and np.array_equal(test.images, images[4:])
        assert train.labels.tolist() == [99, 1, 2, 50] and test.labels.tolist() == [4, 5]
        assert train.classes[99] == "class_99" and str(given) in source
    assert "give its folder with --from" in refused(cifar100.fetch, tmp_path / "nowhere")


# Fashion-MNIST


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def fashion(tmp_path, monkeypatch) -> SimpleNamespace:
    """A folder of the four files in small, compressed by other settings than anybody published; nothing installed."""
    arrays = [noise(4, 28, 28), noise(4) % 10, noise(2, 28, 28), noise(2) % 10]
    sums = {}
    for name, array in zip(fashion_mnist.SHA256, arrays, strict=True):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array), compresslevel=1))
        sums[name] = hashlib.sha256(idx(array)).hexdigest()
    monkeypatch.setattr(fashion_mnist, "SHA256", sums)
    monkeypatch.setattr(fashion_mnist, "PACKAGE", tmp_path / "not installed")
    monkeypatch.setattr(fashion_mnist, "URL", tmp_path.as_uri())
    return SimpleNamespace(folder=tmp_path, arrays=arrays)


def test_fashion_mnist_is_padded_with_zeros_and_grey(fashion):
    train, test, _ = fashion_mnist.fetch(fashion.folder)
    assert train.images.shape == (4, 32, 32, 3) and test.images.shape == (2, 32, 32, 3)
    for channel in range(3):
        assert np.array_equal(train.images[:, 2:30, 2:30, channel], fashion.arrays[0])
    assert train.images.sum(dtype=int) == 3 * fashion.arrays[0].sum(dtype=int)  # all else is zero
    assert np.array_equal(train.labels, fashion.arrays[1]) and np.array_equal(test.labels, fashion.arrays[3])


def test_fashion_mnist_comes_from_the_package_first_and_is_held_to_what_is_in_the_files(fashion, monkeypatch):
    # The same content, compressed otherwise than on the host, is refused from there and taken from the package.
    assert "its own host: what" in refused(fashion_mnist.fetch)
    monkeypatch.setattr(fashion_mnist, "PACKAGE", fashion.folder)
    assert "from the package dataset-fashion-mnist" in fashion_mnist.fetch()[2]
    name = "t10k-labels-idx1-ubyte"
    (fashion.folder / f"{name}.gz").write_bytes(gzip.compress(idx(np.zeros(2, np.uint8))))
    said = refused(fashion_mnist.fetch)
    assert f"wrong checksum of what is in {name}" in said and "install the package dataset-fashion-mnist" in said


def test_what_is_no_idx_file_is_told():
    assert fashion_mnist.unpacked(idx(np.arange(6, dtype=np.uint8).reshape(2, 3))).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="no idx file"):
        fashion_mnist.unpacked(b"\0\0\x0d\1" + bytes(8))


# GTSRB


TRACKS = {0: [3, 2], 1: [2], 42: [3]}
"""Class -> frames of each of its tracks."""


def signs() -> dict[str, bytes]:
    """The files of both splits, by path."""
    files = {"GTSRB/Readme-Images.txt": b"", "GTSRB/Final_Training/Images/00000/GT-00000.csv": b"a;b\n"}
    for label, tracks in TRACKS.items():
        for track, frames in enumerate(tracks):
            for frame in range(frames):
                # Of two halves, so that a mirrored, turned or cropped one would be seen.
                pixels = np.full((20 + frame, 25, 3), 10 * (track + 1), np.uint8)
                pixels[:, 13:] = label
                path = f"GTSRB/Final_Training/Images/{label:05}/{track:05}_{frame:05}.ppm"
                files[path] = encoded(pixels, "ppm")
    for number in range(3):
        files[f"GTSRB/Final_Test/Images/{number:05}.ppm"] = encoded(np.full((30, 30, 3), number, np.uint8), "ppm")
    files["GTSRB/Final_Test/Images/GT-final_test.test.csv"] = b"Filename;Width\n00000.ppm;30\n"
    files["GT-final_test.csv"] = b"Filename;Width;ClassId\r\n00002.ppm;30;5\r\n00000.ppm;30;42\r\n00001.ppm;30;0\r\n"
    return files


@pytest.fixture
def gtsrb_folder(tmp_path, monkeypatch) -> Path:
    for path, content in signs().items():
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).write_bytes(content)
    monkeypatch.setattr(gtsrb, "CARD", replace(gtsrb.CARD, train=10, test=3))
    return tmp_path / "in"


def test_gtsrb_keeps_whole_frames_tracks_and_the_order_of_the_labels(gtsrb_folder, capsys):
    train, test, _ = gtsrb.fetch(gtsrb_folder)
    assert train.labels.tolist() == [0] * 5 + [1] * 2 + [42] * 3
    assert train.groups.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert train.images.shape == (10, 32, 32, 3) and len(train.classes) == 43
    assert (train.images[9, :, :14] == 10).all() and (train.images[9, :, 18:] == 42).all()
    assert test.labels.tolist() == [5, 42, 0] and test.images[:, 0, 0, 0].tolist() == [2, 0, 1]
    assert not train.mirrors and not test.mirrors and train.classes[39] == "keep left"
    assert "10 training images in 4 tracks, 3 test images" in capsys.readouterr().out


def test_gtsrb_from_archives_is_that_from_their_files(gtsrb_folder, tmp_path, monkeypatch):
    parts = ("Final_Training", "Final_Test/", "GT-final_test.csv")
    (tmp_path / "zips").mkdir()
    for name, part in zip(gtsrb.ARCHIVES, parts, strict=True):
        with zipfile.ZipFile(tmp_path / "zips" / name, "w") as archive:
            for path, content in signs().items():
                if part in path:
                    archive.writestr(path, content)
    assert "is not what was published" in refused(gtsrb.fetch, tmp_path / "zips")  # the twin
    sums = {name: hashlib.md5((tmp_path / "zips" / name).read_bytes()).hexdigest() for name in gtsrb.ARCHIVES}
    monkeypatch.setattr(gtsrb, "ARCHIVES", {name: f"md5:{one}" for name, one in sums.items()})
    monkeypatch.setattr(gtsrb, "URL", (tmp_path / "zips").as_uri())
    expected = gtsrb.fetch(gtsrb_folder)
    for given in (tmp_path / "zips", None):  # a folder, and the host
        for one, other in zip(gtsrb.fetch(given)[:2], expected[:2], strict=True):
            assert np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)
    (tmp_path / "zips" / "GTSRB_Final_Test_GT.zip").unlink()
    assert "its own host: " in refused(gtsrb.fetch) and "GT-final_test.csv" in refused(gtsrb.fetch, tmp_path / "zips")


def test_the_other_training_set_of_gtsrb_is_named(gtsrb_folder, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "GTSRB-Training_fixed.zip").touch()
    assert "2011 competition, with 26,640" in refused(gtsrb.fetch, tmp_path / "other")
    monkeypatch.setattr(gtsrb, "CARD", replace(gtsrb.CARD, train=39_209))
    assert "10 training images in place of 39,209; get the archives again" in refused(gtsrb.fetch, gtsrb_folder)
    monkeypatch.setattr(gtsrb, "_OTHER_COUNT", 10)
    said = refused(gtsrb.fetch, gtsrb_folder)
    assert "GTSRB-Training_fixed.zip" in said and "give GTSRB_Final_Training_Images.zip" in said


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("GTSRB/Final_Training/Images/00001/00000_00001.ppm", b"P6\n9 9\n255\n", "00000_00001.ppm is damaged"),
        ("GTSRB/Final_Test/Images/00001.ppm", None, "test image 00001.ppm was not found"),
        ("GT-final_test.csv", b"a;b\n1;2\n", "has no Filename and ClassId"),
        ("GT-final_test.csv", None, "GT-final_test.csv, the labels of the test images, was not found"),
    ],
)
def test_a_broken_part_of_gtsrb_is_named(gtsrb_folder, path, content, message):
    (gtsrb_folder / path).unlink()
    if content is not None:
        (gtsrb_folder / path).write_bytes(content)
    assert message in refused(gtsrb.fetch, gtsrb_folder)


# Imagenette and folders of classes


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Splits of three of Imagenette's classes, wide pictures with a white centre square."""
    for split, count in (("train", 3), ("val", 2)):
        for name in list(imagenette.CLASSES)[:3]:
            (tmp_path / "in" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.zeros((40, 80, 3), np.uint8)
                pixels[:, 16:64] = 255  # wider than the square, as resizing reads a little around it
                (tmp_path / "in" / split / name / f"{number}.JPEG").write_bytes(encoded(pixels, "png"))
    return tmp_path / "in"


def test_imagenette_takes_the_centre_square_of_the_chosen_classes(photographs):
    train, test, source = imagenette.fetch(photographs, size=16, classes=["n02979186", "n01440764"])
    assert train.images.shape == (6, 16, 16, 3) and len(test) == 4
    assert train.classes == ("cassette player", "tench") and train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.images.min() == 255 and "16x16" in source
    assert len(imagenette.fetch(photographs, size=8)[0].classes) == 3
    assert "n0144076" in refused(imagenette.fetch, photographs, classes=["n0144076"])


def test_a_broken_folder_of_classes_is_named(photographs):
    assert "holds no folders of classes" in refused(class_folders.read, photographs / "nope", "x", size=8)
    (photographs / "train" / "n01440764" / "1.JPEG").write_bytes(b"no picture")
    assert "1.JPEG is no picture" in refused(imagenette.fetch, photographs)
    assert "it has no folder train" in refused(imagenette.fetch, photographs / "val")


def test_a_folder_of_classes_may_be_a_text_and_else_is_of_the_right_kind(as_users_run_it, photographs, roots):
    read, where = class_folders.read, str(photographs / "train")
    assert np.array_equal(read(where, "x", size=8).images, read(Path(where), "x", size=8).images)
    assert data.prepare("imagenette", given=str(photographs), size=8) == roots / "imagenette-8"
    for wrong in ("8", 8.0, 0):
        assert f"size {wrong!r} must be a whole number from 5 to 1024" in refused(read, where, "x", size=wrong)
    assert "classes 'n01440764' are a text" in refused(read, where, "x", size=8, classes="n01440764")
    assert "folder 5 is no path" in refused(read, 5, "x", size=8)


@pytest.mark.parametrize(("size", "archive"), [(64, "160px"), (160, "160px"), (161, "320px"), (400, "full")])
def test_imagenette_is_downloaded_no_larger_than_needed(photographs, monkeypatch, size, archive):
    asked = []

    def download(root: Path, split: str, size: str, download: bool) -> None:
        asked.append(size)
        (root / "imagenette2").symlink_to(photographs)

    fake = SimpleNamespace(datasets=SimpleNamespace(Imagenette=download))
    monkeypatch.setattr("ablkit.data.vision.torchvision", lambda: fake)
    train, _, source = imagenette.fetch(size=size)
    assert asked == [archive] and train.images.shape[1:] == (size, size, 3) and "torchvision's host" in source


def test_another_size_is_a_set_of_its_own(photographs, roots, capsys):
    for size in (None, "16"):
        more = [] if size is None else ["--size", size]
        assert main(["data", "imagenette", "--from", str(photographs), *more]) == 0
    assert data.prepared_names() == ["imagenette", "imagenette-16"]
    assert data.load("imagenette-16")[0].images.shape == (9, 16, 16, 3)
    capsys.readouterr()
    for words, message in ((["digits", "--size", "16"], "no --size"), (["digits", "--from", "x"], "no --from")):
        assert main(["data", *words]) == 2
        assert f"digits takes {message}" in capsys.readouterr().err


# What is said of the sets


def test_every_set_is_listed_with_what_is_prepared(roots, capsys):
    data.prepare("digits")
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert "digits         1,437 + 360 images of 32 x 32, 10 classes, no download; prepared" in out
    for name in set(data.DATASETS) - {"digits"}:
        assert re.search(rf"^{name} .*`ablkit data {name}` prepares it$", out, re.MULTILINE)


def missing(page: str) -> list[str]:
    """What is known of the sets in the code and is not on the page."""
    sums = [*cifar10.SHA256.values(), *fashion_mnist.SHA256.values(), *gtsrb.ARCHIVES.values(), cifar100.CHECKSUM]
    headings = [f"\n## {name}\n" for name in data.DATASETS]
    facts = [*cards.table(data.CARDS.values()).splitlines(), *headings, *(one.rpartition(":")[2] for one in sums)]
    return [fact for fact in facts if fact not in page]


def test_the_page_of_the_data_sets_says_what_the_code_says():
    page = TEXTS["ablkit/data/README.md"]
    assert missing(page) == []
    assert len(missing(page.replace("39,209 |", "39,210 |").replace("c59f", "c59e"))) == 2


def test_the_card_of_the_digits_tells_what_they_are():
    train, test, _ = data.digits.fetch()
    card = data.CARDS["digits"]
    assert (len(train), len(test), len(train.classes), train.images.shape[1]) == (1437, 360, card.classes, card.size)
    assert (card.train, card.test) == (1437, 360)
    for module in (cifar10, fashion_mnist, gtsrb, imagenette):
        assert len(module.CLASSES) == len(set(module.CLASSES)) == module.CARD.classes
