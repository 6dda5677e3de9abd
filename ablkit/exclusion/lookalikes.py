"""Images of a class that look alike, found by their thumbnails: frames of one film, copies, photographs of one thing.

Where a statement about some images is tried on others, look-alikes on both sides make it look true. So they are kept on
one side.
"""

from __future__ import annotations

import numpy as np

from ablkit.exclusion.clusters import k_means
from ablkit.randomness import numpy_stream
from ablkit.shapes import Float, Int64, UInt8, ndarray

_SIDE = 8
"""Pixels of a thumbnail."""
_TOGETHER = 20
"""Images of a group in the mean; chosen on GTSRB, seeds 100 and 101, without its tracks, from 10, 20, 30 and 45."""
_ROUNDS = 15
_AT_ONCE = 500


def groups(
    images: UInt8[ndarray, "n h w c"], labels: Int64[ndarray, " n"], seed: int = 0, draw: int = 0
) -> Int64[ndarray, " n"]:
    """A number for each image, the same for those of one class that look alike.

    Groups of about twenty: k-means of grey thumbnails of 8 x 8, each with mean 0 and deviation 1, so that brighter and
    darker frames of a film are alike. Where no images are alike, these groups are as good as drawn.

    Args:
        seed: draws where k-means starts; another `draw` is another place.
    """
    found = np.empty(len(labels), np.int64)
    state, known = int(numpy_stream(seed, "folds", 1, draw).integers(2**31)), 0
    for k in np.unique(labels):
        own = np.flatnonzero(labels == k)
        # Some at a time, as the images may be more than memory holds.
        parts = [_thumbnails(images[own[at : at + _AT_ONCE]]) for at in range(0, len(own), _AT_ONCE)]
        thumbnails = np.concatenate(parts)
        number = min(max(2, len(own) // _TOGETHER), len(own))
        found[own] = known + k_means(thumbnails, number, starts=1, seed=state, rounds=_ROUNDS)
        known += number
    return found


def _thumbnails(images: UInt8[ndarray, "n h w c"]) -> Float[ndarray, "n d"]:
    """Grey thumbnails, each pixel the mean of a part of the image, the parts as nearly of one size as may be."""
    small = images.mean(axis=3, dtype=np.float32)
    for axis in (1, 2):
        side = small.shape[axis]
        edges = np.linspace(0, side, min(side, _SIDE) + 1).astype(int)
        sums = np.add.reduceat(small, edges[:-1], axis=axis)
        small = sums / np.diff(edges).astype(np.float32).reshape((-1, 1) if axis == 1 else -1)
    small = small.reshape(len(images), -1)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(small.std(axis=1, keepdims=True), 1.0)
