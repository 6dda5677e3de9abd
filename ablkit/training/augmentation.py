"""Crop, flip and cutout of a whole mini-batch at once, on whatever device it lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ablkit.shapes import Tensor, UInt8
from ablkit.training.crops import draw_boxes, resized_crops
from ablkit.training.recipe import Recipe


def augment(
    images: UInt8[Tensor, "n h w c"], recipe: Recipe, generator: torch.Generator, sizes: Sequence[int] = ()
) -> UInt8[Tensor, "n h w c"]:
    """A random crop, flip and cutout of each image, as the recipe says; setting a size to 0 turns that part off.

    A padded crop is drawn from the image with `crop_padding` zero pixels on each side, a resized one as in
    `resized_crops`. Cutout blanks a square with its centre anywhere in the image, cut off at the border (DeVries &
    Taylor 2017).

    Args:
        sizes: how many images each of several mini-batches has; what is drawn is as if each came by itself.
    """
    n, height, width, _ = images.shape
    device = images.device
    is_resized = recipe.crop == "resized"
    pad, length = 0 if is_resized else recipe.crop_padding, recipe.cutout_length
    highs = {
        **({"top": 2 * pad + 1, "left": 2 * pad + 1} if pad else {}),
        **({"mirrored": 2} if recipe.flip else {}),
        **({"row": height, "column": width} if length else {}),
    }
    batches, boxes = [], []
    for size in sizes or [n]:
        batches.append({name: torch.randint(high, (size,), generator=generator) for name, high in highs.items()})
        if is_resized:
            boxes.append(draw_boxes(size, height, width, recipe.crop_area, generator))
    drawn = {name: torch.cat([b[name] for b in batches]).to(device, non_blocking=True) for name in highs}
    if is_resized:
        images = resized_crops(images, torch.cat(boxes).to(device, non_blocking=True))
    if pad:
        padded = F.pad(images, (0, 0, pad, pad, pad, pad))
        # Every crop is a window of a strided view: one gather copies all of them.
        windows = padded.unfold(1, height, 1).unfold(2, width, 1)
        everything = torch.arange(n, device=device)
        images = windows[everything, drawn["top"], drawn["left"]].permute(0, 2, 3, 1)
    if recipe.flip:
        images = torch.where(drawn["mirrored"].bool()[:, None, None, None], images.flip(2), images)
    if length:
        rows = _in_span(drawn["row"], height, length)[:, :, None]
        columns = _in_span(drawn["column"], width, length)[:, None, :]
        images = images.masked_fill((rows & columns)[..., None], 0)
    return images


def _in_span(centres: Tensor, size: int, length: int) -> Tensor:
    """Which of `size` positions lie in the span of `length` around each centre: bool (n, size)."""
    offset = torch.arange(size, device=centres.device)[None, :] - centres[:, None] + length // 2
    return (offset >= 0) & (offset < length)
