"""Made-up groups of images, and verdicts on them."""

from __future__ import annotations

import numpy as np

from ablkit.exclusion import splits, suspects

NOBODY = np.empty(0, np.int64)
"""The images of a verdict that suspects none."""


def cloud(first: int, others: int, distance: float, *, seed: int = 0, dimensions: int = 40) -> tuple[np.ndarray, ...]:
    """Features of two groups that differ in one of many directions, and values that tell them apart badly."""
    random = np.random.default_rng(seed)
    is_first = np.arange(first + others) < first
    direction = random.normal(size=dimensions)
    direction *= distance / np.linalg.norm(direction)
    features = random.normal(size=(first + others, dimensions)) + is_first[:, None] * direction
    return features, random.normal(size=first + others) - 2.0 * is_first, is_first


def halves(n: int) -> np.ndarray:
    """In which half each of so many images is."""
    return np.random.default_rng(3).permutation(n) % 2


def fake(images: np.ndarray, labels: np.ndarray, separation: float = 20.0, look: int = 1) -> suspects.Suspects:
    """A verdict that these images are poisoned, each of its class, and that all classes are as far apart as this."""
    numbers = np.full(10, separation)
    nothing = splits.Groups(np.zeros(0, bool), separation, np.nan, np.zeros(0))
    classes = np.unique(labels[images])
    cuts = ((suspects.Cut(NOBODY, nothing, look),),) * 10
    return suspects.Suspects(numbers, numbers, numbers, classes, images, cuts, np.ones(10, bool), np.full(10, look))
