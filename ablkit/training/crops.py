"""Random parts of images, enlarged to their size, for a whole mini-batch at once (Szegedy et al. 2015)."""

from __future__ import annotations

import math

import torch

from ablkit.shapes import Float, Int64, Tensor, UInt8

RATIOS = (3 / 4, 4 / 3)
"""Least and largest width of a part for its height, as torchvision's RandomResizedCrop has them."""
_TRIES = 10


def draw_boxes(n: int, height: int, width: int, area: float, generator: torch.Generator) -> Int64[Tensor, "n 4"]:
    """Top, left, height and width of a random part of each of `n` images.

    Its share of the image is drawn evenly from `area` to 1, the logarithm of its ratio evenly from RATIOS. The first of
    ten draws that fits in the image is taken; where none does, the largest part in the middle that has such a ratio.
    """
    shares = area + (1 - area) * torch.rand((n, _TRIES), generator=generator)
    low, high = map(math.log, RATIOS)
    ratios = torch.exp(low + (high - low) * torch.rand((n, _TRIES), generator=generator))
    wide = (shares * height * width * ratios).sqrt().round().long().clamp(min=1)
    tall = (shares * height * width / ratios).sqrt().round().long().clamp(min=1)
    fits = (wide <= width) & (tall <= height)
    first = fits.long().argmax(1, keepdim=True)
    is_found = fits.any(1)
    largest_tall, largest_wide = min(height, round(width / RATIOS[0])), min(width, round(height * RATIOS[1]))
    tall = torch.where(is_found, tall.gather(1, first)[:, 0], largest_tall)
    wide = torch.where(is_found, wide.gather(1, first)[:, 0], largest_wide)
    places = torch.rand((2, n), generator=generator)
    places[:, ~is_found] = 0.5
    top = (places[0] * (height - tall + 1)).long().clamp(max=height - 1)
    left = (places[1] * (width - wide + 1)).long().clamp(max=width - 1)
    return torch.stack([top, left, tall, wide], dim=1)


def resized_crops(images: UInt8[Tensor, "n h w c"], boxes: Int64[Tensor, "n 4"]) -> UInt8[Tensor, "n h w c"]:
    """Each image's box, enlarged to the image's size by bilinear interpolation; nothing outside of the box is read.

    A box of the whole image gives the image itself.
    """
    top, left, tall, wide = boxes.unbind(1)
    _, height, width, _ = images.shape
    everything = torch.arange(len(images), device=images.device)[:, None]
    first, second, share = _between(top, tall, height)
    share = share[:, :, None, None]
    rows = images[everything, first] * (1 - share) + images[everything, second] * share
    first, second, share = _between(left, wide, width)
    share = share[:, None, :, None]
    upper, lower = (rows.gather(2, _over(one, rows)) for one in (first, second))
    return (upper * (1 - share) + lower * share).round().to(torch.uint8)


def _between(
    start: Int64[Tensor, " n"], length: Int64[Tensor, " n"], size: int
) -> tuple[Int64[Tensor, "n s"], Int64[Tensor, "n s"], Float[Tensor, "n s"]]:
    """For each of `size` positions along a side the two pixels between which it lies, and the share of the second.

    Centres of pixels are half a pixel from their borders; what lies beyond the outer ones is the outer one.
    """
    centres = torch.arange(size, device=start.device) + 0.5
    places = centres[None, :] * (length / size)[:, None] - 0.5
    places = places.clamp(min=0).minimum((length - 1)[:, None].float())
    first = places.floor().long()
    second = (first + 1).minimum((length - 1)[:, None])
    return first + start[:, None], second + start[:, None], places - first


def _over(columns: Int64[Tensor, "n w"], rows: Float[Tensor, "n h w c"]) -> Int64[Tensor, "n h w c"]:
    return columns[:, None, :, None].expand(-1, rows.shape[1], -1, rows.shape[3])
