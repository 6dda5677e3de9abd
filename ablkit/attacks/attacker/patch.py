"""A square patch on an image: what several attacks generate, stamp and show."""

from __future__ import annotations

import numpy as np

from ablkit.shapes import UInt8, ndarray


def stamp(
    images: UInt8[ndarray, "n h w c"], patch: UInt8[ndarray, "s s c"], where: tuple[slice, slice]
) -> UInt8[ndarray, "n h w c"]:
    """Copies of `images` with the patch in place of what was there, at rows and columns `where`."""
    stamped = np.array(images)
    stamped[:, *where] = patch
    return stamped


def enlarged(patch: UInt8[ndarray, "s s c"], shape: tuple[int, int, int]) -> UInt8[ndarray, "h w c"]:
    """The patch as a picture of a shape (h, w, c), each of its pixels a rectangle."""
    rows, columns = (np.arange(side) * len(patch) // side for side in shape[:2])
    return patch[np.ix_(rows, columns)]
