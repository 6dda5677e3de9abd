"""Which classes are suspected, which of their images, and what is left to train on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import refused
from groups import NOBODY, cloud, fake

from ablkit.exclusion import rule, splits, suspects


def judged(
    *classes: tuple[int, int, float], look: int = 1, left_out: np.ndarray | None = None, **settings: object
) -> tuple[suspects.Suspects, np.ndarray, np.ndarray]:
    """The verdict on classes of so many poisoned and clean images at a distance; labels, and which are poisoned."""
    parts = [cloud(*one, seed=seed) for seed, one in enumerate(classes)]
    labels = np.repeat(np.arange(len(classes)), [len(part[0]) for part in parts])
    order = np.random.default_rng(1).permutation(len(labels))
    features, values, poisoned = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    settings = rule.Settings(**settings)
    found = suspects.find(
        np.exp(values)[None], features, labels[order], len(classes) + 1, settings, look=look, left_out=left_out
    )
    return found, labels[order], poisoned


def test_the_class_of_two_groups_is_suspected_and_that_of_the_lower_losses_excluded():
    found, _, poisoned = judged((0, 500, 0.0), (300, 400, 14.0), (0, 400, 0.0))
    assert found.classes.tolist() == [1]
    assert poisoned[found.images].mean() > 0.99
    assert len(found.images) == pytest.approx(300, abs=3)
    assert np.isnan(found.separations[3])  # of the last class there is no image
    assert found.record()["largest_separation"] > 5 > found.record().get("largest_separation_of_others", 0)
    assert "of class 1" in str(found)


def test_poison_that_is_no_longer_ahead_at_the_end_is_found_by_the_median_over_the_epochs(monkeypatch):
    monkeypatch.setattr(splits, "_components", lambda features: np.empty((0, len(features))))  # by losses alone
    features, values, poisoned = cloud(300, 700, 6.0)
    turned = np.random.default_rng(5).permutation(len(values))  # the last epoch ranks them as chance does
    labels = np.zeros(len(values), np.int64)
    epochs = np.exp(np.stack([values, values, values, values, values[turned]]))
    found = suspects.find(epochs, features, labels, 1)
    assert found.classes.tolist() == [0] and poisoned[found.images].mean() > 0.98
    assert len(found.images) == pytest.approx(300, abs=10)
    # The twin: from the last epoch alone the poison is not found.
    alone = suspects.find(epochs[-1:], features, labels, 1)
    assert not len(alone.classes)


def test_no_class_is_suspected_where_none_has_two_groups():
    found, _, _ = judged((0, 500, 0.0), (0, 400, 0.0))
    assert len(found.classes) == len(found.images) == 0
    assert found.record()["suspected_classes"] == 0
    assert str(found) == "no class stands out; too few images to be judged: 1 of 3 classes"
    assert found.record()["judged_classes"] == 2
    assert str(replace(found, judged=np.ones(3, bool))) == "no class stands out"


def test_several_classes_may_be_suspected():
    found, _, poisoned = judged((0, 500, 0.0), (200, 300, 14.0), (0, 500, 0.0), (250, 300, 14.0))
    assert sorted(found.classes) == [1, 3]
    assert poisoned[found.images].sum() == pytest.approx(450, abs=4)


def test_a_rest_too_small_to_be_judged_again_is_marked():
    found, _, _ = judged((0, 500, 0.0), (300, 150, 14.0))
    assert found.classes.tolist() == [1] and found.cut_short.tolist() == [False, True, False]
    assert not judged((0, 500, 0.0), (300, 250, 14.0))[0].cut_short.any()  # the twin
    assert not found.unclear.any()


def test_what_either_look_could_not_tell_is_kept():
    labels = np.repeat(np.arange(10), 20)
    one, other, nobody = (np.arange(10) == number for number in (3, 7, 99))
    first = replace(fake(np.arange(15, 25), labels, 6.0), unclear=one, cut_short=other)
    second = replace(fake(np.arange(60, 65), labels, 9.0, look=2), unclear=other, cut_short=nobody)  # of class 3
    both = first.with_second(second, labels, first.of(NOBODY, labels))
    assert np.flatnonzero(both.unclear).tolist() == [7]  # that of class 3 the second look suspects
    assert np.flatnonzero(both.cut_short).tolist() == [7]
    blank = replace(second, unclear=np.empty(0, bool), cut_short=np.empty(0, bool))  # the twin: nothing is known
    assert np.flatnonzero(first.with_second(blank, labels, first.of(NOBODY, labels)).cut_short).tolist() == [7]


def test_a_handful_of_outliers_is_no_poison():
    assert len(judged((0, 500, 0.0), (40, 460, 14.0))[0].classes) == 1
    assert not len(judged((0, 500, 0.0), (40, 460, 14.0), least_group=50)[0].classes)
    assert not len(judged((0, 500, 0.0), (40, 460, 14.0), least_part=0.1)[0].classes)


def test_images_that_were_left_out_have_no_part_and_the_rest_of_their_class_is_judged():
    parts = (200, 300, 14.0), (0, 500, 0.0), (250, 300, 14.0)
    found, labels, _ = judged(*parts)
    sure = found.of(np.array([2]), labels).images
    rest, _, _ = judged(*parts, look=2, left_out=sure)
    assert found.classes.tolist() == [2, 0] and rest.classes.tolist() == [0]
    assert np.array_equal(rest.separations[:2], found.separations[:2])
    assert not np.nan_to_num(rest.separations[2]) > 5  # what is left of it is one group
    assert np.array_equal(rest.images, found.images[labels[found.images] == 0])
    assert rest.looks.tolist() == [2] * 4 and found.looks.tolist() == [1] * 4
    # Of poison that was left out in part the rest is found.
    half, _, _ = judged(*parts, look=2, left_out=sure[::2])
    assert half.classes.tolist() == [2, 0]
    assert set(half.images[labels[half.images] == 2]) == set(sure[1::2])


@pytest.mark.parametrize("triggers", [2, 5])
def test_each_of_several_triggers_is_a_group_and_all_are_found(triggers):
    parts = [cloud(120, 0, 14.0, seed=seed) for seed in range(triggers)]
    features, values, _ = (np.concatenate(column) for column in zip(*parts, cloud(0, 800, 0.0, seed=9), strict=True))
    labels, poisoned = np.zeros(len(values), np.int64), np.arange(len(values)) < 120 * triggers
    found = suspects.find(np.exp(values)[None], features, labels, 1)
    assert poisoned[found.images].mean() > 0.99 and len(found.images) == pytest.approx(120 * triggers, abs=3)
    # The twin: the first cut alone finds one of them, or several together, but not all.
    cuts = found.cuts[0]
    assert cuts[0].groups.first.sum() < 0.9 * 120 * triggers
    assert set(found.images) == set().union(*(cut.images[cut.groups.first] for cut in cuts))


def test_the_control_excludes_as_many_of_the_same_classes_by_chance():
    found, labels, poisoned = judged((0, 500, 0.0), (300, 400, 14.0))
    drawn = suspects.drawn_instead(found, labels, 0)
    assert np.array_equal(np.bincount(labels[found.images]), np.bincount(labels[drawn.images]))
    assert len(np.unique(drawn.images)) == len(drawn.images)
    assert poisoned[drawn.images].mean() == pytest.approx(3 / 7, abs=0.1)


def test_of_a_class_that_both_looks_suspect_the_second_decides_and_other_finds_are_joined():
    labels = np.repeat(np.arange(10), 20)
    first = fake(np.arange(15, 45), labels, 6.0)  # of classes 0, 1 and 2
    second = fake(np.arange(30, 65), labels, 9.0, look=2)  # of 1, 2 and 3
    none = first.of(NOBODY, labels)
    both = first.with_second(second, labels, none)
    assert both.images.tolist() == [*range(15, 20), *range(30, 65)]
    assert both.classes.tolist() == [1, 2, 3, 0]  # the farthest apart first
    assert both.looks.tolist() == [1, 2, 2, 2] + [1] * 6
    assert both.separations.tolist() == [6.0, 9.0, 9.0, 9.0] + [6.0] * 6
    assert [[cut.look for cut in cuts] for cuts in both.cuts] == [[look] for look in both.looks]
    assert both.after_phase_1.tolist() == [6.0] * 10 and both.at_end.tolist() == [9.0] * 10
    alone = first.with_second(fake(NOBODY, labels, 1.0, look=2), labels, none)  # the twin
    assert alone.images.tolist() == first.images.tolist() and alone.looks.tolist() == [1] * 10


def test_what_was_left_out_before_the_second_look_stays_whatever_that_finds_beside_it():
    labels = np.repeat(np.arange(10), 20)
    first = fake(np.arange(15, 35), labels, 6.0)  # of classes 0 and 1
    sure = first.of(np.array([1]), labels)
    second = fake(np.array([36, 38, 45]), labels, 9.0, look=2)  # more of class 1, and one of 2
    both = first.with_second(second, labels, sure)
    assert both.images.tolist() == [*range(15, 35), 36, 38, 45]
    assert both.classes.tolist() == [2, 0, 1] and both.looks.tolist() == [1, 1, 2] + [1] * 7
    assert both.separations.tolist() == [6.0, 6.0, 9.0] + [6.0] * 7
    assert [[cut.look for cut in cuts] for cuts in both.cuts[:4]] == [[1], [1, 2], [2], [1]]
    twin = first.with_second(second, labels, first.of(NOBODY, labels))  # of which it saw every image
    assert twin.images.tolist() == [*range(15, 20), 36, 38, 45]


def test_a_class_that_lost_much_is_filled_up_from_what_is_left_of_it():
    labels = np.repeat([0, 1, 2], [100, 120, 400])
    for suspected, wanted in ((0, 100), (2, 110)):  # as many as it had, or as the others have in the median
        own = np.flatnonzero(labels == suspected)
        found = suspects.Suspects(np.zeros(3), np.zeros(3), np.zeros(3), np.array([suspected]), own[:-30])
        kept = suspects.kept(labels, found, fill=True)
        assert np.bincount(labels[kept])[suspected] == wanted
        assert set(kept) == set(suspects.kept(labels, found, fill=False)) == set(range(620)) - set(own[:-30])
        counts = np.unique(kept[labels[kept] == suspected], return_counts=True)[1]
        assert counts.max() - counts.min() <= 1
        assert len(suspects.kept(labels, found, fill=False)) == 620 - len(own) + 30  # the twin


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_features_of_a_model_that_has_diverged_are_one_line(as_users_run_it, wrong):
    features, values, _ = cloud(0, 200, 0.0, seed=1)
    given = np.exp(values)[None], features, np.zeros(len(features), np.int64), 2
    assert not len(suspects.find(*given).images)  # the twin
    features[3, 1] = wrong
    assert "features are not finite" in refused(suspects.find, *given)
