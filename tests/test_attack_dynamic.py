"""The input-aware attack: sparse masks, decoys under other images' triggers, and no epoch trained twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ordered, toy

from ablkit import attacks
from ablkit.attacks import dynamic
from ablkit.attacks.attack import Crafted
from ablkit.attacks.attacker import cache, training
from ablkit.attacks.dynamic.generator import Generator, build
from ablkit.attacks.dynamic.training import Settings, diversity, excess, mix, sharpen
from ablkit.errors import UserError
from ablkit.shapes import Tensor
from ablkit.training import checkpoint

TINY = Settings(mask_epochs=2, epochs=2, width=2)


def craft(settings: Settings = TINY, *, number: int = 100, chosen: int = 5, seed: int = 0) -> Crafted:
    """The attack on a toy set, target class 0, of which images of other classes are chosen."""
    train = toy(number, 1)
    return dynamic.craft(ordered(train, np.flatnonzero(train.labels)[:chosen], seed), settings)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 5, 8, 13, 32])
def test_a_generator_makes_something_as_large_as_the_image_between_0_and_1(size):
    with torch.inference_mode():
        made = build(3, 2, 2, 0, 0).eval()(noise(4, 3, size, size))
    assert made.shape == (4, 2, size, size)
    assert ((made > 0) & (made < 1)).all()


def test_the_generator_of_width_32_has_the_layers_of_the_paper():
    convolutions = [m for m in Generator(3, 3, 32).modules() if isinstance(m, torch.nn.Conv2d)]
    shapes = [(m.in_channels, m.out_channels) for m in convolutions]
    down = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    up = [(128, 128), (128, 64), (64, 64), (64, 32), (32, 32), (32, 3)]
    assert shapes == [*down, (128, 128), *up]


def test_sharp_masks_are_near_0_or_1():
    sharp = sharpen(torch.tensor([0.2, 0.4, 0.5, 0.6, 0.8]).view(5, 1, 1, 1)).flatten()
    assert torch.allclose(sharp, torch.tensor([0.0, 0.018, 0.5, 0.982, 1.0]), atol=1e-3)


def test_a_mask_of_zeros_leaves_the_image_and_one_of_ones_leaves_the_pattern():
    image, pattern = noise(2, 3, 4, 4), 1 - noise(2, 3, 4, 4)
    assert torch.equal(mix(image, torch.zeros(2, 1, 4, 4), pattern), image)
    assert torch.equal(mix(image, torch.ones(2, 1, 4, 4), pattern), pattern)


def test_diversity_is_the_ratio_of_distances_and_high_where_outputs_are_alike():
    images = noise(4, 3, 6, 6)
    assert diversity(images, images).item() == pytest.approx(1, abs=1e-5)
    assert diversity(images, images / 2).item() == pytest.approx(2, abs=1e-5)
    assert diversity(images, torch.zeros(4, 3, 6, 6)).item() > 1000


def test_diversity_has_a_gradient_where_outputs_are_equal():
    made = torch.zeros(2, 1, 4, 4, requires_grad=True)
    diversity(noise(2, 3, 4, 4), made).backward()
    assert torch.isfinite(made.grad).all()
    # The twin: the root of a mean of squares has none.
    ((made - made.roll(1, 0)) ** 2).mean().sqrt().backward()
    assert made.grad.isnan().any()


def test_only_what_lies_above_the_density_is_penalised():
    assert excess(torch.full((2, 1, 3, 3), 0.03), 0.032).item() == 0
    assert excess(torch.full((2, 1, 3, 3), 0.532), 0.032).item() == pytest.approx(0.5)


@pytest.fixture(scope="module")
def tiny() -> Crafted:
    return craft()


def test_every_image_has_a_trigger_of_its_own(tiny):
    images = toy(4, 2).images
    masks, patterns = tiny.triggered.change.trigger_of(images)
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(patterns[0], patterns[1])
    # The twin: the same image always has the same.
    again = tiny.triggered.change.trigger_of(images[[0, 0]])
    assert torch.equal(again[1][0], again[1][1])


def test_a_crossed_trigger_is_the_donors(tiny):
    images, donors = toy(4, 2).images, toy(4, 3).images
    masks, patterns = tiny.triggered.change.trigger_of(donors)
    expected = images * (1 - masks.permute(0, 2, 3, 1).numpy())
    expected += 255 * (masks * patterns).permute(0, 2, 3, 1).numpy()
    assert np.abs(tiny.triggered.change.crossed(images, donors) - expected).max() <= 0.501
    assert np.array_equal(tiny.triggered.change.crossed(images, images), tiny.triggered.change(images))
    # The twin: with images as their own patterns under whole masks, the donor's trigger is the donor.
    whole = dynamic.InputAware(lambda: (Everywhere(), torch.nn.Identity()))
    assert np.array_equal(whole.crossed(images, donors), donors)
    assert np.array_equal(whole(images), images)


@pytest.mark.parametrize("number", [1, 3, 16, 17, 40])
def test_the_number_of_images_at_once_does_not_matter(tiny, number):
    images = toy(40, 5).images
    together = tiny.triggered.change.trigger_of(images)
    first = tiny.triggered.change.trigger_of(images[:number])
    assert all(torch.equal(a[:number], b) for a, b in zip(together, first, strict=True))


def test_pictures_show_what_the_first_image_gets(tiny):
    assert np.array_equal(tiny.pictures["with its trigger"], tiny.images[0])
    assert not np.array_equal(tiny.pictures["an image"], tiny.images[0])
    assert {picture.shape for picture in tiny.pictures.values()} == {(16, 16, 3)}


def test_the_norm_makes_masks_sparse():
    sparse, dense = (craft(replace(TINY, mask_epochs=8, lambda_norm=x), number=400).record for x in (100.0, 0.0))
    assert sparse["mask_density"] < dense["mask_density"] / 2


class Everywhere(torch.nn.Module):
    """A generator of masks that cover the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.level.expand(len(x), 1, *x.shape[2:])


