"""Sources of an import that are no folder: what is none is refused in one line, what else an archive holds is named."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pets import bring, check_refused, pets, picture

from ablkit.cli import main
from ablkit.data import importing, prepared


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
    "16 bits of which 12 are used": (
        an_archive(images=IMAGES.astype(np.uint16) << 4, labels=LABELS),
        "which would leave at most 16 of 256 grey levels; give (images >> 4).astype(numpy.uint8)",
    ),
    "16 bits of which one class uses 8": (
        an_archive(images=IMAGES * np.uint16(1 + 255 * LABELS[:, None, None, None]), labels=LABELS),
        "and those with label 0 have no value above 255 of 65,535",
    ),
    "16 bits of which 8 are used, and alpha": (
        an_archive(
            images=np.dstack([IMAGES[:, :, :, 0], IMAGES[..., 0]]).reshape(8, 8, 8, 2) * np.uint16([1, 0])
            + np.uint16([0, 65535]),
            labels=LABELS,
        ),
        "images are uint16 with no value above",
    ),
    "zeros and ones": (
        an_archive(images=IMAGES[..., 0] % 2, labels=LABELS),
        "no training image has a value above 1 of 255, so all are nearly black; scale them to 0 to 255",
    ),
    "zeros and ones to test on": (
        an_archive(x_train=IMAGES, y_train=LABELS, x_test=IMAGES // 250, y_test=LABELS),
        "no test image has a value above 1 of 255",
    ),
    "classes that differ in case": (
        an_archive(images=IMAGES, labels=LABELS, classes=np.array(["Cat", "cat"])),
        "the classes 'Cat' and 'cat' differ in case",
    ),
    "classes that differ in normalisation": (
        an_archive(images=IMAGES, labels=np.array(["caf\u00e9", "cafe\u0301"])[LABELS]),
        "differ in case or in how Unicode writes them",
    ),
    "classes that differ in a blank": (
        an_archive(images=IMAGES, labels=LABELS, classes=np.array(["cat", "cat "])),
        "the classes 'cat' and 'cat ' differ in case",
    ),
    "labels that differ in case between the splits": (
        an_archive(
            x_train=IMAGES, y_train=np.array(["a", "b"])[LABELS], x_test=IMAGES, y_test=np.array(["a", "B"])[LABELS]
        ),
        "the classes 'B' and 'b' differ in case",
    ),
    "a class that is named and has no images": (
        an_archive(images=IMAGES, labels=LABELS, classes=np.array(["cat", "dog", "elk"])),
        "class 'elk' has no training image; give it some, or leave its name out of the array `classes`",
    ),
    "images too large to train on": (
        an_archive(images=picture(1, (4, 8, 257)), labels=LABELS[:4]),
        "images of 8 x 257 are larger than 256 x 256",
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
        "no test image that can be read; add some, or leave out the arrays of the test set",
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


@pytest.mark.parametrize(("bits", "is_told"), [(13, True), (14, True), (15, False), (16, False)])
def test_a_range_that_ends_before_16_bits_is_told(roots: Path, tmp_path: Path, capsys, bits: int, is_told: bool):
    path = an_archive(images=IMAGES.astype(np.uint16) << (bits - 8), labels=LABELS)(tmp_path)
    assert bring(path) == 0
    told = capsys.readouterr().out
    assert ("of 65,535, so its images are dark" in told) == is_told
    assert "the arrays have 16 bits: the upper 8 were taken" in told


def test_labels_that_are_texts_are_in_the_order_of_folders(roots: Path, tmp_path: Path):
    for names, classes in ((["10", "9", "100"], ("9", "10", "100")), (["10", "9", "x"], ("10", "9", "x"))):
        labels = np.array(names)[np.arange(8) % 3]
        path = an_archive(x_train=IMAGES, y_train=labels, x_test=IMAGES, y_test=labels)(tmp_path)
        made = importing.import_images(path, f"made-{len(classes[-1])}", report=lambda _: None)
        train, test = prepared.read(made)
        assert train.classes == classes  # the second is the twin: not all of them are numbers
        assert [train.classes[label] for label in train.labels] == labels.tolist() == [classes[k] for k in test.labels]
        assert np.array_equal(train.images, IMAGES)


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
