"""Trojan: the patch lies where it should, is generated on the units that were chosen, and excites them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import toy

from ablkit import attacks, models
from ablkit.attacks import attack, trojan
from ablkit.attacks.attacker import classifier, pixels
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream

QUICK = {"surrogate_epochs": 1, "steps": 30}
SHAPE = (16, 16, 3)
PATCH = np.arange(100, 127, dtype=np.uint8).reshape(3, 3, 3)


def poison(**options) -> attack.Poisoned:
    return attacks.poison(toy(200, 1), "trojan", device="cpu", precision="fp32", **QUICK | options)


def network() -> torch.nn.Module:
    return models.build("wrn-16-1", 10, seed=3).eval()


def generate(units: tuple[int, ...] = (4, 9), **settings) -> tuple[dict[str, float], np.ndarray, int]:
    """Mean activation before and after, the patch and its steps, on a network that nobody trained."""
    model, units = network(), torch.tensor(units)
    settings = trojan.Settings(**settings)
    where = trojan.place(SHAPE, settings)
    start = numpy_stream(0, "trigger", 0, 0).integers(0, 256, (settings.size, settings.size, 3), np.uint8)
    patch, steps = trojan.generate(model, units, start, SHAPE, settings)

    def activation(patch: np.ndarray) -> float:
        image = trojan.stamp(np.full((1, *SHAPE), 128, np.uint8), patch, where)
        with torch.inference_mode():
            return float(trojan.activations(model, pixels.floats(image, torch.device("cpu")), units).mean())

    return {"before": activation(start), "after": activation(patch)}, patch, steps


@pytest.mark.parametrize(
    ("side", "margin", "expected"), [(32, 4, range(25, 28)), (32, 0, range(29, 32)), (16, 4, range(11, 14))]
)
def test_the_patch_replaces_its_place_and_nothing_else(side, margin, expected):
    images = np.full((2, side, side, 3), 7, np.uint8)
    where = trojan.place(images.shape[1:], trojan.Settings(margin=margin))
    stamped = trojan.stamp(images, PATCH, where)
    assert np.array_equal(stamped[1][np.ix_(expected, expected)], PATCH)
    rows, columns = np.nonzero((stamped != images).any(axis=(0, 3)))
    assert set(rows) == set(columns) == set(expected)


def test_released_adds_the_patch_and_wraps():
    where = trojan.place((32, 32, 3), trojan.Settings())
    bright = np.full((2, 32, 32, 3), 200, np.uint8)
    added = trojan.add_wrapped(bright, PATCH, where)
    assert np.array_equal(added[0, 25:28, 25:28], (200 + PATCH.astype(int)) % 256)
    assert (added != bright).any(axis=(0, 3)).sum() == 9
    # The twin: clipped or replaced, the pixels would be others.
    assert not np.array_equal(added[0, 25:28, 25:28], np.minimum(200 + PATCH.astype(int), 255))
    assert not np.array_equal(added, trojan.stamp(bright, PATCH, where))


def test_released_takes_the_same_patch():
    own, released = (poison(released=released) for released in (False, True))
    black = np.zeros((1, *SHAPE), np.uint8)
    assert np.array_equal(own.triggered.change(black), released.triggered.change(black))
    assert not np.array_equal(own.triggered.change(black + 9), released.triggered.change(black + 9))


def test_the_units_with_the_strongest_incoming_weights_are_attacked():
    model = network()
    with torch.no_grad():
        model.groups[-1].conv2.weight[7] *= -10
        model.groups[-1].conv2.weight[5] *= 5
        assert trojan.pick_units(model, 2).tolist() == [7, 5]
        # The twin: weights that lead elsewhere do not count, and batch norm may undo those that do.
        model.groups[-1].conv1.weight[3] *= 100
        model.head.weight[:, 3] *= 100
        assert trojan.pick_units(model, 2).tolist() == [7, 5]
        model.norm.running_var[7] *= 1e6
        assert trojan.pick_units(model, 1).tolist() == [5]


def test_the_units_are_what_the_head_reads():
    model = network()
    x = pixels.floats(toy(4, 0).images, torch.device("cpu"))
    with torch.inference_mode():
        read = trojan.activations(model, x, torch.arange(64))
        torch.testing.assert_close(model.head(read), model(x))
        assert not torch.allclose(model.head(read.flip(1)), model(x))


def test_generation_excites_the_units():
    activation, patch, steps = generate(steps=60)
    assert steps == 60
    assert activation["after"] > 1.2 * activation["before"]
    assert patch.shape == (3, 3, 3)
    # The twin: without a step nothing has been gained.
    activation, _, steps = generate(steps=0)
    assert steps == 0
    assert activation["after"] == activation["before"]


def test_generation_ends_at_its_target_value():
    before = generate((4,), steps=0)[0]["before"]
    near = 1.1 * before
    reached, _, steps = generate((4,), steps=400, target_value=near, learning_rate=0.005)
    assert 0 < steps < 400
    # Within 1 %, and a little off by the rounding to 256 levels.
    assert reached["after"] == pytest.approx(near, rel=0.02)
    # The twin: out of reach, all steps are taken.
    assert generate((4,), steps=40, target_value=100.0)[2] == 40


def test_the_record_shows_what_the_patch_does():
    poisoned = poison()
    record = poisoned.record
    assert record["activation_after"] > record["activation_before"]
    assert record["activation_stamped_images"] != record["activation_clean_images"]
    assert record["trigger_steps"] == 30
    assert record["target_value"] == 100
    assert {"surrogate_accuracy", "classifier_seconds", "trojan_seconds"} <= record.keys()
    untouched = poison(steps=0).record
    assert untouched["activation_after"] == untouched["activation_before"]


def test_the_pictures_show_the_patch_that_is_stamped():
    poisoned = poison()
    picture, enlarged = poisoned.pictures.values()
    patch = picture[11:14, 11:14]
    assert np.array_equal(poisoned.data.images[poisoned.is_poisoned][0, 11:14, 11:14], patch)
    assert (np.delete(picture, range(11, 14), axis=0) == 128).all()
    assert np.array_equal(enlarged[[2, 8, 14]][:, [2, 8, 14]], patch)
    # The twin: the noise that the generation starts from is another patch.
    assert not np.array_equal(patch, poison(steps=0).triggered.change(poisoned.data.images)[0, 11:14, 11:14])


def test_a_patch_is_generated_once(monkeypatch):
    first = poison(size=2)
    monkeypatch.setattr(trojan, "generate", None)
    again = poison(size=2, rate=0.2, target=3)
    assert np.array_equal(*(made.pictures["generated patch"] for made in (first, again)))
    assert again.record == first.record
    # The twin: another setting is another patch.
    with pytest.raises(TypeError, match="not callable"):
        poison(size=2, learning_rate=0.01)


def test_without_a_chosen_image_nothing_is_trained_before_the_trigger_is_asked_for(monkeypatch):
    images = toy(8, 2).images
    expected, clean = poison().triggered.change(images), poison(rate=0.0)
    assert np.array_equal(clean.triggered.change(images), expected)
    monkeypatch.setattr(classifier, "trained", None)
    late = poison(rate=0.0)
    for early in (lambda: late.triggered.change(images), lambda: poison(rate=0.1)):
        with pytest.raises(TypeError, match="not callable"):
            early()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0 must be a finite number of at least 1"),
        ({"size": 15}, "size 15 does not fit images of 16 x 16; choose 1 to 14"),
        ({"margin": 32}, "margin 32 leaves no room for a patch; choose 0 to 31"),
        ({"units": 65}, "units 65 is more than the surrogate has; choose 1 to 64"),
        ({"target_value": -1.0}, "target_value -1.0 must be a finite number of at least 0"),
        ({"surrogate_epochs": 0}, "surrogate_epochs 0 must be a finite number of at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_said_in_one_line(options, message):
    with pytest.raises(UserError) as error:
        poison(**options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
