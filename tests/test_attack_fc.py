"""FC: images near their base that a surrogate sees as triggered ones of other classes; labels stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ordered, toy
from hypothesis import given, settings
from hypothesis import strategies as st

from ablkit import attacks, models
from ablkit.attacks import attack, badnets, fc
from ablkit.attacks.attack import Order
from ablkit.attacks.attacker import classifier, pixels
from ablkit.attacks.fc import collision
from ablkit.data import Images
from ablkit.errors import UserError
from ablkit.training.inference import predict

TINY = {"surrogate_epochs": 1, "steps": 3}
STEPS = {"layer": "penultimate", "beta": 0.0, "eps": 16.0, "learning_rate": 500.0, "steps": 30}


def poison(train, **options) -> attack.Poisoned:
    return attacks.poison(train, "fc", device="cpu", precision="fp32", **({"rate": 0.5} | TINY | options))


def order(train, seed: int = 0) -> Order:
    return ordered(train, attacks.choose(train, "fc", rate=0.5, seed=seed), seed)


def change(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(np.int16) - second).max())


def random_images(seed: int, number: int = 3, side: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), dtype=np.uint8)


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Nothing made before, by this test or another; returns what empties the cache again."""

    def use(name: str) -> None:
        monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / name))

    use("first")
    return use


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 20), st.floats(0, 1e6), st.floats(0, 1), st.integers(0, 4), st.integers(0, 1000))
def test_an_image_never_leaves_the_bound_around_its_base(eps, learning_rate, beta, steps, seed):
    bases, targets = random_images(seed), random_images(seed + 1)
    own = {"layer": "penultimate", "eps": eps, "learning_rate": learning_rate, "beta": beta, "steps": steps}
    moved = collision.collide(models.build("wrn-10-1", 4, seed=seed), bases, targets, **own)
    assert change(moved, bases) <= eps
    assert steps or np.array_equal(moved, bases)


def test_without_the_bound_an_image_goes_further():
    bases, targets = random_images(0), random_images(1)
    model = models.build("wrn-10-1", 4)
    near, far = (collision.collide(model, bases, targets, **STEPS | {"eps": eps}) for eps in (3.0, 255.0))
    assert change(near, bases) == 3
    assert change(far, bases) > 3


def test_a_poisoned_image_is_near_its_watermarked_base_and_the_record_says_how_near():
    train = toy(200, 1)
    asked, own = order(train), fc.Settings(eps=5.0, **TINY)
    crafted = fc.craft(asked, own)
    marked = fc.watermark(asked.images, fc.draw_targets(asked, own), own)
    assert change(crafted.images, marked) == crafted.record["largest_image_distance_levels"] <= 5
    assert crafted.record["largest_change_levels"] == change(crafted.images, asked.images)
    # The twin: from the untouched image it is further, by the watermark.
    assert change(crafted.images, asked.images) > 5


@pytest.mark.parametrize("layer", ["penultimate", "group3", "group1"])
def test_the_collision_brings_features_together_and_random_changes_do_not(layer):
    model = models.build("wrn-10-1", 4, seed=1)
    bases, targets = random_images(0, 6, 12), random_images(1, 6, 12)
    moved = collision.collide(model, bases, targets, **STEPS | {"layer": layer, "eps": 64.0})
    noise = np.random.default_rng(2).integers(-64, 65, bases.shape)
    noisy = np.clip(bases + noise, 0, 255).astype(np.uint8)
    before, after, random = (collision.distances(model, x, targets, layer) for x in (bases, moved, noisy))
    assert (after < 0.7 * before).all()
    assert random.mean() > 0.9 * before.mean()


def test_the_penultimate_features_are_what_the_head_reads():
    model = models.build("wrn-10-1", 4).eval()
    x = pixels.floats(random_images(0), torch.device("cpu"))
    with torch.inference_mode():
        read = collision.features(model, x, "penultimate")
        torch.testing.assert_close(model.head(read), model(x))
        assert not torch.allclose(model.head(read.flip(1)), model(x))


def test_the_backward_step_is_the_proximal_step_of_half_of_betas_term():
    moved, base = (torch.tensor([value]).reshape(1, 1, 1, 1) for value in (90.0, 100.0))
    rates = torch.full((1, 1, 1, 1), 2.0)
    x = torch.linspace(80, 110, 30_001)
    for beta, eps in ((0.5, 255.0), (0.5, 3.0), (0.0, 255.0)):
        lowest = x[(beta / 2 * (x - 100) ** 2 + (x - 90) ** 2 / 4 + (abs(x - 100) > eps + 1e-4) * 1e9).argmin()]
        assert collision.backward_step(moved, base, rates, beta, eps).item() == pytest.approx(float(lowest), abs=2e-3)
    # The twin: without beta's term the forward step stands.
    assert collision.backward_step(moved, base, rates, 0.0, 255.0).item() == 90


def test_beta_holds_images_back():
    model = models.build("wrn-10-1", 4, seed=1)
    bases, targets = random_images(0, 6, 12), random_images(1, 6, 12)
    free, held = (
        np.abs(collision.collide(model, bases, targets, **STEPS | {"beta": beta}).astype(np.int16) - bases).mean()
        for beta in (0.0, 1e-5)
    )
    assert held < 0.7 * free


