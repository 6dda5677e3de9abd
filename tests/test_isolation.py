"""Isolation takes exactly the lowest losses; its metrics agree with counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import refused
from hypothesis import given
from hypothesis import strategies as st

from ablkit import metrics
from ablkit.errors import UserError
from ablkit.training import isolate
from ablkit.training.isolation import isolated_count


@given(st.lists(st.floats(0, 10, width=32), min_size=10, max_size=200), st.floats(0.1, 0.9))
def test_the_isolated_are_exactly_the_lowest(losses, rate):
    losses = np.array(losses, np.float32)
    isolated = isolate(losses, rate)
    assert len(isolated) == round(rate * len(losses)) == len(set(isolated.tolist()))
    rest = np.setdiff1d(np.arange(len(losses)), isolated)
    assert losses[isolated].max() <= losses[rest].min()
    assert (np.diff(losses[isolated]) >= 0).all()


def test_ties_go_to_the_lower_index():
    assert isolate(np.array([1.0, 0.0, 0.0, 0.0], np.float32), 0.5).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("rate", "message"),
    [(0.001, "selects 0 of 100 training images; raise it to at least 0.01"), (0.999, "selects all")],
)
def test_a_rate_that_isolates_nothing_or_everything_is_refused(rate, message):
    with pytest.raises(UserError, match=message):
        isolate(np.zeros(100, np.float32), rate)


def test_precision_recall_and_auroc_agree_with_counts():
    poisoned = np.array([True, True, False, False, True])
    losses = np.array([0.1, 0.9, 0.5, 0.2, 0.3], np.float32)
    quality = metrics.isolation_quality(np.array([0, 3]), poisoned)
    assert quality == {"isolation_precision": 1 / 2, "isolation_recall": 1 / 3}
    # Pairs (poisoned, clean) with the poisoned loss lower: 0.1 beats both, 0.3 beats 0.5, 0.9 none: 3 of 6.
    assert metrics.isolation_auroc(losses, poisoned) == pytest.approx(3 / 6)
    assert metrics.isolation_auroc(np.zeros(5, np.float32), poisoned) == pytest.approx(0.5)
    assert metrics.isolation_auroc(losses, np.zeros(5, bool)) is None


def test_accuracies_agree_with_counts():
    predicted, labels = np.array([0, 0, 1, 2, 2, 1]), np.array([0, 1, 1, 2, 0, 2])
    assert metrics.accuracies(predicted, labels, target=0) == {
        "clean_accuracy": 3 / 6,
        "clean_accuracy_non_target": 2 / 4,
        "target_class_accuracy": 1 / 2,
    }


def test_of_no_images_none_can_be_isolated():
    assert "no training images" in refused(isolated_count, 0, 0.1)
    assert isolated_count(10, 0.1) == 1  # the twin
