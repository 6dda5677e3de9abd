"""What thumbnails tell: images of a class that look alike, and images that look like those of another class.

Frames of one film, copies and photographs of one thing look alike. Where a statement about some images is tried on
others, look-alikes on both sides make it look true, so they are kept on one side. And an image that an attacker took
from another class looks like the images of that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ablkit.exclusion.clusters import k_means
from ablkit.randomness import numpy_stream
from ablkit.shapes import Bool, Float, Int64, UInt8, ndarray

_SIDE = 8
"""Pixels of a thumbnail."""
_TOGETHER = 20
"""Images of a group in the mean; chosen on GTSRB, seeds 100 and 101, without its tracks, from 10, 20, 30 and 45."""
_ROUNDS = 15
_AT_ONCE = 500
_NEAREST = 5
"""Images of any class that an image is held against."""


class Looks(NamedTuple):
    """What is known of a set by the look of its images alone."""

    alike: Callable[[int], Int64[ndarray, " n"]]
    """Draw -> a number for each image, the same for those that are nearly the same: the tracks or subjects of a set
    that knows them, else `groups`."""
    kinds: Int64[ndarray, " n"]
    """See `groups`."""
    cells: Float[ndarray, "n d"]
    """See `cells_of`."""


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
        parts = [_cells(images[own[at : at + _AT_ONCE]]) for at in range(0, len(own), _AT_ONCE)]
        thumbnails = _scaled(np.concatenate(parts))
        number = min(max(2, len(own) // _TOGETHER), len(own))
        found[own] = known + k_means(thumbnails, number, starts=1, seed=state, rounds=_ROUNDS)
        known += number
    return found


def spread(kinds: Int64[ndarray, " n"]) -> float:
    """Over how many groups of look-alikes images are spread: the exponential of the entropy; 0 for no image."""
    _, counts = np.unique(kinds, return_counts=True)
    shares = counts / max(1, counts.sum())
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(kinds) else 0.0


def of_their_class(
    cells: Float[ndarray, "n d"], labels: Int64[ndarray, " n"], own: Int64[ndarray, " m"], first: Bool[ndarray, " m"]
) -> tuple[float, float]:
    """How often images of two groups of a class look like images of that class, above what chance gives.

    Of each image the five that look most like it are taken, whatever their class; the share of them that has its label,
    less the share of the whole set that has. It is near 0 for poison taken from all classes. A trigger that shows in a
    thumbnail makes poison look like poison, so the half of the cells in which the groups differ most is left out.

    Args:
        cells: see `cells_of`.
        own: indices of the images of the class.
        first: which of these are of the first group; neither group is empty.

    Returns:
        That of the first group and that of the other, each at most 1.
    """
    scaled = _scaled(cells[own])
    groups = scaled[first], scaled[~first]
    deviation = np.sqrt(np.maximum(sum(group.var(axis=0) for group in groups) / 2, 1e-6))
    differing = np.abs(groups[0].mean(axis=0) - groups[1].mean(axis=0)) / deviation
    least = np.sort(np.argsort(differing, kind="stable")[: len(differing) // 2 + 1])
    left, usual = _scaled(cells[:, least]), len(own) / len(labels)
    lengths, count = (left**2).sum(axis=1), min(_NEAREST, len(labels) - 1)
    shares = np.empty(len(own))
    for at in range(0, len(own), _AT_ONCE):
        part = own[at : at + _AT_ONCE]
        distances = lengths - 2 * left[part] @ left.T  # squared, but for what is the same in a row
        distances[np.arange(len(part)), part] = np.inf
        nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
        shares[at : at + _AT_ONCE] = (labels[nearest] == labels[part, None]).mean(axis=1)
    return float(shares[first].mean() - usual), float(shares[~first].mean() - usual)


def cells_of(images: UInt8[ndarray, "n h w c"]) -> Float[ndarray, "n d"]:
    """Grey thumbnails of at most 8 x 8: each cell the mean of a part of the image, the parts of nearly one size."""
    # Some at a time, as the images may be more than memory holds.
    return np.concatenate([_cells(images[at : at + _AT_ONCE]) for at in range(0, len(images), _AT_ONCE)])


def _cells(images: UInt8[ndarray, "n h w c"]) -> Float[ndarray, "n d"]:
    small = images.mean(axis=3, dtype=np.float32)
    for axis in (1, 2):
        side = small.shape[axis]
        edges = np.linspace(0, side, min(side, _SIDE) + 1).astype(int)
        sums = np.add.reduceat(small, edges[:-1], axis=axis)
        small = sums / np.diff(edges).astype(np.float32).reshape((-1, 1) if axis == 1 else -1)
    return small.reshape(len(images), -1)


def _scaled(cells: Float[ndarray, "n d"]) -> Float[ndarray, "n d"]:
    """Each row with mean 0 and deviation 1, but for those that are nearly of one grey."""
    centred = cells - cells.mean(axis=1, keepdims=True)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), 1.0)
