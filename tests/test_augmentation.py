"""Augmented images are crops, mirrors and cut-outs of the originals, nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import refused

from ablkit.data.vision import torchvision
from ablkit.training import recipe
from ablkit.training.augmentation import augment
from ablkit.training.crops import draw_boxes, resized_crops

OFF = {"crop_padding": 0, "flip": False, "cutout_length": 0}


def batch(number: int = 40) -> torch.Tensor:
    return torch.randint(1, 256, (number, 12, 12, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def changed(**settings) -> np.ndarray:
    return augment(batch(), recipe("paper", **OFF | settings), torch.Generator().manual_seed(1)).numpy()


def test_everything_off_changes_nothing():
    assert np.array_equal(changed(), batch().numpy())


def test_every_crop_is_a_window_of_the_padded_image_and_they_differ():
    found = set()
    padded = np.pad(batch().numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)))
    for image, crop in zip(padded, changed(crop_padding=2), strict=True):
        windows = [(y, x) for y in range(5) for x in range(5) if np.array_equal(image[y : y + 12, x : x + 12], crop)]
        assert len(windows) == 1
        found.add(windows[0])
    assert len(found) > 10


def test_about_half_of_the_images_are_mirrored():
    original, flipped = batch(400).numpy(), None
    flipped = augment(batch(400), recipe("paper", **OFF | {"flip": True}), torch.Generator().manual_seed(1)).numpy()
    mirrored = [np.array_equal(f, o[:, ::-1]) for f, o in zip(flipped, original, strict=True)]
    kept = [np.array_equal(f, o) for f, o in zip(flipped, original, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 150 < sum(mirrored) < 250


def test_cutout_blanks_one_square_of_the_given_length():
    cut = changed(cutout_length=4)
    sizes = set()
    for before, after in zip(batch().numpy(), cut, strict=True):
        rows, columns = np.nonzero((after == 0).all(axis=2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width
        sizes.add((int(height), int(width)))
        outside = np.ones((12, 12), bool)
        outside[rows, columns] = False
        assert np.array_equal(before[outside], after[outside])
    assert max(sizes) == (4, 4)


def test_the_generator_alone_decides():
    def once(seed: int) -> torch.Tensor:
        return augment(batch(), recipe("paper"), torch.Generator().manual_seed(seed))

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_batches_drawn_together_are_what_each_is_by_itself():
    whole, sizes, drawn = batch(10), [4, 4, 2], torch.Generator().manual_seed(1)
    apart = torch.cat([augment(part, recipe("paper"), drawn) for part in whole.split(sizes)])
    together = augment(whole, recipe("paper"), torch.Generator().manual_seed(1), sizes=sizes)
    assert together.equal(apart)
    assert not augment(whole, recipe("paper"), torch.Generator().manual_seed(1)).equal(apart)  # as one batch


# Resized crops


def boxes(number: int, area: float = 0.08, height: int = 40, width: int = 30) -> torch.Tensor:
    return draw_boxes(number, height, width, area, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 30), (10, 60)])
def test_boxes_lie_in_the_image_with_the_areas_and_ratios_of_torchvision(height, width):
    top, left, tall, wide = boxes(4000, height=height, width=width).unbind(1)
    assert (top >= 0).all() and (left >= 0).all() and (tall >= 1).all() and (wide >= 1).all()
    assert (top + tall <= height).all() and (left + wide <= width).all()
    # Sides are rounded to whole pixels.
    ratio = wide / tall
    assert (ratio > 3 / 4 - 1.5 / tall).all() and (ratio < 4 / 3 + 1.5 / tall).all()
    if height == width:
        shares = tall * wide / (height * width)
        assert 0.07 < shares.min() < 0.1 and shares.max() > 0.95
        assert abs(shares.mean() - 0.5) < 0.06  # evenly, but that wide or tall ones do not fit when they are large
        assert 0.4 < (top / (height - tall).clamp(min=1))[tall < height].mean() < 0.6


def test_the_whole_image_as_box_changes_nothing():
    images = torch.tensor(np.random.default_rng(0).integers(0, 256, (5, 12, 9, 3), dtype=np.uint8))
    whole = torch.tensor([[0, 0, 12, 9]]).expand(5, 4)
    assert torch.equal(resized_crops(images, whole), images)
    assert torch.equal(boxes(20, area=1.0, height=12, width=12), torch.tensor([[0, 0, 12, 12]]).expand(20, 4))
    assert np.array_equal(changed(crop="resized", crop_area=1.0), batch().numpy())
    # The twin: a part of it does.
    assert not torch.equal(resized_crops(images, torch.tensor([[0, 0, 11, 9]]).expand(5, 4)), images)


def test_a_box_is_enlarged_as_torchvision_enlarges_it_and_nothing_else_is_read():
    images = torch.tensor(np.random.default_rng(0).integers(0, 256, (60, 24, 20, 3), dtype=np.uint8))
    own = draw_boxes(60, 24, 20, 0.08, torch.Generator().manual_seed(0))
    made = resized_crops(images, own)
    assert made.dtype == torch.uint8 and made.shape == images.shape
    resize = torchvision().transforms.v2.functional.resized_crop
    off = 0
    for image, box, crop in zip(images, own.tolist(), made, strict=True):
        expected = resize(image.permute(2, 0, 1).float(), *box, [24, 20], antialias=False).permute(1, 2, 0).round()
        assert (crop - expected).abs().max() <= 1
        off += int((crop != expected).sum())
        top, left, tall, wide = box
        masked = torch.zeros_like(image)
        masked[top : top + tall, left : left + wide] = image[top : top + tall, left : left + wide]
        assert torch.equal(resized_crops(masked[None], torch.tensor([box]))[0], crop)
    assert off < 0.01 * made.numel()  # where a half is rounded either way


def test_resized_crops_of_batches_drawn_together_are_what_each_is_by_itself():
    own, sizes = recipe("paper", crop="resized"), [4, 4, 2]
    drawn = torch.Generator().manual_seed(1)
    apart = torch.cat([augment(part, own, drawn) for part in batch(10).split(sizes)])
    assert augment(batch(10), own, torch.Generator().manual_seed(1), sizes=sizes).equal(apart)
    assert not augment(batch(10), own, torch.Generator().manual_seed(2), sizes=sizes).equal(apart)


@pytest.mark.parametrize(("changes", "message"), [({"crop": "cut"}, "crop"), ({"crop_area": 0.0}, "outside (0, 1]")])
def test_a_crop_that_cannot_be_is_refused(as_users_run_it, changes, message):
    assert message in refused(recipe, "paper", **changes)
    assert recipe("paper", crop="resized", crop_area=1.0).crop == "resized"
