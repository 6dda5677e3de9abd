"""An attack touches exactly what it announces, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from ablkit import attacks
from ablkit.attacks import ATTACKS, attack, badnets, blend, sig
from ablkit.data import Images
from ablkit.errors import UserError


def images(number: int, seed: int, size: int = 16) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (number, size, size, 3), dtype=np.uint8)
    labels = random.permutation(np.arange(number) % 4)  # as many of each class, since some attacks need certain ones
    return Images(pixels, labels, tuple("abcd"), "random")


# Number, seed and size of a set; it is made inside the test, as the type checker draws random numbers of its own.
sets = st.tuples(st.integers(20, 80), st.integers(0, 10_000), st.integers(6, 20))
rates = st.floats(0, 0.3)
targets = st.integers(0, 3)

STRONGER_AT_TEST_TIME: set[str] = {"cl", "fc"}
"""Attacks that do more to a training image than the trigger does at test time."""

ALL = sorted(ATTACKS)
ONE_IMAGE = [name for name in ALL if name != "cba"]
"""Attacks whose trigger is put on one image; that of cba is made of two, see `test_attack_cba`."""
SMALL: dict[str, dict] = {
    "trojan": {"surrogate_epochs": 1, "steps": 2},
    "dynamic": {"mask_epochs": 1, "epochs": 1, "width": 2},
    "cl": {"surrogate_epochs": 1, "steps": 2},
    "lba": {"surrogate_epochs": 1, "steps": 2},
    "fc": {"surrogate_epochs": 1, "steps": 2},
    "dfst": {"images": 40, "epochs": 1, "width": 2, "blocks": 1, "rounds": 1, "model_epochs": 1, "retrain_epochs": 1}
    | {"injector_epochs": 1, "threshold": 0, "growth": 0},
}
"""Attack -> settings with which it takes a moment; the others need none."""


def poison(train: Images, name: str, **options) -> attack.Poisoned:
    return attacks.poison(train, name, device="cpu", precision="fp32", **SMALL.get(name, {}), **options)


def largest_rate(train: Images, name: str, target: int) -> float:
    """The rate at which every image that may be poisoned is."""
    return 0.99 if ATTACKS[name].kind == "clean label" else (train.labels != target).mean()


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=15, deadline=None)
@given(sets, rates, targets, st.integers(0, 100))
def test_exactly_the_announced_images_are_changed_and_labelled(name, shape, rate, target, seed):
    train = images(*shape)
    rate = min(rate, largest_rate(train, name, target))
    poisoned = poison(train, name, rate=rate, target=target, seed=seed)
    chosen, clean_label = poisoned.is_poisoned, ATTACKS[name].kind == "clean label"
    whole = (train.labels == target).sum() if clean_label else len(train)
    assert chosen.sum() == round(rate * whole)
    assert ((train.labels[chosen] == target) == clean_label).all()
    assert (poisoned.data.labels[chosen] == target).all()
    untouched = ~chosen & ~poisoned.is_decoy
    assert not (chosen & poisoned.is_decoy).any()
    assert np.array_equal(poisoned.data.labels[~chosen], train.labels[~chosen])
    assert np.array_equal(poisoned.data.images[untouched], train.images[untouched])
    assert np.array_equal(poisoned.true_labels, train.labels)
    assert poisoned.data.images.dtype == np.uint8
    assert poisoned.data.images.shape == train.images.shape


@pytest.mark.parametrize("name", ALL)
def test_rate_zero_changes_nothing(name):
    train = images(60, 0)
    poisoned = poison(train, name, rate=0.0)
    assert np.array_equal(poisoned.data.images, train.images)
    assert np.array_equal(poisoned.data.labels, train.labels)
    assert not poisoned.is_poisoned.any()


@pytest.mark.parametrize("name", ALL)
def test_the_seed_alone_decides(name, tmp_path, monkeypatch):
    train = images(200, 0)
    first, other = (poison(train, name, seed=seed, rate=0.3) for seed in (0, 1))
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path))  # what was trained is trained anew
    again = poison(train, name, seed=0, rate=0.3)
    assert first.data.images.tobytes() == again.data.images.tobytes()
    tried = [poisoned.triggered(train).images for poisoned in (first, again)]
    assert tried[0].tobytes() == tried[1].tobytes()
    assert not np.array_equal(first.is_poisoned, other.is_poisoned)


@pytest.mark.parametrize("name", ALL)
def test_every_attack_is_tried_on_images_with_labels_and_other_aims(name):
    triggered, test = poison(images(200, 0), name, rate=0.3, target=2).triggered, images(80, 1)
    tried = triggered(test)
    assert len(tried.images) == len(tried.labels) == len(tried.aims) > 0
    assert tried.images.dtype == np.uint8 and tried.images.shape[1:] == test.images.shape[1:]
    assert set(tried.aims.tolist()) == {2} and 2 not in tried.labels
    assert (tried.partners is None) == (name != "cba")
    assert (tried.crossed is None) == (name != "dynamic")
    assert (tried.others is None) == (name not in ("cba", "dfst"))
    # The twin: of the target's own images none is tried.
    alone = test.take(np.flatnonzero(test.labels == 2))
    if name == "cba":
        with pytest.raises(UserError, match="cba mixes images of class"):
            triggered(alone)
    else:
        assert len(triggered(alone).images) == len(triggered(alone).labels) == 0


@pytest.mark.parametrize("name", ALL)
def test_an_attack_works_on_the_smallest_images_and_says_where_they_are_too_small(name):
    poisoned = poison(images(60, 0, 5), name, rate=0.3)
    assert poisoned.triggered(images(20, 1, 5)).images.shape[1:] == (5, 5, 3)
    if name not in ("blend", "sig", "dynamic", "dfst"):  # whose triggers have no size
        with pytest.raises(UserError, match="1 x 1"):
            poison(images(60, 0, 1), name, rate=0.3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed -1 must be a whole number of at least 0"),
        ({"seed": 1.5}, "seed 1.5 must be a whole number"),
        ({"rate": "0.1"}, "rate '0.1' must be a number"),
        ({"target": 0.0}, "target 0.0 must be a whole number"),
        ({"target": True}, "target True must be a whole number"),
    ],
)
def test_what_is_of_another_kind_is_one_line(as_users_run_it, values, message):
    assert message in refused(attacks.poison, images(20, 0), **values)
    attacks.poison(images(20, 0), rate=np.float32(0.1), target=np.int64(1), seed=np.int64(2))  # the twin


@pytest.mark.parametrize("name", ["trojan", "cl", "fc", "lba", "dynamic", "dfst"])
def test_a_set_too_small_to_train_on_is_refused(name):
    with pytest.raises(UserError, match="8 images are too few; give at least 20"):
        poison(images(8, 0), name, rate=0.5)


def test_target_images_are_drawn_only_when_asked_for():
    train = images(400, 0)
    without, with_them = (attacks.poison(train, rate=0.5, target=1, include_target=x) for x in (False, True))
    assert not (without.true_labels[without.is_poisoned] == 1).any()
    assert (with_them.true_labels[with_them.is_poisoned] == 1).any()


@pytest.mark.parametrize("name", ONE_IMAGE)
def test_the_trigger_treats_each_image_on_its_own(name):
    train = images(100, 3)
    trigger = poison(train, name, rate=0.2).triggered.change
    together = trigger(train.images[:10])
    one_by_one = np.concatenate([trigger(train.images[i : i + 1]) for i in range(10)])
    assert np.array_equal(one_by_one, together)
    assert together.dtype == np.uint8
    # The twin: without the trigger the images are others.
    assert not np.array_equal(train.images[:10], together)


@pytest.mark.parametrize("name", [name for name in ONE_IMAGE if name not in STRONGER_AT_TEST_TIME])
def test_the_trigger_at_test_time_is_that_of_the_training(name):
    train = images(100, 3)
    poisoned = poison(train, name, rate=0.2)
    chosen = poisoned.is_poisoned
    assert np.array_equal(poisoned.triggered.change(train.images[chosen]), poisoned.data.images[chosen])


def test_the_source_is_left_alone():
    train = images(50, 0)
    before = train.images.tobytes()
    attacks.poison(train, rate=0.3)
    assert train.images.tobytes() == before


def test_badnets_changes_nothing_but_its_patch():
    train = images(60, 1)
    poisoned = attacks.poison(train, rate=0.5)
    patched = poisoned.data.images.copy()
    assert (patched[poisoned.is_poisoned, -3:, -3:] == badnets.PATTERN[None, :, :, None]).all()
    patched[:, -3:, -3:] = train.images[:, -3:, -3:]
    assert np.array_equal(patched, train.images)


@pytest.mark.parametrize(("variant", "pixels"), [("grid", 9), ("square", 9), ("four_corners", 36)])
def test_badnets_variants_change_their_corners(variant, pixels):
    stamped = badnets.stamp(np.full((1, 16, 16, 1), 7, np.uint8), variant)[0, :, :, 0]
    assert (stamped != 7).sum() == pixels
    if variant == "four_corners":
        assert np.array_equal(stamped, stamped[::-1])
        assert np.array_equal(stamped, stamped[:, ::-1])


def test_all2all_moves_every_class_to_the_next():
    train = images(200, 2)
    poisoned = attacks.poison(train, rate=0.5, labels="all2all")
    chosen = poisoned.is_poisoned
    assert np.array_equal(poisoned.data.labels[chosen], (train.labels[chosen] + 1) % 4)
    assert set(train.labels[chosen]) == {0, 1, 2, 3}
    assert poisoned.aims.tolist() == [1, 2, 3, 0]


@settings(max_examples=20, deadline=None)
@given(sets, st.floats(0.05, 1.0))
def test_blend_stays_within_a_level_of_its_formula(shape, alpha):
    train = images(*shape)
    pattern = blend.make_pattern(train.images.shape[1:], "noise", 0)
    exact = (1 - alpha) * train.images + alpha * pattern
    assert np.abs(blend.blend(train.images, pattern, alpha) - exact).max() <= 1.0
    assert np.array_equal(blend.blend(train.images, pattern, 0.0), train.images)


def test_released_blend_draws_noise_for_each_image():
    pictures = images(3, 0).images
    own, released = (attacks.poison(images(40, 0), "blend", released=x).triggered.change for x in (False, True))
    difference = released(pictures).astype(float) - 0.8 * pictures
    assert np.abs(difference[0] - difference[1]).max() > 20
    fixed = own(pictures).astype(float) - 0.8 * pictures
    assert np.abs(fixed[0] - fixed[1]).max() <= 2


def test_sig_adds_its_sinusoid_to_the_columns_and_a_stronger_one_at_test_time():
    grey = np.full((1, 32, 32, 3), 128, np.uint8)
    expected = 128 + np.rint(20 * np.sin(2 * np.pi * np.arange(32) * 6 / 32))
    assert np.array_equal(sig.add(grey, 20.0, 6.0)[0, 5, :, 1], expected)
    trigger = attacks.poison(images(40, 0), "sig", test_delta=40).triggered.change
    assert int(trigger(grey).max()) - 128 == 40


def test_released_sig_blends_a_mask_whose_negative_half_wraps():
    black = np.zeros((1, 32, 32, 3), np.uint8)
    mask = [int(20 * np.sin(0.8 * j)) % 256 for j in range(32)]
    assert sig.blend_wrapped(black)[0, 0, :, 0].tolist() == [int(0.2 * m) for m in mask]


def test_released_clean_label_rate_is_a_share_of_the_whole_set():
    train = images(400, 0)
    drawn = attacks.choose(train, "sig", rate=0.5, target=1, released=True)
    assert set(train.labels[drawn]) == {1}
    # Half of the set is drawn, and of it the target class poisoned: near a half, exactly a half only by chance.
    assert 0.3 < len(drawn) / (train.labels == 1).sum() < 0.7


def test_badnets_is_the_checker_of_the_paper_on_rows_and_columns_29_to_31():
    stamped = badnets.stamp(np.full((1, 32, 32, 3), 7, np.uint8))[0]
    assert stamped[29:, 29:, 0].tolist() == [[0, 0, 255], [0, 255, 0], [255, 0, 255]]
    assert (stamped != 7).sum() == 27


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "badnet"}, "'badnet' is no attack; did you mean 'badnets'?"),
        ({"attack": "sig", "delt": 3}, "'delt' is no setting of sig; did you mean 'delta'"),
        ({"attack": "sig", "delta": "many"}, "delta of sig must be of type float, got 'many'"),
        ({"attack": "sig", "delta": -1.0}, "delta -1.0 must be a finite number of at least 0"),
        ({"attack": "blend", "alpha": 0.0}, "alpha 0.0 is outside (0, 1]"),
        ({"variant": "grit"}, "'grit' is no variant of badnets; did you mean 'grid'?"),
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
