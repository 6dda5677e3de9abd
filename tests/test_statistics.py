"""Means come with n, intervals only where there are enough values, and differences are paired."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from ablkit.metrics import statistics


def test_the_interval_of_a_known_sample_holds_its_mean_and_is_the_same_each_time():
    values = np.random.default_rng(0).normal(0.7, 0.02, 40)
    found = statistics.summary(values)
    assert found.low < values.mean() < found.high
    # Near the normal interval of such a sample, 1.96 standard errors on each side.
    error = 1.96 * values.std(ddof=1) / np.sqrt(40)
    assert found.high - found.low == pytest.approx(2 * error, rel=0.25)
    assert statistics.summary(values) == found
    assert str(found).endswith("(n = 40)")


def test_there_is_no_interval_for_fewer_than_five_values():
    assert statistics.summary([0.1, 0.2, 0.3, 0.4]).low is None
    assert statistics.summary([0.1, 0.2, 0.3, 0.4, 0.5]).low is not None
    assert statistics.summary([0.5] * 5) == statistics.Summary(0.5, 0.5, 0.5, 5)
    assert statistics.summary([0.5, float("nan")]).n == 1
    assert np.isnan(statistics.summary([]).mean)


def test_differences_are_paired_by_seed():
    frame = pd.DataFrame(
        {"seed": [0, 1, 0, 1, 2], "method": ["none"] * 2 + ["abl"] * 3, "ca": [0.8, 0.6, 0.7, 0.5, 0.1]}
    )
    found = statistics.difference(frame, "ca", "method", "abl", "none")
    assert found.mean == pytest.approx(-0.1)
    assert found.n == 2  # seed 2 has no partner
    # The twin: the difference of the means would be another number.
    means = frame.groupby("method")["ca"].mean()
    assert means["abl"] - means["none"] != pytest.approx(-0.1, abs=0.05)
    with pytest.raises(ValueError, match="duplicate"):
        statistics.difference(pd.concat([frame, frame]), "ca", "method", "abl", "none")


SAMPLES = ([0.80, 0.83, 0.85, 0.854, 0.86], [1.0, 2.0, 3.0, 4.0, 9.0], [3.0, 1.0, 4.0, 1.0, 5.0, 9.0])


@pytest.mark.parametrize("values", SAMPLES)
def test_few_values_have_the_interval_of_all_their_resamples_whatever_their_sign(values):
    values = np.array(values)
    found, turned = statistics.summary(values), statistics.summary(-values)
    assert (turned.low, turned.high) == (pytest.approx(-found.high), pytest.approx(-found.low))
    # scipy's, of resamples that are drawn; its ends lie on one of the few means that resamples can have.
    drawn = bootstrap((values,), np.mean, method="BCa", n_resamples=100_000, rng=np.random.default_rng(1))
    within = 0.1 * np.ptp(values)
    assert found.low == pytest.approx(drawn.confidence_interval.low, abs=within)
    assert found.high == pytest.approx(drawn.confidence_interval.high, abs=within)
    # The twin: the plain percentiles of the resamples are another interval, as the values lie on one side.
    plain = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert (found.low, found.high) != (pytest.approx(plain.low), pytest.approx(plain.high))
