"""Numbers over seeds: a mean with its interval, and the difference of two methods on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

ENOUGH = 5
"""Values from which on an interval is given: bootstrapping fewer pretends to know what three numbers cannot say."""
_ENUMERATED = 6
"""Values up to which all their resamples are looked at, 46,656 of six, and none is drawn at random."""
_ROUNDING = 1e-12
"""Values that differ by less than this are the same, but for how they were rounded."""


@dataclass(frozen=True)
class Summary:
    """A mean, and its 95 % interval where there are enough values."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.mean:.4g} (n = {self.n})"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}] (n = {self.n})"


def summary(values: list[float] | np.ndarray | pd.Series) -> Summary:
    """Mean and 95 % BCa bootstrap interval (Efron 1987), always the same one for the same values.

    Missing values are left out, and their order is no matter. There is no interval for fewer than five values; for
    equal ones, but for how they were rounded, it is their mean.
    """
    from scipy.stats import bootstrap

    found = np.asarray(values, dtype=float)
    found = np.sort(found[~np.isnan(found)])
    n = len(found)
    mean = float(found.mean()) if n else float("nan")
    if n < ENOUGH:
        return Summary(mean, None, None, n)
    if np.ptp(found) <= _ROUNDING * max(1.0, abs(mean)):
        return Summary(mean, mean, mean, n)
    if n <= _ENUMERATED:
        return Summary(mean, *_exact(found), n)
    interval = bootstrap((found,), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    return Summary(mean, float(interval.low), float(interval.high), n)


def _exact(values: np.ndarray) -> tuple[float, float]:
    """The BCa interval of the mean over every resample, rather than some that are drawn: it is that of the negated
    values, negated."""
    from scipy.stats import norm

    n, mean = len(values), values.mean()
    resampled = np.stack(np.meshgrid(*[values] * n), axis=-1).reshape(-1, n).mean(axis=1)
    tie = _ROUNDING * max(1.0, abs(mean))
    below = ((resampled < mean - tie).mean() + (resampled <= mean + tie).mean()) / 2
    bias, left_out = norm.ppf(below), (values - mean) / (n - 1)  # the mean, less each mean without one value
    acceleration = (left_out**3).sum() / (6 * (left_out**2).sum() ** 1.5)
    ends = bias + norm.ppf([0.025, 0.975])
    low, high = np.quantile(resampled, norm.cdf(bias + ends / (1 - acceleration * ends)))
    return float(low), float(high)


def difference(frame: pd.DataFrame, metric: str, column: str, first: str, second: str) -> Summary:
    """Mean of `first` minus `second` of a column, paired by seed; seeds that only one of them has are left out.

    Args:
        frame: runs, one a row, with a column `seed`; for instance those of one attack from `runs.load`.

    Raises ValueError where a seed comes twice, as then something else than the column differs too.
    """
    values = frame.pivot(index="seed", columns=column, values=metric)
    return summary((values[first] - values[second]).dropna())


def by_kind(frame: pd.DataFrame, parameters: Sequence[str]) -> pd.DataFrame:
    """A row for each kind of run, those that differ in their seed alone.

    Columns: the parameters that vary, beside the seed, `method` at least; `attack_success_rate`, its mean over the
    seeds with an interval where there are enough; and `minus_none`, what it is more than that of the undefended runs of
    the same seeds that all else is the same in, empty where there are none.

    Args:
        frame: finished runs of run.ipynb, one a row; see `runs.load`.
        parameters: names of all that run.ipynb has.
    """
    texts = frame[list(parameters)].astype(str)
    varied = [name for name in parameters if name != "seed" and (name == "method" or texts[name].nunique() > 1)]
    others = [name for name in varied if name not in ("method", "method_settings")]
    rows = []
    for kind, own in frame.groupby(varied, sort=False, dropna=False):
        none = frame[(frame["method"] == "none") & (texts[others] == texts.loc[own.index[0], others]).all(axis=1)]
        both = pd.concat([own, none])
        is_compared = own["method"].iloc[0] != "none" and set(own["seed"]) & set(none["seed"])
        change = difference(both, "attack_success_rate", "method", own["method"].iloc[0], "none") if is_compared else ""
        row = {"attack_success_rate": str(summary(own["attack_success_rate"])), "minus_none": str(change)}
        rows.append(dict(zip(varied, kind, strict=True)) | row)
    return pd.DataFrame(rows)
