"""k-means, and what it gives whatever runs beside it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from ablkit.exclusion.clusters import k_means

POINTS = """
import numpy as np
from ablkit.exclusion.clusters import k_means
points = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
print(k_means(points, 60, starts=1, seed={seed}, rounds=15).tolist())
"""


def clusters(threads: int, seed: int = 0) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    return subprocess.run(
        [sys.executable, "-c", POINTS.format(seed=seed)], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_clusters_are_the_same_whatever_the_number_of_threads_is():
    assert clusters(1) == clusters(2) == clusters(6)
    assert clusters(1) != clusters(1, seed=1)  # the twin


def test_points_of_clear_groups_are_told_apart():
    random = np.random.default_rng(0)
    middles = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 50, axis=0)
    found = k_means(middles + random.normal(size=(150, 2)), 3, starts=5, seed=0)
    assert all(len(set(found[at : at + 50])) == 1 for at in (0, 50, 100)) and len(set(found)) == 3
    mixed = k_means(random.normal(size=(150, 2)), 3, starts=5, seed=0)  # the twin: of one group
    assert any(len(set(mixed[at : at + 50])) > 1 for at in (0, 50, 100))


@pytest.mark.parametrize("number", [1, 3])
def test_points_that_are_all_the_same_are_no_error(number):
    assert len(k_means(np.ones((10, 2)), number, starts=1, seed=0)) == 10