def test_the_watermark_is_a_faint_triggered_image_and_its_patch_has_its_own_opacity():
    bases, targets = random_images(0, 2, 12), badnets.stamp(random_images(1, 2, 12), "four_corners")
    marked = fc.watermark(bases, targets, fc.Settings(opacity=0.25, patch_opacity=0.75))
    centre, corner = (slice(None), slice(3, -3), slice(3, -3)), (slice(None), slice(-3, None), slice(-3, None))
    assert np.array_equal(marked[centre], np.rint(0.25 * targets[centre] + 0.75 * bases[centre]))
    assert np.array_equal(marked[corner], np.rint(0.75 * targets[corner] + 0.25 * bases[corner]))
    assert np.array_equal(fc.watermark(bases, targets, fc.Settings(opacity=0.0, patch_opacity=0.0)), bases)
    # The twin: with the patch in one corner the other corners are as the rest.
    marked = fc.watermark(bases, targets, fc.Settings(opacity=0.0, patch_opacity=1.0, patch="corner"))
    assert np.array_equal(marked[:, :3], bases[:, :3])
    assert np.array_equal(marked[corner], targets[corner])


def test_targets_are_triggered_images_of_other_classes():
    train = toy(200, 1)
    asked = order(train)
    targets = fc.draw_targets(asked, fc.Settings())
    others = badnets.stamp(train.images[train.labels != 0], "four_corners")
    own = badnets.stamp(train.images[train.labels == 0], "four_corners")
    known, forbidden = ({image.tobytes() for image in images} for images in (others, own))
    drawn = [image.tobytes() for image in targets]
    assert set(drawn) <= known
    assert len(set(drawn)) == len(drawn)
    assert not set(drawn) & forbidden


def test_there_must_be_images_of_other_classes():
    train = toy(100, 1)
    alone = Images(train.images, np.zeros(100, np.int64), train.classes, "alone")
    with pytest.raises(UserError, match="images of other classes than the target, but there is none"):
        poison(alone)


def test_at_test_time_there_is_the_opaque_patch_alone():
    train, test = toy(200, 1), toy(20, 2)
    for patch, variant in (("corner", "grid"), ("four_corners", "four_corners")):
        poisoned = poison(train, patch=patch)
        assert np.array_equal(poisoned.triggered.change(test.images), badnets.stamp(test.images, variant))
        chosen = poisoned.is_poisoned
        assert not np.array_equal(poisoned.triggered.change(train.images[chosen]), poisoned.data.images[chosen])


def test_the_record_shows_the_collision_and_without_steps_there_is_none():
    asked = order(toy(600, 1))
    own = {"surrogate_epochs": 5, "opacity": 0.1}
    crafted, twin = (fc.craft(asked, fc.Settings(**own, steps=steps)) for steps in (30, 0))
    model, accuracy = classifier.trained(asked, 5)
    targets = fc.draw_targets(asked, fc.Settings())
    record = crafted.record
    assert record["feature_distance_after"] < 0.5 * record["feature_distance_before"]
    measured = collision.distances(model, crafted.images, targets, "penultimate").mean()
    assert record["feature_distance_after"] == pytest.approx(measured, rel=1e-5)
    assert record["surrogate_accuracy_on_collided"] == (predict(model, crafted.images, "fp32") == 0).mean()
    assert record["surrogate_accuracy"] == accuracy["surrogate_accuracy"]
    assert {"classifier_seconds", "collided_seconds"} <= record.keys()
    assert twin.record["feature_distance_after"] == twin.record["feature_distance_before"]
    assert twin.record["feature_distance_before"] == record["feature_distance_before"]
    assert twin.record["largest_image_distance_levels"] == 0


def test_made_twice_it_is_the_same_to_the_bit(own_cache):
    train = toy(100, 1)
    first = poison(train)
    own_cache("second")
    assert poison(train).data.images.tobytes() == first.data.images.tobytes()
    assert poison(train, beta=0.1).data.images.tobytes() != first.data.images.tobytes()


def test_what_was_made_before_is_not_made_again(own_cache, monkeypatch):
    train = toy(100, 1)
    first = poison(train)
    monkeypatch.setattr(collision, "collide", lambda *_, **__: pytest.fail("collided again"))
    assert np.array_equal(poison(train).data.images, first.data.images)
    with pytest.raises(pytest.fail.Exception, match="collided again"):
        poison(train, eps=7.0)


def test_without_a_chosen_image_nothing_is_trained(own_cache, monkeypatch):
    train = toy(100, 1)
    monkeypatch.setattr(classifier, "trained", lambda *_: pytest.fail("trained"))
    assert not poison(train, rate=0.0).record
    with pytest.raises(pytest.fail.Exception, match="trained"):
        poison(train)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": -1.0}, "eps -1.0 must be a finite number of at least 0"),
        ({"opacity": 1.0}, "opacity 1.0 leaves nothing of the base image; the paper takes up to 0.3"),
        ({"patch_opacity": 1.5}, "patch_opacity 1.5 is outside [0, 1]"),
        ({"layer": "group4"}, "'group4' is no layer of fc; did you mean 'group"),
        ({"surrogate_epochs": 0}, "surrogate_epochs 0 must be a finite number of at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_said_in_one_line(options, message):
    with pytest.raises(UserError) as error:
        poison(toy(50, 1), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
