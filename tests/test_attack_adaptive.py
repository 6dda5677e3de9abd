"""What hides a fixed trigger: poison for three classes, cover images, inconsistent labels."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from conftest import refused, toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Identity

from ablkit import attacks, metrics
from ablkit.attacks import attack, badnets
from ablkit.data import Images

NAMES = ("badnets", "blend")
seeds, targets = st.integers(0, 1000), st.integers(0, 9)


def drawn(number: int, classes: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (number, 8, 8, 3), dtype=np.uint8)
    return Images(pixels, np.arange(number) % classes, tuple("abcdefghij"[:classes]), "drawn")


def triggered(poisoned: attack.Poisoned, train: Images, chosen: np.ndarray) -> np.ndarray:
    return poisoned.triggered.change(train.images[chosen])


@pytest.mark.parametrize("name", NAMES)
def test_by_default_nothing_is_added(name):
    train = toy(200, 1)
    plain, told = (attacks.poison(train, name, **own) for own in ({}, {"cover": 0.0, "consistency": 1.0}))
    assert not plain.is_decoy.any() and (plain.data.labels[plain.is_poisoned] == 0).all()
    digests = [hashlib.sha256(p.data.images.tobytes() + p.data.labels.tobytes()).hexdigest() for p in (plain, told)]
    assert digests[0] == digests[1]


# Three classes


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(targets, seeds)
def test_the_poison_is_spread_over_three_classes(name, target, seed):
    train = toy(200, 1)
    poisoned = attacks.poison(train, name, rate=0.3, target=target, seed=seed, labels="all2three")
    chosen, true = poisoned.is_poisoned, poisoned.true_labels
    assert poisoned.aims.tolist() == [(target + y % 3) % 10 for y in range(10)]
    assert np.array_equal(poisoned.data.labels[chosen], poisoned.aims[true[chosen]])
    assert len(set(poisoned.data.labels[chosen].tolist())) == 3
    assert chosen.sum() == 60
    assert (poisoned.aims[true[chosen]] != true[chosen]).all()  # what is of its aim already is not poisoned
    assert np.array_equal(poisoned.data.labels[~chosen], train.labels[~chosen])
    # The twin: by default it is one class.
    plain = attacks.poison(train, name, rate=0.3, target=target, seed=seed)
    assert set(plain.data.labels[plain.is_poisoned].tolist()) == {target}


def test_the_attack_success_rate_counts_the_aim_of_each_image(monkeypatch):
    test, poisoned = toy(100, 2), attacks.poison(toy(200, 1), labels="all2three", target=4)
    tried = poisoned.triggered(test)
    assert np.array_equal(tried.aims, poisoned.aims[tried.labels]) and len(set(tried.aims.tolist())) == 3

    def rate(answer: np.ndarray) -> float:
        answers = iter([test.labels, answer])
        monkeypatch.setattr("ablkit.metrics.definitions.predict", lambda *_: next(answers))
        return metrics.evaluate(Identity(), test, poisoned, "fp32", tried)["attack_success_rate"]

    assert rate(tried.aims) == 1.0
    assert rate(tried.labels) == 0.0
    # The twin: a model that takes all for the target has only those that are to be taken for it.
    assert rate(np.full(len(tried.aims), 4)) == pytest.approx((tried.aims == 4).mean())
    assert 0 < (tried.aims == 4).mean() < 1


@pytest.mark.parametrize(("classes", "target", "fits"), [(3, 1, False), (4, 0, False), (4, 1, True), (6, 0, True)])
def test_too_few_classes_for_three_aims_are_refused(classes, target, fits):
    options = {"labels": "all2three", "target": target, "rate": 0.1}
    if fits:
        assert attacks.poison(drawn(60, classes), **options).is_poisoned.sum() == 6
    else:
        told = refused(attacks.poison, drawn(60, classes), **options)
        assert f"labels all2three needs 4 classes, with target 0 six, but drawn has {classes}" in told


# Cover images


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(st.floats(0, 0.4), targets, seeds, st.sampled_from(["all2one", "all2three"]))
def test_cover_images_have_the_trigger_and_keep_their_labels(name, share, target, seed, labels):
    train = toy(200, 1)
    own = {"rate": 0.2, "target": target, "seed": seed, "labels": labels}
    poisoned, plain = (attacks.poison(train, name, **own, cover=cover) for cover in (share, 0.0))
    cover = poisoned.is_decoy
    assert cover.sum() == round(share * 200)
    assert not (cover & poisoned.is_poisoned).any()
    assert np.array_equal(poisoned.data.labels[cover], train.labels[cover])
    assert not np.isin(train.labels[cover], poisoned.aims).any()
    assert np.array_equal(poisoned.data.images[cover], triggered(poisoned, train, cover))
    # They come on top: without them the same images are poisoned, to the same bytes.
    assert np.array_equal(plain.is_poisoned, poisoned.is_poisoned)
    assert np.array_equal(plain.data.images[~cover], poisoned.data.images[~cover])
    assert not plain.is_decoy.any()


def test_cover_images_count_as_clean():
    poisoned = attacks.poison(toy(200, 1), cover=0.2)
    cover, found = np.flatnonzero(poisoned.is_decoy), np.flatnonzero(poisoned.is_poisoned)
    both = np.concatenate([cover, found])
    assert metrics.isolation_quality(cover, poisoned.is_poisoned) == {
        "isolation_precision": 0.0,
        "isolation_recall": 0.0,
    }
    assert metrics.isolation_quality(both, poisoned.is_poisoned)["isolation_precision"] == len(found) / len(both)


# Inconsistent labels


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(st.floats(0.05, 1), targets, seeds, st.sampled_from(["all2one", "all2all", "all2three"]))
def test_a_share_of_the_poisoned_images_gets_the_label_aimed_at_and_no_other_keeps_its_own(
    name, share, target, seed, labels
):
    train = toy(200, 1)
    own = {"rate": 0.2, "target": target, "seed": seed, "labels": labels}
    poisoned, plain = (attacks.poison(train, name, **own, consistency=part) for part in (share, 1.0))
    chosen, given_labels = poisoned.is_poisoned, poisoned.data.labels
    aimed_at = given_labels == poisoned.aims[poisoned.true_labels]
    assert aimed_at[chosen].sum() == round(share * 40)
    assert (given_labels[chosen] != train.labels[chosen]).all()
    assert np.array_equal(given_labels[~chosen], train.labels[~chosen])
    assert np.array_equal(plain.is_poisoned, chosen)
    assert np.array_equal(plain.data.images, poisoned.data.images)


def test_other_labels_are_spread_over_all_classes_and_the_images_count_as_poisoned():
    poisoned = attacks.poison(toy(1000, 1), rate=0.5, consistency=0.5)
    chosen = poisoned.is_poisoned
    assert chosen.sum() == 500  # with the 250 that get another label
    counts = np.bincount(poisoned.data.labels[chosen], minlength=10)
    assert counts[0] == 250 and (counts[1:] > 10).all()


# Several triggers


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(st.integers(2, 5), seeds)
def test_every_image_has_one_of_the_triggers_and_always_the_same(name, number, seed):
    train = toy(200, 1)
    poisoned, plain = (attacks.poison(train, name, rate=0.5, seed=seed, triggers=k) for k in (number, 1))
    assert np.array_equal(poisoned.is_poisoned, plain.is_poisoned)
    chosen = np.flatnonzero(poisoned.is_poisoned)
    changes = poisoned.triggered.change.keywords["changes"]
    each = np.stack([change(train.images[chosen]) for change in changes])
    has = (each == poisoned.data.images[chosen]).all(axis=(2, 3, 4))
    assert has.shape == (number, 100) and (has.sum(axis=0) == 1).all() and (has.sum(axis=1) >= 3).all()
    # Whatever images come with it, an image gets the same.
    assert np.array_equal(poisoned.triggered.change(train.images[chosen[::-3]]), poisoned.data.images[chosen[::-3]])
    # The twin: with one trigger all images have it, and it is the first of them.
    assert np.array_equal(plain.data.images[chosen], each[0])


def test_the_patches_of_several_triggers_face_the_centre_and_four_of_them_are_the_four_corners():
    images = toy(20, 1).images
    together = images
    for place in range(4):
        together = badnets.stamp(together, place=place)
    assert np.array_equal(together, badnets.stamp(images, "four_corners"))
    middle = badnets.stamp(images, place=4)
    changed = np.argwhere((middle != images).any(axis=(0, 3)))
    assert changed.min(axis=0).tolist() == [7, 7] and changed.max(axis=0).tolist() == [9, 9]  # of 16 x 16
    assert not np.array_equal(badnets.stamp(images, place=1)[:, :3, :3], badnets.stamp(images, place=0)[:, -3:, -3:])


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cover": 0.95}, "cover 0.95 asks for 190 images, but only 160 are neither poisoned nor of a class that"),
        (
            {"cover": 0.1, "labels": "all2all"},
            "only 0 are neither poisoned nor of a class that the attack aims at; lower",
        ),
        ({"cover": -0.1}, "cover -0.1 is outside [0, 1)"),
        ({"cover": float("nan")}, "cover nan is outside [0, 1)"),
        ({"consistency": 0.0}, "consistency 0.0 is outside (0, 1]"),
        ({"consistency": 1.5}, "consistency 1.5 is outside (0, 1]"),
        ({"triggers": 0}, "triggers 0 is outside 1 to 5"),
        ({"triggers": 6}, "triggers 6 is outside 1 to 5"),
        ({"triggers": 2, "released": True}, "the authors' code has one; leave out one of the two"),
        ({"triggers": 2, "variant": "four_corners"}, "has no room beside variant four_corners"),
        ({"triggers": 2, "pattern": "stripes", "attack": "blend"}, "but there is one of stripes; take noise"),
        ({"labels": "all2four"}, "'all2four' is no labels of badnets"),
    ],
)
def test_what_cannot_be_hidden_is_said_in_one_line(options, message, as_users_run_it):
    assert message in refused(attacks.choose, toy(200, 1), **options)  # before anything is made


def test_two_classes_have_no_third_label(as_users_run_it):
    assert "consistency 0.5 needs a third class" in refused(attacks.poison, drawn(40, 2), consistency=0.5)
    assert attacks.poison(drawn(40, 3), consistency=0.5).is_poisoned.any()


def test_clean_data_have_no_cover():
    clean = attacks.poison(toy(200, 1), rate=0.0, cover=0.3, consistency=0.5)
    assert not clean.is_decoy.any() and np.array_equal(clean.data.images, toy(200, 1).images)
    assert (clean.triggered(toy(50, 2)).images[:, -3:, -3:] == badnets.PATTERN[None, :, :, None]).all()
