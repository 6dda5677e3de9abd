"""Images of one's own: what lies in files comes out of the data set, pixel by pixel, and each knows its file."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from pets import CLASSES, pets, picture, save
from PIL import Image
from readmes import TEXTS
from test_data_limits import wanted
from test_odd_data import some
from test_readme_commands import ABLKIT

from ablkit import data
from ablkit.cli import main
from ablkit.data import Images, importing, pictures, prepared
from ablkit.data.importing import reading
from ablkit.runs import execute


def brought(source: Path, name: str = "pets", **options) -> tuple[Images, Images, list[str]]:
    """Both splits of an import, and the lines that it says."""
    said: list[str] = []
    importing.import_images(source, name, report=said.append, **options)
    return *data.load(name), said


def same_as_files(images: Images, files: list[str], source: Path) -> bool:
    read = [np.asarray(Image.open(source / file).convert("RGB")) for file in files]
    return np.array_equal(images.images, np.stack(read)) and len(files) == len(images)


# Folders


def test_every_image_has_the_pixels_of_its_file_and_the_class_of_its_folder(roots: Path, tmp_path: Path):
    source = pets(tmp_path / "pets", 10)
    train, test, said = brought(source)
    files = prepared.files(roots / "pets")
    for images, names in zip((train, test), files, strict=True):
        assert same_as_files(images, names, source)
        assert [train.classes[label] for label in images.labels] == [name.split("/")[0] for name in names]
    assert not same_as_files(train, files.train[::-1], source)  # the twin
    assert sorted([*files.train, *files.test]) == sorted(
        str(path.relative_to(source)) for path in source.rglob("*.png")
    )
    assert "16 training images, 4 test images" in said[0] and not [line for line in said if "left out" in line]


def test_a_test_set_is_drawn_of_every_class_by_the_seed(roots: Path, tmp_path: Path):
    source = pets(tmp_path / "pets", 10)
    pets(source, 2, ("rare",), start=90)
    drawn = {}
    for name, options in {"a": {}, "b": {}, "c": {"seed": 1}, "d": {"test_share": 0.9}}.items():
        train, test, _ = brought(source, name, **options)
        counts = [np.bincount(part.labels).tolist() for part in (train, test)]
        assert counts == ([[8, 8, 1], [2, 2, 1]] if name != "d" else [[1, 1, 1], [9, 9, 1]])
        drawn[name] = prepared.files(roots / name).test
    assert drawn["a"] == drawn["b"] != drawn["c"]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (("train", "test"), (8, 8, "given")),
        (("Train", "val"), (8, 8, "given")),
        (("train", "test", "val", "triggered_test"), (8, 8, "folders beside those for training and testing (2)")),
        (("train",), (6, 2, "drawn")),
        (("train", "test.flat"), (6, 2, "folders beside those for training and testing (1): 'test'")),
    ],
)
def test_a_level_of_train_and_test_is_taken_as_such(roots: Path, tmp_path: Path, made, expected):
    for start, part in enumerate(made):
        pets(tmp_path / "pets" / part, start=100 * start)
    if "test.flat" in made:  # test images without classes, as competitions give them
        (tmp_path / "pets" / "test").mkdir()
        (tmp_path / "pets" / "test.flat" / "cat" / "000.png").rename(tmp_path / "pets" / "test" / "1.png")
        for path in sorted((tmp_path / "pets" / "test.flat").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (tmp_path / "pets" / "test.flat").rmdir()
    train, test, said = brought(tmp_path / "pets")
    assert (len(train), len(test)) == expected[:2] and train.classes == CLASSES
    assert any(expected[2] in line for line in said)


@pytest.mark.parametrize("split", ["", "train"])
def test_chosen_classes_are_taken_alone_and_in_that_order(roots: Path, tmp_path: Path, split: str):
    source = pets(tmp_path / "zoo" / split, classes=("ape", "bee", "cat", "dog"))
    if split:
        pets(tmp_path / "zoo" / "val", 2, ("bee", "dog", "elk"), start=50)
    train, test, said = brought(tmp_path / "zoo", "few", classes=["dog", "bee"])
    assert train.classes == test.classes == ("dog", "bee")
    names = prepared.files(roots / "few").train
    wanted = [name for name in ("dog", "bee") for _ in range(len(names) // 2)]
    assert [Path(name).parent.name for name in names] == wanted == [train.classes[k] for k in train.labels]
    assert "2 of 4 class folders are taken, as chosen" in said
    if not split:
        every = brought(source, "all")[0]
        assert every.classes == ("ape", "bee", "cat", "dog")  # the twin


def test_a_train_folder_that_becomes_a_class_is_told(roots: Path, tmp_path: Path, capsys):
    pets(tmp_path / "own" / "train")
    pets(tmp_path / "own" / "extra")
    assert main(["data", "import", str(tmp_path / "own"), "--name", "own"]) == 0
    assert "'train' is taken for a class: no folder beside it is for testing" in capsys.readouterr().out
    pets(tmp_path / "other" / "train")
    pets(tmp_path / "other" / "test")
    assert main(["data", "import", str(tmp_path / "other"), "--name", "other"]) == 0
    assert "taken for a class" not in capsys.readouterr().out  # the twin


def test_classes_may_be_called_train_and_numbers_are_in_their_order(roots: Path, tmp_path: Path):
    classes = ("train", "bus", "tram")
    assert brought(pets(tmp_path / "vehicles", classes=classes), "vehicles")[0].classes == tuple(sorted(classes))
    assert brought(pets(tmp_path / "signs", classes=("10", "9", "100")), "signs")[0].classes == ("9", "10", "100")


# Files of every kind

GREY = picture(1, (8, 8))
COLOUR = picture(2)
DEEP = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
ALPHA = np.dstack([COLOUR, np.full((8, 8), 255, np.uint8)])
ALPHA[:4, :, 3] = 0
ON_WHITE = COLOUR.copy()
ON_WHITE[:4] = 255
FEW = np.repeat(np.repeat(COLOUR[:2, :2], 4, 0), 4, 1)


def in_palette(path: Path, **options) -> None:
    Image.fromarray(FEW).quantize(16).save(path, **options)


def sideways(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    Image.fromarray(COLOUR).save(path, exif=exif)


def animated(path: Path) -> None:
    frames = [Image.fromarray(FEW), Image.fromarray(255 - FEW)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def of_cmyk(path: Path) -> None:
    Image.merge("CMYK", [Image.new("L", (8, 8), value) for value in (0, 255, 255, 0)]).save(path)


def deep_colour(path: Path) -> None:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + (row.astype(np.uint16) * 256 + 77).astype(">u2").tobytes() for row in COLOUR)
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


KINDS = {
    "plain.png": (lambda path: save(path, COLOUR), COLOUR, []),
    "plain.bmp": (lambda path: save(path, COLOUR), COLOUR, []),
    "named.jpg": (lambda path: save(path, COLOUR, format="PNG"), COLOUR, []),
    "CAPITALS.PNG": (lambda path: save(path, COLOUR), COLOUR, []),
    "grey.png": (lambda path: save(path, GREY), np.dstack([GREY] * 3), ["grey"]),
    "bits.png": (lambda path: save(path, GREY > 99), np.dstack([(GREY > 99) * 255] * 3), ["grey"]),
    "deep.png": (lambda path: save(path, DEEP), np.dstack([DEEP >> 8] * 3), ["grey", "16 bits"]),
    "deep.tiff": (lambda path: save(path, DEEP), np.dstack([DEEP >> 8] * 3), ["grey", "16 bits"]),
    "deep-colour.png": (deep_colour, COLOUR, ["16 bits"]),
    "alpha.png": (lambda path: save(path, ALPHA), ON_WHITE, ["transparent"]),
    "opaque.png": (lambda path: save(path, ALPHA | np.uint8([0, 0, 0, 255])), COLOUR, []),
    "grey-alpha.png": (
        lambda path: save(path, np.dstack([GREY, ALPHA[..., 3]])),
        np.dstack([np.where(ALPHA[..., 3], GREY, 255)] * 3),
        ["grey", "transparent"],
    ),
    "palette.png": (in_palette, FEW, ["palette"]),
    "palette.gif": (in_palette, FEW, ["palette"]),
    "turned.png": (sideways, np.rot90(COLOUR, -1), ["turned"]),
    "animated.gif": (animated, FEW, ["animated", "palette"]),
    "cmyk.tif": (of_cmyk, np.full((8, 8, 3), [255, 0, 0]), ["CMYK"]),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_every_kind_is_read_as_rgb_and_counted(tmp_path: Path, name: str):
    make, expected, counted = KINDS[name]
    make(tmp_path / name)
    with pictures.opened(str(tmp_path / name)) as image:
        pixels, done = pictures.rgb(image)
    assert done == counted and pixels.dtype == np.uint8
    assert np.array_equal(pixels, expected)


def test_a_palette_with_transparency_lies_on_white(tmp_path: Path):
    in_palette(tmp_path / "a.png", transparency=0)
    with pictures.opened(str(tmp_path / "a.png")) as image:
        pixels, done = pictures.rgb(image)
    is_white = (pixels == 255).all(2)
    assert done == ["palette", "transparent"] and is_white.any() and not is_white.all()


def test_the_whole_frame_is_resized_and_an_image_of_that_size_keeps_its_pixels(roots: Path, tmp_path: Path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[-4:, -8:] = 255  # a trigger in the corner
    save(tmp_path / "pets" / "cat" / "wide.png", wide)
    pets(tmp_path / "pets")
    train, test, said = brought(tmp_path / "pets", size=8)
    files = prepared.files(roots / "pets")
    by_file = dict(zip([*files.train, *files.test], np.concatenate([train.images, test.images]), strict=True))
    assert by_file["cat/wide.png"][-1, -1].min() > 200 and by_file["cat/wide.png"][0, 0].max() == 0
    assert all(np.array_equal(by_file[f"dog/{at:03}.png"], picture(4 + at)) for at in range(4))
    assert "1 resized to 8 x 8, the whole frame: from 20 x 60 (1)" in said


def test_what_was_done_and_left_out_is_summed_up(roots: Path, tmp_path: Path, capsys):
    pets(tmp_path / "pets")
    for name, (make, _, _) in KINDS.items():
        make(tmp_path / "pets" / "cat" / name)
    (tmp_path / "pets" / "dog" / "broken.png").write_bytes(b"no image")
    assert main(["data", "import", str(tmp_path / "pets"), "--name", "pets", "--size", "16"]) == 0
    told = capsys.readouterr().out
    assert "resized to 16 x 16, the whole frame: from 8 x 8 (25)" in told
    assert "5 grey\n" in told and "4 of 16 bits a channel" not in told and "3 of 16 bits a channel" in told
    assert "files that cannot be read as images (1): 'dog/broken.png' (no image)" in told
    assert str(tmp_path) not in (roots / "pets" / "meta.json").read_text()


# Where images come from


def test_the_files_are_no_part_of_the_digest_and_only_imported_sets_have_them(roots: Path, tmp_path: Path):
    source = pets(tmp_path / "pets")
    train, test, _ = brought(source)
    prepared.write(roots / "copy", train, test, "")
    assert data.digest("copy") == data.digest("pets")
    assert prepared.files(roots / "copy") is None and prepared.files(roots / "pets") is not None
    kept = json.loads((roots / "pets" / "files.json").read_text())
    for wrong in ({}, kept | {"train": kept["train"][1:]}, kept | {"test": [1, 2]}):
        (roots / "pets" / "files.json").write_text(json.dumps(wrong))
        assert "files.json" in refused(prepared.files, roots / "pets")


def test_names_that_are_no_text_are_kept(roots: Path, tmp_path: Path):
    source = pets(tmp_path / "pets")
    odd = {os.fsdecode(b"cat/\xff.png"), "cat/a\nb.png", "cat/<b> 'x'.png"}
    for name in odd:
        save(source / name, picture(50), format="PNG")
    brought(source)
    assert odd <= {*prepared.files(roots / "pets").train, *prepared.files(roots / "pets").test}


# Arrays

LABELS = np.arange(12) % 2
RGB = picture(3, (12, 8, 8, 3))
ARRAYS = {
    "rgb": ({"images": RGB, "labels": LABELS}, RGB),
    "channels first": ({"images": RGB.transpose(0, 3, 1, 2), "labels": LABELS}, RGB),
    "grey": ({"x": RGB[..., 0], "y": LABELS[:, None]}, RGB[..., :1].repeat(3, 3)),
    "grey with a channel": ({"images": RGB[..., :1], "labels": LABELS.astype(np.uint8)}, RGB[..., :1].repeat(3, 3)),
    "16 bits": ({"images": RGB.astype(np.uint16) << 8, "labels": LABELS}, RGB),
    "16 bits, grey": ({"images": (RGB[..., 0].astype(">u2") << 8), "labels": LABELS}, RGB[..., :1].repeat(3, 3)),
    "opaque": ({"images": np.concatenate([RGB, RGB[..., :1] | 255], 3), "labels": LABELS}, RGB),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_become_the_same_images(roots: Path, tmp_path: Path, kind: str):
    arrays, expected = ARRAYS[kind]
    np.savez(tmp_path / "pets.npz", **arrays)
    train, test, _ = brought(tmp_path / "pets.npz")
    assert {image.tobytes() for image in np.concatenate([train.images, test.images])} == {
        image.tobytes() for image in expected
    }
    assert prepared.files(roots / "pets") is None
    images, labels = arrays.values()
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    brought(tmp_path / "images.npy", "pair", labels=tmp_path / "labels.npy")
    assert data.digest("pair") == data.digest("pets")


def test_labels_name_their_classes(roots: Path, tmp_path: Path):
    both = {"x_train": RGB, "x_test": RGB[:4]}
    for name, labels, more, classes in (
        ("numbers", LABELS * 90 + 10, {}, ("10", "100")),
        ("texts", np.array(["dog", "cat"])[LABELS], {}, ("cat", "dog")),
        ("named", LABELS, {"classes": np.array(CLASSES)}, CLASSES),
        ("bytes", LABELS, {"classes": np.array([b"caf\xc3\xa9", b"bar"])}, ("café", "bar")),
    ):
        np.savez(tmp_path / f"{name}.npz", **both, y_train=labels, y_test=labels[:4], **more)
        train, test, _ = brought(tmp_path / f"{name}.npz", name)
        assert train.classes == classes and (len(train), len(test)) == (12, 4)
        assert np.array_equal(train.labels, LABELS if name != "texts" else 1 - LABELS)


def test_what_an_archive_holds_beside_its_images_changes_nothing(roots: Path, tmp_path: Path):
    beside = {"val_images": 255 - RGB[:3], "val_labels": LABELS[:3], "x": np.zeros(12), "y": np.zeros(12)}
    for name, more in (("plain", {}), ("more", beside), ("named", {"classes": np.array(CLASSES)})):
        arrays = {"train_images": RGB, "train_labels": LABELS, "test_images": RGB[:4], "test_labels": LABELS[:4]}
        np.savez(tmp_path / f"{name}.npz", **arrays, **more)
        said = brought(tmp_path / f"{name}.npz", name)[2]
        left = [line for line in said if line.startswith("left out: ")]
        start = (
            "left out: arrays that are not taken (4): 'val_images' (shape (3, 8, 8, 3)), 'val_labels' (shape (3,)), "
        )
        assert (len(left) == 1 and left[0].startswith(start)) if name == "more" else not left
    assert data.digest("more") == data.digest("plain") != data.digest("named")


# Many images


def test_images_go_to_the_disk_one_by_one(roots: Path, tmp_path: Path):
    """The twin of the bound on memory: all of them together are far more."""
    source = pets(tmp_path / "many", 1, shape=(128, 128, 3))
    for name in CLASSES:
        for at in range(1, 200):
            os.link(source / name / "000.png", source / name / f"{at:03}.png")
    tracemalloc.start()
    try:
        train, _, _ = brought(source, "many")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert train.images.nbytes > 15e6 and peak < 5e6


def test_progress_is_told_every_ten_seconds(roots: Path, tmp_path: Path, monkeypatch):
    source = pets(tmp_path / "pets", 10)
    assert not [line for line in brought(source)[2] if line.endswith("images read")]
    now = iter(range(10_000))
    monkeypatch.setattr(reading.time, "monotonic", lambda: next(now))
    told = [line for line in brought(source, "slow")[2] if line.endswith("images read")]
    assert told and told[0] == "9 of 20 images read"


# What is done with it afterwards


def test_the_command_of_the_page_does_what_it_says(roots: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pets(tmp_path / "photos")
    (command,) = {
        one.text: one
        for one in ABLKIT
        if "import" in one.words and "photos" in one.words and one.page == "ablkit/README.md"
    }.values()
    assert main(command.words[1:]) == 0
    assert data.load("pets")[0].images.shape == (6, 32, 32, 3)
    assert "next: ablkit run run --preset smoke -p dataset pets" in capsys.readouterr().out
    assert "prepared.files" in TEXTS["ablkit/README.md"]


def test_a_class_without_test_images_is_told_and_is_no_target(roots: Path, tmp_path: Path):
    pets(tmp_path / "odd" / "train", 20, ("a", "b", "c"))
    pets(tmp_path / "odd" / "test", 4, ("b", "c"), start=90)
    _, _, said = brought(tmp_path / "odd", "odd")
    assert any("without test images: a; such a class can be no attack's target" in line for line in said)
    run = wanted(model="wrn-10-1", isolation_rate=0.1)
    assert "no test image of the target, class 0 ('a')" in refused(execute.check_against_data, run)
    execute.check_against_data(run.model_copy(update={"target": 1}))  # the twin
    assert not list(roots.parent.glob("runs/*"))


def test_the_line_for_a_folder_of_images_names_a_command_that_works(roots: Path, monkeypatch, capsys):
    pets(roots / "pets")
    said = refused(data.load, "pets")
    command = said.split("`")[1]
    assert command.startswith("ablkit data import ")
    assert main(command.split()[1:]) == 0 and said.endswith("then give 'pets-32'")
    assert len(data.load("pets-32")[0]) == 6
    prepared.write(roots / "own", some(), some(8), "")
    assert len(data.load("own")[0]) == 40  # the twin
