"""What an inner layer of a clean network says of images, and a pattern that makes it say the same of all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ablkit import models
from ablkit.attacks.attacker import pixels
from ablkit.shapes import Float, Tensor, UInt8, ndarray

LAYERS = 3
"""Groups of a wide residual network."""
_CHUNK = 128


def maps(model: nn.Module, x: Float[Tensor, "n c h w"], layer: int) -> Float[Tensor, "n d i j"]:
    """What the next layer reads of a group, 1 to 3, of a wide residual network: after batch norm and ReLU, in float32.

    Raises UserError where the model is no `wrn`.
    """
    network = models.wide(model)
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
    return torch.cat([representation(model, pixels.floats(chunk, device), layer) for chunk in chunks])


def distances(found: Float[Tensor, "n d"], wanted: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Mean square difference of each representation from the wanted one."""
    return (found - wanted).square().mean(dim=1)
