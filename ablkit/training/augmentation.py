"""Crop, flip and cutout of a whole mini-batch at once, on whatever device it lies."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ablkit.shapes import Tensor, UInt8
from ablkit.training.recipe import Recipe


def augment(images: UInt8[Tensor, "n h w c"], recipe: Recipe, generator: torch.Generator) -> UInt8[Tensor, "n h w c"]:
    """A random crop, flip and cutout of each image, as the recipe says; setting a size to 0 turns that part off.

    The crop is drawn from the image with `crop_padding` zero pixels on each side. Cutout blanks a square with its
    centre anywhere in the image, cut off at the border (DeVries & Taylor 2017).
    """
    n, height, width, _ = images.shape
    device = images.device

    def draw(high: int, count: int = n) -> Tensor:
        return torch.randint(high, (count,), generator=generator).to(device, non_blocking=True)

    if recipe.crop_padding:
        pad = recipe.crop_padding
        padded = F.pad(images, (0, 0, pad, pad, pad, pad))
        # Every crop is a window of a strided view: one gather copies all of them.
        windows = padded.unfold(1, height, 1).unfold(2, width, 1)
        everything = torch.arange(n, device=device)
        images = windows[everything, draw(2 * pad + 1), draw(2 * pad + 1)].permute(0, 2, 3, 1)
    if recipe.flip:
        mirrored = draw(2).bool()[:, None, None, None]
        images = torch.where(mirrored, images.flip(2), images)
    if recipe.cutout_length:
        rows = _in_span(draw(height), height, recipe.cutout_length)[:, :, None]
        columns = _in_span(draw(width), width, recipe.cutout_length)[:, None, :]
        images = images.masked_fill((rows & columns)[..., None], 0)
    return images


def _in_span(centres: Tensor, size: int, length: int) -> Tensor:
    """Which of `size` positions lie in the span of `length` around each centre: bool (n, size)."""
    offset = torch.arange(size, device=centres.device)[None, :] - centres[:, None] + length // 2
    return (offset >= 0) & (offset < length)
