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
    number, height, width = first.shape[:3]
    swapped, stacked = stream.integers(0, 2, (2, number)).astype(bool)
    sides = np.where(stacked, height, width)
    cuts = (sides // 2 + stream.integers(-jitter, jitter + 1, number)).clip(1, sides - 1)
    starts, later_starts = stream.integers(0, sides - cuts + 1), stream.integers(0, cuts + 1)
    mixed = np.empty(first.shape, np.uint8)
    for i, (side, cut, start, later_start) in enumerate(zip(sides, cuts, starts, later_starts, strict=True)):
        parts = (second[i], first[i]) if swapped[i] else (first[i], second[i])
        # With rows and columns exchanged, what is stacked lies side by side too.
        left, right, whole = (x.swapaxes(0, 1) if stacked[i] else x for x in (*parts, mixed[i]))
        whole[:, :cut] = left[:, start : start + cut]
        whole[:, cut:] = right[:, later_start : later_start + side - cut]
    return mixed
