"""Pictures that turn nearly black, as their upper 8 bits are taken or as they hold small numbers: never in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from pets import bring, check_refused, pets, picture, save
from test_import import deep_colour

from ablkit.cleaning import model_card
from ablkit.data import class_folders, pictures, prepared


def deep(path: Path, bits: int, seed: int = 1) -> Path:
    """A grey picture of 16 bits of which so many are used."""
    return save(path, picture(seed, (8, 8)).astype(np.uint16) << (bits - 8))


def all_deep(source: Path, bits: int, name: str = "cat") -> None:
    for at, path in enumerate(sorted((source / name).iterdir())):
        deep(path, bits, 50 + at)


@pytest.mark.parametrize(("bits", "word"), [(8, ["nearly black"]), (12, ["nearly black"]), (14, ["dark"]), (16, [])])
def test_a_dark_picture_of_16_bits_is_told(tmp_path: Path, bits: int, word: list[str]):
    for ending in ("png", "tiff"):
        with pictures.opened(str(deep(tmp_path / f"a.{ending}", bits))) as image:
            assert pictures.rgb(image, may_be_black=True)[1] == ["grey", "16 bits", *word]
            if "nearly black" in word:
                with pytest.raises(pictures.Unusable, match="of its 16 bits no value is above 4,095"):
                    pictures.rgb(image)


def test_colours_of_16_bits_are_judged_and_8_bits_and_black_are_not(tmp_path: Path, monkeypatch):
    def words(path: Path) -> list[str]:
        with pictures.opened(str(path)) as image:
            return pictures.rgb(image, may_be_black=True)[1]

    deep_colour(tmp_path / "a.png")
    assert words(tmp_path / "a.png") == ["16 bits"]
    monkeypatch.setattr("test_import.COLOUR", picture(2) // 16)
    deep_colour(tmp_path / "a.png")
    assert words(tmp_path / "a.png") == ["16 bits", "nearly black"]
    assert words(save(tmp_path / "b.png", picture(2) // 16)) == []
    assert words(save(tmp_path / "c.png", np.zeros((8, 8), np.uint16))) == ["grey", "16 bits"]


def test_a_class_of_dark_pictures_is_refused(roots: Path, tmp_path: Path, capsys):
    source = pets(tmp_path / "pets")
    all_deep(source, 12)
    message = "all 4 images of 16 bits of class 'cat', such as 'cat/000.png', have no value above 4,095 of 65,535"
    check_refused(bring(source), capsys, roots, message)
    all_deep(source, 16)
    assert bring(source) == 0  # the twin
    assert "which are dark" not in capsys.readouterr().out


def test_some_dark_pictures_are_counted_and_named(roots: Path, tmp_path: Path, capsys):
    source = pets(tmp_path / "pets", 6)
    all_deep(source, 16)
    for at in range(4):
        deep(source / "cat" / f"00{at}.png", 12, 60 + at)
    deep(source / "cat" / "004.png", 14, 70)
    assert bring(source) == 0
    told = capsys.readouterr().out
    line = "images of 16 bits without a value above 4,095 of 65,535, which are dark (4): 'cat/000.png', 'cat/001.png',"
    assert f"{line} 'cat/002.png' and 1 more; save them as 8 bits, scaled to 0 to 255" in told
    assert "above 16,383 of 65,535, which are dark (1): 'cat/004.png'; if their range ends there, save them" in told


def test_what_reads_one_picture_refuses_a_dark_one(tmp_path: Path):
    pets(tmp_path, 1, ("dog",))
    card = model_card.Card.model_construct(height=8, width=8)
    assert model_card.pixels(card, deep(tmp_path / "cat" / "a.png", 16)).shape == (8, 8, 3)
    assert class_folders.read(tmp_path, "pets", size=8).classes == ("cat", "dog")
    deep(tmp_path / "cat" / "a.png", 12)
    for one in (
        lambda: model_card.pixels(card, tmp_path / "cat" / "a.png"),
        lambda: class_folders.read(tmp_path, "x", size=8),
    ):
        assert "of its 16 bits no value is above 4,095, so it would be nearly black: save it as 8 bits" in refused(one)


def test_numbers_in_place_of_grey_are_refused_or_told(roots: Path, tmp_path: Path, capsys):
    source = pets(tmp_path / "pets")
    for at in range(4):
        save(source / "cat" / f"00{at}.png", picture(at, (8, 8)) % 17)
    assert bring(source) == 0
    assert (
        "no training image of class 'cat' has a value above 16 of 255: if they are not to be" in capsys.readouterr().out
    )
    prepared.read(roots / "pets")
    for at in range(4):
        save(source / "dog" / f"00{at}.png", picture(9 + at, (8, 8)) % 2)
    assert bring(source, "--name", "other") == 2
    assert "no training image has a value above 16 of 255, so all are nearly black" in capsys.readouterr().err
    for path in source.rglob("*.png"):
        save(path, picture(len(str(path)) + int(path.stem), (8, 8)) % 18)
    assert bring(source, "--name", "twin") == 0
    assert "nearly black" not in capsys.readouterr().out
