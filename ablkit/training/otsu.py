"""Values that come from two groups, cut between these without being told how large they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ablkit.shapes import Float, ndarray


class Split(NamedTuple):
    """Where values are cut in two; nan where all are the same, or there are none."""

    cut: float
    share: float
    """Share of the variance that the cut explains."""


def best_split(values: Float[ndarray, " n"]) -> Split:
    """Otsu's split (Otsu 1979): of all cuts it leaves the least variance inside the two parts.

    Equal values stay together.
    """
    values = np.sort(values)
    n = len(values)
    if n < 2 or values[0] == values[-1]:
        return Split(np.nan, np.nan)
    centred, below = values - values.mean(), np.arange(1, n)
    # Between-class variance of the split after each value: as the total is 0, it is s^2 / (k (n - k)).
    explained = np.cumsum(centred)[:-1] ** 2 / (below * (n - below))
    explained[values[1:] == values[:-1]] = -1
    best = int(np.argmax(explained))
    share = explained[best] / np.square(centred).mean()
    return Split(float((values[best] + values[best + 1]) / 2), float(share))
