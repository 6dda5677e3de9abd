"""Strips of images as they are, pixel for pixel: what was isolated, and what an attack does to images."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ablkit.report.style import FRAME
from ablkit.shapes import Bool, Int64, UInt8, ndarray

BORDER = 2
"""Pixels around each image."""
A_ROW = 10
"""Images in a row of `isolated`."""
GAIN = 5
"""How many times a difference is enlarged, around grey."""
_OPAQUE = (*(int(FRAME[at : at + 2], 16) for at in (1, 3, 5)), 255)


def isolated(
    images: UInt8[ndarray, "n h w *c"],
    isolated: Int64[ndarray, " k"],
    is_poisoned: Bool[ndarray, " n"],
    count: int = 20,
) -> bytes:
    """A PNG of the first isolated images, ten in a row: a poisoned one has a frame, any other a clear border.

    Args:
        isolated: indices of images, those with the lowest loss first.
        is_poisoned: of all images.

    Raises ValueError where none is isolated.
    """
    first = isolated[:count]
    if not len(first):
        raise ValueError("there is no isolated image to show")
    return _png([_tile(images[index], framed=bool(is_poisoned[index])) for index in first], A_ROW)


def poisoned(
    clean: UInt8[ndarray, "n h w *c"],
    changed: UInt8[ndarray, "n h w *c"],
    chosen: Int64[ndarray, " k"],
    count: int = 8,
) -> bytes:
    """A PNG of three rows: clean images, the same ones poisoned, and five times their difference, where grey is none.

    Args:
        chosen: indices of the images to show.

    Raises ValueError where none is chosen.
    """
    first = chosen[:count]
    if not len(first):
        raise ValueError("there is no poisoned image to show")
    before, after = clean[first], changed[first]
    difference = (128 + GAIN * (after.astype(int) - before)).clip(0, 255).astype(np.uint8)
    return _png([_tile(image) for row in (before, after, difference) for image in row], len(first))


def enlarged(png: bytes, width: int = 720) -> bytes:
    """The picture as many times as large as fits into a width in pixels, at least once: every pixel is a square."""
    with Image.open(io.BytesIO(png)) as picture:
        times = max(1, width // picture.width)
        return _encoded(picture.resize((times * picture.width, times * picture.height), Image.Resampling.NEAREST))


def _tile(image: UInt8[ndarray, "h w *c"], *, framed: bool = False) -> UInt8[ndarray, "H W 4"]:
    """An image in RGBA with its border."""
    image = image if image.ndim == 3 else image[..., None]
    height, width, _ = image.shape
    tile = np.zeros((height + 2 * BORDER, width + 2 * BORDER, 4), np.uint8)
    if framed:
        tile[:] = _OPAQUE
    inside = tile[BORDER:-BORDER, BORDER:-BORDER]
    inside[..., :3] = image  # grey is spread over the three
    inside[..., 3] = 255
    return tile


def _png(tiles: list[ndarray], columns: int) -> bytes:
    """Tiles of one size, row by row; what is left of the last row is clear."""
    columns = min(columns, len(tiles))
    empty = [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    tiles = [*tiles, *empty]
    rows = [np.concatenate(tiles[at : at + columns], axis=1) for at in range(0, len(tiles), columns)]
    return _encoded(Image.fromarray(np.concatenate(rows)))


def _encoded(picture: Image.Image) -> bytes:
    """The bytes of a PNG, without a date or anything else that could differ."""
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=9)
    return stream.getvalue()
