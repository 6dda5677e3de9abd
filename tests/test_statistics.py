"""Means come with n, intervals only where there are enough values, and differences are paired."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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
