"""k-means that gives the same clusters whatever the number of threads is."""

from __future__ import annotations

import warnings

from ablkit.shapes import Float, Int64, ndarray


def k_means(
    points: Float[ndarray, "n d"], number: int, *, starts: int, seed: int, rounds: int = 300
) -> Int64[ndarray, " n"]:
    """The cluster of each point, 0 to `number` - 1; of several starts that with the points nearest to their means.

    Args:
        starts: how many are tried.
        seed: draws them.
        rounds: of one start, at most.
    """
    from sklearn.cluster import KMeans  # takes a second to import
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # Several threads add the points up in any order: a point midway then changes sides, and with it a verdict.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of points many of which are the same
        found = KMeans(number, n_init=starts, max_iter=rounds, random_state=seed).fit_predict(points)
    return found.astype("int64")
