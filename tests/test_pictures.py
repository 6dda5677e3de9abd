"""Strips of images: a frame exactly where an image is poisoned, every pixel as it is, the same bytes each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablkit.report import pictures
from ablkit.runs import drawings

EDGE = pictures.BORDER


def pixels(png: bytes) -> np.ndarray:
    drawings.check_picture(png)
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA"))


def tiles(strip: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """The tiles of a strip, row by row, with their borders."""
    down, across = height + 2 * EDGE, width + 2 * EDGE
    rows = [strip[at : at + down] for at in range(0, len(strip), down)]
    return [row[:, at : at + across] for row in rows for at in range(0, strip.shape[1], across)]


def inside(tile: np.ndarray) -> np.ndarray:
    return tile[EDGE:-EDGE, EDGE:-EDGE]


def border(tile: np.ndarray) -> np.ndarray:
    """The pixels of a tile's border, in a row."""
    is_border = np.ones(tile.shape[:2], bool)
    inside(is_border)[:] = False
    return tile[is_border]


SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(), (1,), (3,)]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), SHAPES, st.integers(1, 30))
def test_a_tile_is_framed_exactly_where_it_is_poisoned(seed, isolated, shape, count):
    random = np.random.default_rng(seed)
    height, width, channels = shape
    images = random.integers(0, 256, (40, height, width, *channels), dtype=np.uint8)
    is_poisoned = random.random(40) < 0.5
    order = random.permutation(40)[:isolated]
    found = tiles(pixels(pictures.isolated(images, order, is_poisoned, count)), height, width)
    shown = order[:count]
    assert len(found) == -(-len(shown) // min(10, len(shown))) * min(10, len(shown))
    for index, tile in zip(shown, found, strict=False):
        image = images[index] if images.ndim == 4 else images[index][..., None]
        np.testing.assert_array_equal(inside(tile)[..., :3], np.broadcast_to(image, (height, width, 3)))
        assert (inside(tile)[..., 3] == 255).all()
        # To be told without colour: a frame is there, or it is not.
        assert (border(tile)[:, 3] == (255 if is_poisoned[index] else 0)).all()
    assert all((tile == 0).all() for tile in found[len(shown) :])


def strip(framed: np.ndarray) -> bytes:
    images = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    return pictures.isolated(images, np.array([2, 0, 3]), framed)


def test_the_frame_follows_the_truth_and_the_bytes_follow_the_images():
    truth = np.array([True, False, False, True])
    assert strip(truth) == strip(truth)
    found = tiles(pixels(strip(truth)), 8, 8)
    assert [bool(border(tile)[:, 3].any()) for tile in found] == [False, True, True]
    # The twin: of other images.
    assert [bool(border(tile)[:, 3].any()) for tile in tiles(pixels(strip(~truth)), 8, 8)] == [True, False, False]


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_clean_and_poisoned_images_stand_as_they_are_over_their_difference(channels):
    random = np.random.default_rng(0)
    clean = random.integers(0, 256, (12, 5, 7, *channels), dtype=np.uint8)
    changed = clean.copy()
    changed[:, 0, 0] = 255 - changed[:, 0, 0]
    chosen = np.array([3, 1, 4, 11, 5, 9, 2, 6, 10])
    found = tiles(pixels(pictures.poisoned(clean, changed, chosen)), 5, 7)
    assert len(found) == 3 * 8
    for row, images in enumerate((clean, changed)):
        for index, tile in zip(chosen, found[8 * row : 8 * row + 8], strict=False):
            image = images[index] if channels else images[index][..., None]
            np.testing.assert_array_equal(inside(tile)[..., :3], np.broadcast_to(image, (5, 7, 3)))
    for index, tile in zip(chosen, found[16:], strict=False):
        expected = np.clip(128 + 5 * (int(changed[index].flat[0]) - int(clean[index].flat[0])), 0, 255)
        assert inside(tile)[0, 0, 0] == expected
        assert (inside(tile)[1:, :, :3] == 128).all()  # grey: nothing was changed here


def test_where_there_is_nothing_to_show_there_is_no_picture():
    images, nothing = np.zeros((2, 4, 4, 3), np.uint8), np.empty(0, np.int64)
    with pytest.raises(ValueError, match="no isolated image"):
        pictures.isolated(images, nothing, np.zeros(2, bool))
    with pytest.raises(ValueError, match="no poisoned image"):
        pictures.poisoned(images, images, nothing)
    assert pictures.poisoned(images, images, np.array([1]))


def test_an_enlarged_picture_repeats_its_pixels():
    small = strip(np.array([True, False, False, True]))
    large, times = pixels(pictures.enlarged(small, 100)), 100 // (3 * 12)
    np.testing.assert_array_equal(large, pixels(small).repeat(times, 0).repeat(times, 1))
    np.testing.assert_array_equal(pixels(pictures.enlarged(small, 1)), pixels(small))
