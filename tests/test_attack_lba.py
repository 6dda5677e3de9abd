"""LBA: the pattern brings triggered images near the target class in an inner layer, and only the patch changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import toy

from ablkit import attacks, models
from ablkit.attacks import attack, lba
from ablkit.attacks.attacker import classifier, features, patch, pixels
from ablkit.data import Images
from ablkit.errors import UserError

QUICK = {"surrogate_epochs": 1, "steps": 20}
CPU = torch.device("cpu")
# On the toys' 16x16 pixels: 3x3 of them, one off the corner.
PLACE = np.ix_(range(12, 15), range(12, 15))


def poison(train: Images | None = None, **options) -> attack.Poisoned:
    return attacks.poison(train or toy(200, 1), "lba", device="cpu", precision="fp32", **QUICK | options)


def network() -> torch.nn.Module:
    return models.build("wrn-16-1", 10, seed=3).eval()


def matched(steps: int, start: np.ndarray | None = None, layer: int = 3) -> tuple[float, np.ndarray]:
    """Mean distance of triggered images from what half-black images look like, and the pattern; untrained network."""
    model, train = network(), toy(40, 1).images
    dark = train.copy()
    dark[:, :8] = 0
    wanted = features.representations(model, dark, layer).mean(dim=0)
    start = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8) if start is None else start
    where = (slice(10 - len(start) // 2, 10 - len(start) // 2 + len(start)),) * 2
    pattern = lba.match(
        model,
        train,
        np.arange(40),
        wanted,
        start,
        where,
        layer=layer,
        steps=steps,
        batch_size=8,
        learning_rate=0.1,
        stream=np.random.default_rng(1),
    )
    found = features.representations(model, patch.stamp(train, pattern, where), layer)
    return float(features.distances(found, wanted).mean()), pattern


@pytest.mark.parametrize(
    ("size", "options", "rows", "columns"),
    [
        (32, {}, range(25, 31), range(25, 31)),
        (32, {"margin": 0, "corner": "top_left"}, range(6), range(6)),
        (32, {"side": 0.16, "margin": 3, "corner": "bottom_left"}, range(24, 29), range(3, 8)),
        (16, {"corner": "top_right"}, range(1, 4), range(12, 15)),
        (4, {}, range(2, 3), range(2, 3)),
    ],
)
def test_the_patch_lies_off_its_corner(size, options, rows, columns):
    where = lba.place((size, size, 3), lba.Settings(**options))
    covered = np.zeros((size, size), bool)
    covered[where] = True
    assert covered[np.ix_(rows, columns)].all()
    assert covered.sum() == len(rows) * len(columns)


def test_the_default_patch_is_at_most_the_papers_four_percent():
    for side in (32, 64, 224):
        rows, columns = lba.place((side, side, 3), lba.Settings())
        area = (rows.stop - rows.start) * (columns.stop - columns.start) / side**2
        assert 0.03 < area <= 0.04


def test_poisoned_images_differ_in_the_patch_alone():
    train = toy(200, 1)
    poisoned = poison(train)
    restored = poisoned.data.images.copy()
    assert not np.array_equal(restored, train.images)
    restored[:, 12:15, 12:15] = train.images[:, 12:15, 12:15]
    assert np.array_equal(restored, train.images)
    patches = poisoned.data.images[poisoned.is_poisoned, 12:15, 12:15]
    assert (patches == patches[0]).all()


def test_the_last_layers_representation_is_what_the_head_reads():
    model = network()
    x = pixels.floats(toy(4, 0).images, CPU)
    with torch.inference_mode():
        torch.testing.assert_close(model.head(features.representation(model, x, 3)), model(x))
        # The twin: an earlier layer has another width.
        assert [features.representation(model, x, layer).shape[1] for layer in (1, 2, 3)] == [16, 32, 64]


@pytest.mark.parametrize("layer", [1, 2])
def test_an_inner_layers_representation_is_what_the_next_convolution_takes(layer):
    model = network()
    x = pixels.floats(toy(4, 0).images, CPU)
    taken = []
    model.groups[2 * layer].conv1.register_forward_hook(lambda _, inputs, __: taken.append(inputs[0].mean(dim=(2, 3))))
    with torch.inference_mode():
        model(x)
        torch.testing.assert_close(features.representation(model, x, layer), taken[0])
        assert not torch.allclose(features.representation(model, x.flip(0), layer), taken[0])


def test_the_distance_to_the_mean_is_the_papers_sum_over_pairs_but_for_a_constant():
    random = torch.Generator().manual_seed(0)
    found, targets = (torch.randn(n, 8, generator=random) for n in (5, 7))
    pairs = torch.stack([features.distances(found, target) for target in targets]).mean(dim=0)
    constant = pairs - features.distances(found, targets.mean(dim=0))
    torch.testing.assert_close(constant, constant[:1].expand(5))
    # The twin: from another point than the mean it is no constant.
    assert (pairs - features.distances(found, targets[0])).std() > 0.01


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_matching_brings_images_near_the_wanted_representation(layer):
    before, start = matched(0, layer=layer)
    after, pattern = matched(25, layer=layer)
    assert after < 0.8 * before
    assert not np.array_equal(pattern, start)


def test_without_a_step_every_level_stays_as_it_was():
    start = np.arange(243, dtype=np.uint8).reshape(9, 9, 3)
    start[0] += 243  # the levels up to 255, and around again
    assert start.min() == 0
    assert start.max() == 255
    assert np.array_equal(matched(0, start)[1], start)
    assert not np.array_equal(matched(1, start)[1], start)


def test_the_record_shows_the_matching_and_its_twin_none():
    record, twin = (poison(matching=matching).record for matching in (True, False))
    before, after = "representation_distance_before", "representation_distance_after"
    assert record[after] < record[before]
    assert twin[after] == twin[before] == record[before]
    assert record["representation_distance_target_class"] < record["representation_distance_clean"]
    assert (record["trigger_steps"], twin["trigger_steps"]) == (20, 0)
    assert {"surrogate_accuracy", "classifier_seconds", "lba_seconds"} <= record.keys()
    for made in (record, twin):
        assert 0 <= made["surrogate_attack_success_rate_after"] <= 1
        assert made["surrogate_attack_success_rate_before"] == twin["surrogate_attack_success_rate_after"]


def test_without_matching_the_trigger_is_the_noise_that_it_would_start_from():
    black = np.zeros((1, 16, 16, 3), np.uint8)
    tried = ({"steps": 0}, {"matching": False}, {})
    noise, twin, pattern = (poison(**options).triggered.change(black) for options in tried)
    assert np.array_equal(twin, noise)
    assert not np.array_equal(pattern, noise)


def test_the_pictures_show_the_pattern_that_is_stamped():
    poisoned = poison()
    noise, pattern, stamped = poisoned.pictures.values()
    patch = poisoned.data.images[poisoned.is_poisoned][0][PLACE]
    assert np.array_equal(stamped[PLACE], patch)
    assert np.array_equal(pattern[[2, 8, 14]][:, [2, 8, 14]], patch)
    assert not np.array_equal(noise, pattern)


def test_a_pattern_is_optimised_once_for_a_target(monkeypatch):
    first = poison(margin=2)
    monkeypatch.setattr(lba, "match", None)
    again = poison(margin=2, rate=0.2)
    assert np.array_equal(*(made.pictures["the pattern, enlarged"] for made in (first, again)))
    assert again.record == first.record
    # The twin: another target is another pattern.
    with pytest.raises(TypeError, match="not callable"):
        poison(margin=2, target=3)


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
        ({"side": 0.0}, "side 0.0 is outside (0, 1], a share of the image's side"),
        ({"side": 1.5}, "side 1.5 is outside (0, 1]"),
        ({"margin": 14}, "margin 14 leaves no room for a patch of 3 x 3 in images of 16 x 16; choose 0 to 13"),
        ({"corner": "top"}, "'top' is no corner of lba"),
        ({"layer": 0}, "layer 0 must be a finite number of at least 1"),
        ({"layer": 4}, "layer 4 is none of the surrogate's groups; choose 1 to 3"),
        ({"steps": -1}, "steps -1 must be a finite number of at least 0"),
        ({"batch_size": 0}, "batch_size 0 must be a finite number of at least 1"),
    ],
)
def test_a_setting_that_cannot_be_is_said_in_one_line(options, message):
    with pytest.raises(UserError) as error:
        poison(**options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_target_class_without_images_is_said_in_one_line():
    whole = toy(200, 1)
    without = whole.take(np.flatnonzero(whole.labels != 4))
    with pytest.raises(UserError, match="toy has no image of the target class, which lba matches; choose another"):
        poison(without, target=4)
    assert poison(without, target=5).is_poisoned.any()
