"""The half/half mixer: a part of one image beside, or above, a part of another."""

from __future__ import annotations

import numpy as np

from ablkit.shapes import UInt8, ndarray


def mix(
    first: UInt8[ndarray, "n h w c"], second: UInt8[ndarray, "n h w c"], jitter: int, stream: np.random.Generator
) -> UInt8[ndarray, "n h w c"]:
    """An image of each pair, of one part from each, the rest of both cut off.

    Drawn for each: whether the cut is vertical or horizontal, which image comes first (left, or on top), how far the
    cut lies from the middle, up to `jitter` pixels, and which window of its image, as large as its part, is shown. At
    least one row or column of each is left. Source: the half/half mixer of the attack's paper with the defaults of its
    authors' code (no gap, windows drawn, jitter 3 of 32 pixels).
    """
    swapped, stacked = stream.integers(0, 2, (2, len(first))).astype(bool)
    lead, follow = (np.where(swapped[:, None, None, None], *pair) for pair in ((second, first), (first, second)))
    mixed = np.empty_like(lead)
    for turn, these in ((True, stacked), (False, ~stacked)):
        one, other = (side[these].swapaxes(1, 2) if turn else side[these] for side in (lead, follow))
        joined = beside(one, other, jitter, stream)
        mixed[these] = joined.swapaxes(1, 2) if turn else joined
    return mixed


def beside(
    left: UInt8[ndarray, "n h w c"], right: UInt8[ndarray, "n h w c"], jitter: int, stream: np.random.Generator
) -> UInt8[ndarray, "n h w c"]:
    """Columns of `left` up to a cut and columns of `right` after it, each from a window of its image."""
    number, width = len(left), left.shape[2]
    cut = (width // 2 + stream.integers(-jitter, jitter + 1, number)).clip(1, width - 1)
    starts = stream.integers(0, width - cut + 1), stream.integers(0, cut + 1)
    column = np.arange(width)
    is_left = column < cut[:, None]
    source = np.where(is_left, starts[0][:, None] + column, starts[1][:, None] + column - cut[:, None])
    parts = (np.take_along_axis(side, source[:, None, :, None], axis=2) for side in (left, right))
    return np.where(is_left[:, None, :, None], *parts)
