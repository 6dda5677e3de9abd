"""The images of a class are cut in two: what begins a group, what finishes it, which of the two is the usual one."""

from __future__ import annotations

import numpy as np
import pytest
from groups import cloud, halves
from hypothesis import given
from hypothesis import strategies as st

from ablkit.exclusion import rule, splits
from ablkit.training.otsu import best_split


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30))
def test_no_other_cut_leaves_less_variance(values):
    values = np.array(values, np.float64)
    cut, share = best_split(values)
    if np.ptp(values) == 0:
        assert np.isnan([cut, share]).all()
        return

    def left(cut: float) -> float:
        return sum(len(part) * part.var() for part in (values[values < cut], values[values >= cut]))

    assert left(cut) == pytest.approx(min(left(other) for other in np.unique(values)[1:]), abs=1e-9)
    assert share == pytest.approx(1 - left(cut) / (len(values) * values.var()), abs=1e-9)


@pytest.mark.parametrize("first", [25, 100, 900])
def test_features_finish_what_the_values_begin(first):
    features, values, is_first = cloud(first, 1000 - first, 14.0)
    groups = splits.two_groups(features, values[None], halves(1000))
    assert (groups.first == is_first).mean() > 0.998
    assert groups.separation > rule.Settings().least_separation
    assert groups.valley < rule.Settings().most_valley
    # The twin: the values alone leave many where they do not belong.
    assert ((values < best_split(values).cut) == is_first).mean() < 0.95


def test_a_group_of_which_the_values_say_nothing_is_found_by_the_features(monkeypatch):
    features, values, is_first = cloud(300, 700, 8.0)
    drawn = np.random.default_rng(5).permutation(values)[None]
    groups = splits.two_groups(features, drawn, halves(1000))
    assert max((groups.first == is_first).mean(), (groups.first != is_first).mean()) > 0.998
    monkeypatch.setattr(splits, "_components", lambda features: np.empty((0, len(features))))
    alone = splits.two_groups(features, drawn, halves(1000))  # the twin
    assert not alone.valley <= rule.Settings().most_valley


@pytest.mark.parametrize(("seed", "distance"), [(6, 11), (1, 12), (11, 14)])
def test_a_trigger_of_two_that_no_component_tells_from_the_rest_is_found_from_clusters(monkeypatch, seed, distance):
    random = np.random.default_rng(seed)
    trigger, directions = np.repeat([1, 2, 0], [250, 250, 500]), random.normal(size=(2, 60))
    directions *= distance / np.linalg.norm(directions, axis=1, keepdims=True)
    shifts = np.concatenate([np.zeros((1, 60)), directions])
    contents = random.normal(size=(1000, 4)) @ random.normal(size=(4, 60))  # what images differ in whatever the trigger
    features = random.normal(size=(1000, 60)) + contents + shifts[trigger]
    values = random.normal(size=(1, 1000))
    groups = splits.two_groups(features, values, halves(1000), 25)
    assert groups.valley < 0.1 and groups.separation > 5
    shares = sorted(groups.first[trigger == one].mean() for one in range(3))
    assert shares[1] < 0.01 or shares[1] > 0.99  # two of the three are whole on one side, and the third on the other
    assert min(shares) < 0.01 and max(shares) > 0.99
    monkeypatch.setattr(splits, "_clusters", lambda components: [])
    assert splits.two_groups(features, values, halves(1000), 25).valley > 0.5  # the twin


@pytest.mark.parametrize("is_slower", [False, True])
def test_the_first_group_is_the_one_that_lies_farther_from_what_is_usual(is_slower):
    features, values, is_first = cloud(300, 700, 14.0)
    values = -values[None] if is_slower else values[None]
    usual = features[~is_first].mean(axis=0)
    assert (splits.two_groups(features, values, halves(1000), usual=usual).first == is_first).mean() > 0.998
    turned = features[is_first].mean(axis=0)  # the twin
    assert (splits.two_groups(features, values, halves(1000), usual=turned).first != is_first).mean() > 0.998


def test_a_feature_that_is_silent_in_a_class_does_not_decide_which_group_is_the_usual_one(monkeypatch):
    def is_wrong(seed: int) -> bool:
        features, values, is_first = cloud(300, 700, 10.0, seed=seed)
        random = np.random.default_rng(seed)
        silent = (random.random((1000, 5)) < 0.02) * random.random((1000, 5)) * 0.05
        usual = np.append(features[~is_first].mean(axis=0), np.ones(5))  # active in other images
        features = np.concatenate([features, silent], axis=1)
        found = splits.two_groups(features, values[None], halves(1000), 25, usual)
        return (found.first == is_first).mean() < 0.5

    assert not any(is_wrong(seed) for seed in range(8))
    monkeypatch.setattr(splits, "_FARTHEST", 1e9)  # the twin
    assert any(is_wrong(seed) for seed in range(8))


@given(st.integers(0, 50), st.integers(10, 60), st.integers(1, 12))
def test_the_spread_of_all_gives_the_direction_that_the_spread_inside_the_groups_gives(seed, count, size):
    random = np.random.default_rng(seed)
    features, first = random.normal(size=(count, size)) * random.uniform(0.5, 2, size), np.arange(count) < count // 3
    parts = features[first], features[~first]
    scores = splits._discriminant(*parts, splits._inverse_spread(features))(features)
    means = [part.mean(axis=0) for part in parts]
    centred = np.concatenate([part - mean for part, mean in zip(parts, means, strict=True)])
    inside = centred.T @ centred / count + splits._RIDGE * np.eye(size)
    direction = np.linalg.solve(inside, means[1] - means[0])
    expected = (features - (means[0] + means[1]) / 2) @ direction / (direction @ (means[1] - means[0]))
    assert scores == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("n", [60, 300, 1000])
def test_one_group_is_not_taken_for_two_however_many_dimensions_there_are(n):
    for seed in range(5):
        features, values, _ = cloud(0, n, 0.0, seed=seed, dimensions=150)
        groups = splits.two_groups(features, values[None], halves(n))
        assert not groups.separation >= rule.Settings().least_separation


def test_two_groups_are_not_found_in_nothing():
    nothing = splits.two_groups(np.ones((30, 4)), np.zeros((1, 30)), halves(30))
    assert np.isnan(nothing.separation)
    assert not nothing.first.any()
