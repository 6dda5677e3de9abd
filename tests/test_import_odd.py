"""Odd folders one by one: each is refused in one line, or its oddity is counted, named and left out."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from pets import bring, check_refused, pets, picture, save
from PIL import Image

from ablkit.cli import main
from ablkit.data import importing, pictures, prepared


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
    "classes that differ in a blank": (lambda source: pets(source, classes=("cat ",)), "'cat' and 'cat ' differ in"),
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
        "all 4 images of 16 bits of class 'cat', such as 'cat/000.png', have no value above 4,095 of 65,535",
    ),
    "a class of one image": (one_left, "class 'cat' has 1 image that can be read"),
    "a class of broken images": (all_broken, "class 'cat' has no training image that can be read"),
    "a test class that is not trained on": (lambda source: with_test(source, "cat", "cow"), "'cow' that the training"),
    "a test set of broken images": (broken_test, "no test image that can be read"),
    "several sizes": (
        lambda source: save(source / "cat" / "x.png", picture(9, (9, 8, 3))),
        "several sizes: 8 x 8 (8 images), 9 x 8 (1 images); give --size 32",
    ),
    "images too large to train on": (
        lambda source: [save(path, picture(at, (300, 257, 3))) for at, path in enumerate(source.rglob("*.png"))],
        "images of 300 x 257 are larger than 256 x 256, and a training on them needs too much memory; give --size 64",
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


def test_large_images_are_taken_with_a_size_and_up_to_256_without(roots: Path, tmp_path: Path):
    """The twin of the refusal above."""
    assert bring(pets(tmp_path / "large", 2, shape=(300, 257, 3)), "--size", "8") == 0
    assert main(["data", "import", str(pets(tmp_path / "most", 2, shape=(256, 256, 3))), "--name", "most"]) == 0


def test_a_chosen_class_may_be_written_in_another_form_of_unicode(roots: Path, tmp_path: Path, capsys):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    source = pets(tmp_path / "pets", classes=(apart, "dog", "elk"))
    assert bring(source, "--classes", f"dog,{composed}") == 0
    assert prepared.read(roots / "pets")[0].classes == ("dog", apart)
    capsys.readouterr()
    code = main(["data", "import", str(source), "--name", "other", "--classes", f"dog,{composed},{apart}"])
    assert code == 2 and "2 times; name each class once" in capsys.readouterr().err
    assert main(["data", "import", str(source), "--name", "other", "--classes", "dog,cafe"]) == 2  # the twin


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
