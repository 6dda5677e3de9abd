"""What every benchmark needs: images, and how many a second go through something."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from ablkit import data, paths


def cifar_images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's first training images where they are prepared, else random ones: the speed is the same."""
    if (paths.data_root() / "cifar10" / "meta.json").exists():
        train, _ = data.load("cifar10")
        return np.array(train.images[:n]), np.array(train.labels[:n])
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), generator.integers(0, 10, n)


def rate(epoch: Callable, images: np.ndarray, labels: np.ndarray) -> float:
    """Images per second of one pass that ends with its result on the host."""
    started = time.perf_counter()
    epoch(images, labels)
    return len(labels) / (time.perf_counter() - started)


def median_rate(epoch: Callable, images: np.ndarray, labels: np.ndarray, rounds: int) -> float:
    """The median of some rounds of `rate`, after one that warms up."""
    return statistics.median([rate(epoch, images, labels) for _ in range(rounds + 1)][1:])
