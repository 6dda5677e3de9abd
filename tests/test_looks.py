"""What the look of images tells: which of two groups of a class is the poison, and which is a film or two."""

from __future__ import annotations

import numpy as np
import pytest

from ablkit.exclusion import lookalikes, rule, splits, suspects

CLASSES, EACH, TAKEN = 5, 300, 20
"""Of the set below: its classes, their images, and how many of each class the attacker puts into class 0."""


def poisoned_set(bar: int = 0, clean_label: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of classes that look different, of which class 0 holds poison; labels, and which are poisoned.

    Args:
        bar: brightness of the trigger, two columns at the left.
        clean_label: the attacker takes images of class 0 itself.
    """
    random = np.random.default_rng(0)
    scenes = random.integers(40, 160, (CLASSES, 8, 8)).repeat(2, 1).repeat(2, 2)
    truth = np.repeat(np.arange(CLASSES), EACH)
    images = scenes[truth] + random.normal(0, 25, (len(truth), 16, 16))
    rank = np.tile(np.arange(EACH), CLASSES)
    is_poisoned = (truth == 0) & (rank < 4 * TAKEN) if clean_label else (truth > 0) & (rank < TAKEN)
    images[is_poisoned, :, :2] += bar
    labels = np.where(is_poisoned, 0, truth)
    return images.clip(0, 255).astype(np.uint8)[..., None].repeat(3, 3), labels, is_poisoned


def looks_of(images: np.ndarray) -> lookalikes.Looks:
    """What is known of images of which each kind of look-alikes has as many."""
    kinds = np.arange(len(images)) % 20
    return lookalikes.Looks(lambda draw: kinds, kinds, lookalikes.cells_of(images))


def judged(
    monkeypatch, looks: lookalikes.Looks | None, labels: np.ndarray, first: np.ndarray, apart: float = 9.0, **settings
) -> list[int]:
    """The excluded images, where the first cut of class 0 has these images as its first group."""
    return found_of(monkeypatch, looks, labels, first, apart, **settings).images.tolist()


def found_of(
    monkeypatch, looks: lookalikes.Looks | None, labels: np.ndarray, first: np.ndarray, apart: float, **settings
) -> suspects.Suspects:
    """The same verdict, whole."""

    def cut(features, values, half, fewest, usual):
        own = features[:, 0].astype(int)  # the index of each image
        if (labels[own] != 0).any() or not first[own].any() or first[own].all():
            return splits.Groups(np.zeros(len(own), bool), np.nan, np.nan, np.zeros(len(own)))
        return splits.Groups(first[own], apart, 0.0, np.where(first[own], -0.5, 0.5))

    monkeypatch.setattr(suspects, "two_groups", cut)
    features = np.arange(len(labels), dtype=float)[:, None]
    given = np.ones((1, len(labels))), features, labels, CLASSES, rule.Settings(**settings)
    return suspects.find(*given, looks=looks)


@pytest.mark.parametrize("bar", [0, 150])
def test_the_group_that_looks_like_other_classes_is_the_poison_whichever_lies_farther(monkeypatch, bar):
    images, labels, is_poisoned = poisoned_set(bar)
    poison, clean = np.flatnonzero(is_poisoned).tolist(), np.flatnonzero((labels == 0) & ~is_poisoned).tolist()
    looks = looks_of(images)
    for first in (is_poisoned, ~is_poisoned):
        assert judged(monkeypatch, looks, labels, first) == poison
    assert judged(monkeypatch, None, labels, ~is_poisoned) == clean  # the twin: without a look the first group is it


def test_a_trigger_that_shows_does_not_make_poison_look_like_its_class():
    images, labels, is_poisoned = poisoned_set(bar=150)
    own, cells = np.flatnonzero(labels == 0), lookalikes.cells_of(images)
    poison, clean = lookalikes.of_their_class(cells, labels, own, is_poisoned[own])
    assert poison < 0.05 and clean > 0.6
    # The twin: by whole thumbnails most of the poison looks like other poison.
    whole = lookalikes._scaled(cells)
    distances = ((whole[is_poisoned][:, None] - whole[None]) ** 2).sum(axis=2)
    nearest = np.argsort(distances, axis=1)[:, 1:6]
    assert (labels[nearest] == 0).mean() > 0.5


def test_where_the_look_does_not_tell_the_farther_group_is_it_and_has_to_lie_farther(monkeypatch):
    images, labels, is_poisoned = poisoned_set(clean_label=True)
    looks, poison = looks_of(images), np.flatnonzero(is_poisoned).tolist()
    least = rule.Settings().least_separation_alike
    assert judged(monkeypatch, looks, labels, is_poisoned, least) == poison
    assert judged(monkeypatch, looks, labels, is_poisoned, least - 0.1) == []
    assert judged(monkeypatch, looks, labels, is_poisoned, least - 0.1, least_separation_alike=0.0) == poison
    told_images, told_labels, told = poisoned_set()  # the twin: where it tells, less is enough
    told_looks = looks_of(told_images)
    assert judged(monkeypatch, told_looks, told_labels, told, least - 0.1) == np.flatnonzero(told).tolist()


def test_a_group_of_few_kinds_of_look_alikes_is_no_poison_unless_it_looks_like_other_classes(monkeypatch):
    images, labels, is_first = poisoned_set(clean_label=True)
    looks, rank = looks_of(images), np.arange(len(labels))
    kinds = np.where(is_first, rank % 4, looks.kinds + 4)
    assert lookalikes.spread(kinds[is_first]) == pytest.approx(4)
    films = looks._replace(kinds=kinds)
    assert judged(monkeypatch, films, labels, is_first) == judged(monkeypatch, films, labels, ~is_first) == []
    assert np.flatnonzero(found_of(monkeypatch, films, labels, is_first, 9.0).unclear).tolist() == [0]  # it is told
    assert not found_of(monkeypatch, looks, labels, is_first, 9.0).unclear.any()
    assert len(judged(monkeypatch, looks, labels, is_first)) == is_first.sum()  # the twins: of many kinds,
    images, labels, is_poisoned = poisoned_set()  # and of few, but from other classes
    strange = looks_of(images)._replace(kinds=np.where(is_poisoned, rank % 4, looks.kinds + 4))
    assert len(judged(monkeypatch, strange, labels, is_poisoned)) == is_poisoned.sum()


def test_a_class_of_few_kinds_is_asked_for_half_of_them(monkeypatch):
    images, labels, is_first = poisoned_set(clean_label=True)
    looks, rank = looks_of(images), np.arange(len(labels))
    assert len(judged(monkeypatch, looks._replace(kinds=rank % 6), labels, is_first)) == is_first.sum()
    apart = np.where(is_first, rank % 2, 2 + rank % 4)  # the twin: two of the six hold all of the group
    assert judged(monkeypatch, looks._replace(kinds=apart), labels, is_first) == []


def test_spread_is_how_many_groups_of_equal_size_would_be_as_mixed():
    assert lookalikes.spread(np.repeat([3, 7, 9], 20)) == pytest.approx(3)
    assert 1 < lookalikes.spread(np.repeat([3, 7], [99, 1])) < 1.1
    assert lookalikes.spread(np.empty(0, np.int64)) == 0
