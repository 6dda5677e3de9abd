"""How a number here is held against one of the paper's, and how numbers over seeds are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablkit.metrics import statistics
from ablkit.metrics.paper import PaperValue
from ablkit.report.findings import GONE, PRECISE
from ablkit.report.findings.words import FEWEST, limit
from ablkit.report.page import Cell
from ablkit.report.text import MISSING, number

LOW = PRECISE
"""An isolation precision below which isolation counts as failed: most of what is isolated is then clean."""
REPRODUCED = {"clean_accuracy_non_target": 0.01, "attack_success_rate": 0.02}
"""How near to the paper's number the mean over seeds must be, where that number is not within their range."""
WIDEST = 0.1
"""A range over seeds that is wider says nothing by holding the paper's number: any number would do."""
CLOSE = {"clean_accuracy_non_target": 0.03, "attack_success_rate": 0.05}
INTERVAL = (
    f"Below a mean stands the lowest and highest seed; CI: from {statistics.ENOUGH} seeds on, the 95 % BCa interval."
)

RED = f"Red: a defence that leaves more than {limit(GONE)} attack success."


def verdict(metric: str, values: Sequence[float], published: PaperValue | None) -> Cell:
    """What numbers at the paper's scale say of one of its numbers.

    `reproduced`, `close` or `missed` for a verified number; `agrees` or `differs`, in grey and never counted, for one
    that was transcribed from memory; else why there is no verdict.
    """
    if not len(values):
        return Cell("not run", kind="soft")
    if published is None:
        return Cell("no number known", kind="soft")
    mean = sum(values) / len(values)
    distance = abs(mean - published.value)
    if len(values) < FEWEST:
        return Cell(f"{len(values)} of {FEWEST} seeds", kind="soft")
    inside = min(values) <= published.value <= max(values) <= min(values) + WIDEST
    if published.mark != "verified":
        return Cell("agrees" if inside or distance <= CLOSE[metric] else "differs", kind="soft")
    if inside or distance <= REPRODUCED[metric]:
        return Cell("reproduced")
    return Cell("close") if distance <= CLOSE[metric] else Cell("missed", kind="bad")


def over_seeds(values: Sequence[float | None] | pd.Series, *, bad: bool | np.bool = False, digits: int = 1) -> Cell:
    """A mean in percent, below it its interval or range; a dash where nothing was measured.

    Args:
        values: fractions.
        bad: show it as a failure.
    """
    found = [float(value) for value in values if value is not None and value == value]
    if not found:
        return Cell(MISSING, kind="soft")
    whole = statistics.summary(found)
    low, high = (min(found), max(found)) if whole.low is None else (whole.low, whole.high)
    form, kind = f"{{:.{digits}f}}", "" if whole.low is None else "CI "
    small = "" if len(found) == 1 else f"{kind}{form.format(100 * low)} to {form.format(100 * high)}"
    return Cell(form.format(100 * whole.mean), small, "bad" if bad else "")


def counted(*numbers: int) -> str:
    """`3`, or `3 to 5`: the least and the most of how many runs there are of each method that has any; `0` for none."""
    known = [number for number in numbers if number] or [0]
    return " to ".join(str(end) for end in dict.fromkeys((min(known), max(known))))


def in_words(values: Sequence[float | None] | pd.Series) -> str:
    """`2.7 % (seeds 1.0 to 5.9)`: a mean in percent and the lowest and highest of several values."""
    found = [100 * float(value) for value in values if value is not None and value == value]
    if not found:
        return MISSING
    mean = f"{sum(found) / len(found):.1f} %"
    return mean if len(found) == 1 else f"{mean} (seeds {min(found):.1f} to {max(found):.1f})"


def percent_number(value: float | None, digits: int = 1) -> str:
    """A fraction in percent without its sign, for a column that names the unit."""
    return number(None if value is None or value != value else 100 * value, f"{{:.{digits}f}}")
