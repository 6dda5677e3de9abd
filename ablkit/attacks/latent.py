"""What an inner layer of a clean network says of images, and a pattern that makes it say the same of all."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ablkit import models
from ablkit.attacks import surrogates
from ablkit.shapes import Float, Int64, Tensor, UInt8, ndarray

LAYERS = 3
"""Groups of a wide residual network."""
_CHUNK = 128
# Levels 0 and 255 would lie at infinity; 0.998 is near enough for each level to be found again by rounding.
_LARGEST = 0.998


def maps(model: nn.Module, x: Float[Tensor, "n c h w"], layer: int) -> Float[Tensor, "n d i j"]:
    """What the next layer reads of a group, 1 to 3, of a wide residual network: after batch norm and ReLU, in float32.

    Raises UserError where the model is no `wrn`.
    """
    network = models.unwrapped(model)
    norm = network.norm if layer == LAYERS else network.groups[layer * len(network.groups) // LAYERS].norm1
    return F.relu(norm(models.group_outputs(model, x)[layer - 1])).float()


def representation(model: nn.Module, x: Float[Tensor, "n c h w"], layer: int) -> Float[Tensor, "n d"]:
    """The mean of each channel of `maps`."""
    return maps(model, x, layer).mean(dim=(2, 3))


@torch.no_grad()
def representations(model: nn.Module, images: UInt8[ndarray, "n h w c"], layer: int) -> Float[Tensor, "n d"]:
    """The same of at least one image, in batches where the model is, in float32 and in the model's mode."""
    device = next(model.parameters()).device
    chunks = (images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK))
    return torch.cat([representation(model, surrogates.pixels(chunk, device), layer) for chunk in chunks])


def distances(found: Float[Tensor, "n d"], wanted: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Mean square difference of each representation from the wanted one."""
    return (found - wanted).square().mean(dim=1)


def match(
    model: nn.Module,
    train: UInt8[ndarray, "n h w c"],
    others: Int64[ndarray, " k"],
    wanted: Float[Tensor, " d"],
    start: UInt8[ndarray, "s s c"],
    where: tuple[slice, slice],
    *,
    layer: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    stream: np.random.Generator,
) -> UInt8[ndarray, "s s c"]:
    """The pattern under which images come nearest to the wanted representation: Adam, after all steps, in float32.

    What Adam moves is the inverse hyperbolic tangent of the pixels, mapped to (-1, 1), which so stay within bounds.

    Args:
        model: a wide residual network in eval mode; its weights are left without gradients.
        others: indices of the images to be triggered.
        start: the pattern to begin with; without a step it is also the result.
        where: rows and columns that the pattern covers.
        stream: draws each step's batch from `others`, with replacement.
    """
    device = next(model.parameters()).device
    model.requires_grad_(False)
    hidden = torch.atanh((2 * surrogates.pixels(start[None], device) - 1).clamp(-_LARGEST, _LARGEST)).requires_grad_()
    optimiser = torch.optim.Adam([hidden], lr=learning_rate, betas=(0.5, 0.9))
    for _ in range(steps):
        x = surrogates.pixels(train[stream.choice(others, batch_size)], device)
        x[:, :, *where] = (hidden.tanh() + 1) / 2
        optimiser.zero_grad()
        distances(representation(model, x, layer), wanted).mean().backward()
        optimiser.step()
    return surrogates.levels((hidden.tanh() + 1) / 2)[0]
