"""An attack touches exactly what it announces, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablkit import attacks
from ablkit.attacks import ATTACKS, badnets
from ablkit.data import Images
from ablkit.errors import UserError


def images(number: int, seed: int, size: int = 12) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (number, size, size, 3), dtype=np.uint8)
    return Images(pixels, random.integers(0, 4, number), tuple("abcd"), "random")


# Number, seed and size of a set; it is made inside the test, as the type checker draws random numbers of its own.
sets = st.tuples(st.integers(20, 80), st.integers(0, 10_000), st.integers(6, 20))
rates = st.floats(0, 0.3)
targets = st.integers(0, 3)


@settings(max_examples=40, deadline=None)
@given(sets, rates, targets, st.integers(0, 100))
def test_poisoning_changes_exactly_the_announced_images_and_pixels(shape, rate, target, seed):
    train = images(*shape)
    poisoned = attacks.poison(train, rate=min(rate, (train.labels != target).mean()), target=target, seed=seed)
    chosen = poisoned.is_poisoned
    assert chosen.sum() == round(min(rate, (train.labels != target).mean()) * len(train))
    assert not (train.labels[chosen] == target).any()
    assert (poisoned.labels[chosen] == target).all()
    assert np.array_equal(poisoned.labels[~chosen], train.labels[~chosen])
    assert np.array_equal(poisoned.images[~chosen], train.images[~chosen])
    assert np.array_equal(poisoned.true_labels, train.labels)
    patched = poisoned.images[chosen].copy()
    assert (patched[:, -3:, -3:] == badnets.PATTERN[None, :, :, None]).all()
    patched[:, -3:, -3:] = train.images[chosen][:, -3:, -3:]
    assert np.array_equal(patched, train.images[chosen])


@settings(max_examples=20, deadline=None)
@given(sets, targets, st.integers(0, 100))
def test_rate_zero_changes_nothing(shape, target, seed):
    train = images(*shape)
    poisoned = attacks.poison(train, rate=0.0, target=target, seed=seed)
    assert np.array_equal(poisoned.images, train.images)
    assert np.array_equal(poisoned.labels, train.labels)
    assert not poisoned.is_poisoned.any()


def test_the_seed_alone_chooses_the_images():
    train = images(200, 0)
    first, again, other = (attacks.poison(train, seed=seed) for seed in (0, 0, 1))
    assert first.images.tobytes() == again.images.tobytes()
    assert not np.array_equal(first.is_poisoned, other.is_poisoned)


def test_target_images_are_drawn_only_when_asked_for():
    train = images(400, 0)
    without, with_them = (attacks.poison(train, rate=0.5, target=1, include_target=x) for x in (False, True))
    assert not (without.true_labels[without.is_poisoned] == 1).any()
    assert (with_them.true_labels[with_them.is_poisoned] == 1).any()


@pytest.mark.parametrize("name", ATTACKS)
def test_the_trigger_at_test_time_is_that_of_the_training(name):
    train = images(100, 3)
    poisoned = attacks.poison(train, name, rate=0.2)
    chosen = poisoned.is_poisoned
    assert np.array_equal(poisoned.trigger(train.images[chosen]), poisoned.images[chosen])
    one_by_one = np.concatenate([poisoned.trigger(train.images[i : i + 1]) for i in range(10)])
    assert np.array_equal(one_by_one, poisoned.trigger(train.images[:10]))
    assert one_by_one.dtype == np.uint8
    # The twin: without the trigger the images are others.
    assert not np.array_equal(train.images[chosen], poisoned.images[chosen])


def test_the_source_is_left_alone():
    train = images(50, 0)
    before = train.images.tobytes()
    attacks.poison(train, rate=0.3)
    assert train.images.tobytes() == before


def test_badnets_is_the_checker_of_the_paper_on_rows_and_columns_29_to_31():
    stamped = badnets.stamp(np.full((1, 32, 32, 3), 7, np.uint8))[0]
    assert stamped[29:, 29:, 0].tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 255]]
    assert (stamped != 7).sum() == 27


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "badnet"}, "'badnet' is no attack; did you mean 'badnets'?"),
        ({"rate": 1.0}, "poison_rate 1.0 is outside [0, 1)"),
        ({"rate": -0.1}, "poison_rate -0.1 is outside [0, 1)"),
        ({"target": 4}, "target 4 is no class of random; choose 0 to 3"),
        ({"rate": 0.99}, "may be poisoned (not of the target class); lower it to 0."),
    ],
)
def test_what_cannot_be_poisoned_is_said_in_one_line(options, message):
    with pytest.raises(UserError) as error:
        attacks.poison(images(50, 0), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
