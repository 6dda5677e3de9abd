"""Augmented images are crops, mirrors and cut-outs of the originals, nothing else."""

from __future__ import annotations

import numpy as np
import torch

from ablkit.training import recipe
from ablkit.training.augmentation import augment

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