def test_decoys_carry_the_triggers_of_other_images_under_their_own_labels(monkeypatch):
    # With such masks, and images as their own patterns, a decoy *is* the image whose trigger it carries.
    monkeypatch.setattr(dynamic, "_trained", lambda order, settings: ((Everywhere(), torch.nn.Identity()), {}))
    train = toy(100, 1)
    poisoned = attacks.poison(train, "dynamic", rate=0.2, decoys=0.5)
    decoys = np.flatnonzero(poisoned.is_decoy)
    assert len(decoys) == 10  # half as many as there are poisoned images
    assert np.array_equal(poisoned.data.labels[decoys], train.labels[decoys])
    for decoy in decoys:
        matches = (train.images == poisoned.data.images[decoy]).all(axis=(1, 2, 3))
        assert matches.sum() == 1
        assert not matches[decoy]
    # The twin: a poisoned image carries its own.
    assert np.array_equal(poisoned.data.images[poisoned.is_poisoned], train.images[poisoned.is_poisoned])
    assert not attacks.poison(train, "dynamic", rate=0.2, decoys=0.0).is_decoy.any()


class Killed(Exception):
    pass


def cached(root) -> dict[str, bytes]:
    """The generators of each cache folder."""
    return {path.parent.name: path.read_bytes() for path in root.rglob("tensors.safetensors")}


@pytest.mark.parametrize("finished", [1, 3])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(finished, monkeypatch, tmp_path):
    def run(name: str) -> bytes:
        monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / name))
        craft()
        (generators,) = cached(tmp_path / name).values()
        return generators

    def killed(name: str) -> None:
        save = training.save

        def save_and_die(path, epoch, parts):
            save(path, epoch, parts)
            if epoch == finished:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(training, "save", save_and_die)
            run(name)

    whole = run("whole")
    killed("resumed")
    assert run("resumed") == whole
    assert not list((tmp_path / "resumed").rglob("checkpoint.safetensors"))
    # The twin: without the optimisers' state it would have become another attack.
    killed("forgetful")
    (left,) = (tmp_path / "forgetful").rglob("checkpoint.safetensors")
    forget_optimisers(left)
    assert run("forgetful") != whole


def forget_optimisers(path) -> None:
    tensors, facts = checkpoint.read(path)
    checkpoint.write(path, {name: value for name, value in tensors.items() if "/optimiser/" not in name}, facts)


def test_generators_are_trained_once_whatever_is_chosen(monkeypatch):
    first = craft(chosen=5)

    def train(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(dynamic, "train", train)
    assert np.array_equal(craft(chosen=9).images[:5], first.images)
    with pytest.raises(AssertionError, match="trained again"):
        craft(seed=9)


def test_without_a_chosen_image_nothing_is_trained_before_the_trigger_is_asked_for(monkeypatch):
    asked = []
    keep = cache.keep
    monkeypatch.setattr(cache, "keep", lambda *arguments: asked.append(1) or keep(*arguments))
    nothing = craft(chosen=0)
    assert not asked
    images = toy(3, 4).images
    assert np.array_equal(nothing.triggered.change(images), craft(chosen=5).triggered.change(images))
    assert asked


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p_attack": 0.0}, "p_attack 0.0 must be above 0 and together with p_cross 0.1 below 1"),
        ({"p_attack": 0.5, "p_cross": 0.5}, "p_attack 0.5 must be above 0 and together with p_cross 0.5 below 1"),
        ({"epochs": 0}, "epochs 0 must be a finite number of at least 1"),
        ({"lambda_div": -1.0}, "lambda_div -1.0 must be a finite number of at least 0"),
        ({"lambda_norm": float("inf")}, "lambda_norm inf must be a finite number of at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_said_in_one_line(settings, message):
    with pytest.raises(UserError) as error:
        Settings(**settings)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_too_few_images_are_said_in_one_line():
    with pytest.raises(UserError, match="but 19 images are too few; give at least 20"):
        attacks.poison(toy(19, 0), "dynamic", rate=0.2, device="cpu", precision="fp32")
