"""Which examples are taken for poisoned: those with the lowest loss at the turning epoch."""

from __future__ import annotations

import numpy as np

from ablkit.errors import UserError
from ablkit.shapes import Float, Int64, ndarray


def isolated_count(n: int, rate: float) -> int:
    """How many of `n` examples a rate isolates; raises UserError where that is none or all of them."""
    if not n:
        raise UserError("there are no training images, so none can be isolated")
    count = round(rate * n)
    if not 0 < count < n:
        raise UserError(
            f"isolation_rate {rate} selects {count} of {n} training images; raise it to at least {1 / n:.2g}"
            if count == 0
            else f"isolation_rate {rate} selects all of {n} training images; lower it (the paper uses 0.01)"
        )
    return count


def isolate(losses: Float[ndarray, " n"], rate: float) -> Int64[ndarray, " k"]:
    """Indices of the `rate` share of examples with the lowest loss, lowest first; ties go to the lower index."""
    return np.argsort(losses, kind="stable")[: isolated_count(len(losses), rate)]
