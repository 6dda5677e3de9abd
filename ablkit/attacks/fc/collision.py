"""Feature collision by forward-backward splitting (Shafahi et al. 2018, arXiv 1804.00792, Eq. 1 and Algorithm 1)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from ablkit import models
from ablkit.attacks.attacker import pgd, pixels
from ablkit.shapes import Float, Tensor, UInt8, ndarray

Layer = Literal["penultimate", "group3", "group2", "group1"]
_BATCH = 128
_LONGER, _SHORTER = 1.3, 0.5


def features(model: nn.Module, x: Float[Tensor, "n c h w"], layer: Layer) -> Float[Tensor, "n d"]:
    """What a network of `models.build` sees at a layer of images in [0, 1], in the precision that surrounds the call.

    `penultimate` is the paper's choice, the channel means that the head reads; `group1` to `group3` are all values of
    a group's maps.
    """
    outputs = models.group_outputs(model, x)
    if layer == "penultimate":
        return models.unwrapped(model).last_channels(outputs[-1]).mean(dim=(2, 3))
    return outputs[int(layer[-1]) - 1].flatten(1)


def backward_step(
    moved: Float[Tensor, "n c h w"],
    bases: Float[Tensor, "n c h w"],
    rates: Float[Tensor, "n 1 1 1"],
    beta: float,
    eps: float,
) -> Float[Tensor, "n c h w"]:
    """(x_hat + lr beta b) / (1 + beta lr), then the nearest image within `eps` of b: Algorithm 1's backward step.

    For each value both together are the exact proximal step of beta/2 (x - b)^2 with the box as a constraint. (The
    paper's formula is that of half the term which its Eq. 1 has.)
    """
    return pgd.within(bases, (moved + rates * beta * bases) / (1 + beta * rates), eps)


def collide(
    model: nn.Module,
    bases: UInt8[ndarray, "n h w c"],
    targets: UInt8[ndarray, "n h w c"],
    *,
    layer: Layer,
    beta: float,
    eps: float,
    learning_rate: float,
    steps: int,
) -> UInt8[ndarray, "n h w c"]:
    """`bases` moved so that the model sees at a layer what it sees in the target at the same place.

    Minimises ||f(x) - f(t)||^2 + beta/2 ||x - b||^2 with images in levels of 255, whole levels at the end. Every image
    has its own learning rate: a step that does not lower its objective is not taken and the next one half as long, any
    other is followed by one 1.3 times as long. (Algorithm 1 keeps one rate throughout; no single one suits images
    whose gradients differ by orders of magnitude.)

    It runs where the model is, in eval mode and float32, as near a collision bf16 rounds the difference away.

    Args:
        beta: pull back to the base image; the paper's beta.
        eps: largest change of any value, in levels. Images have whole levels, so 2.6 allows 2.
        learning_rate: the first lr of the forward step x_hat = x - lr gradient, in levels.
    """
    model.requires_grad_(False).eval()
    device, room = next(model.parameters()).device, float(int(eps))
    done = []
    for start in range(0, len(bases), _BATCH):
        part = slice(start, start + _BATCH)
        b, t = (_levels(images[part], device) for images in (bases, targets))
        with torch.no_grad():
            wanted = features(model, t / 255, layer)
        x, rates = b, torch.full((len(b), 1, 1, 1), learning_rate, device=device)
        value, slope = _objective(model, x, b, wanted, layer, beta)
        for _ in range(steps):
            moved = backward_step(x - rates * slope, b, rates, beta, room)
            new_value, new_slope = _objective(model, moved, b, wanted, layer, beta)
            better = new_value < value
            value, better = torch.where(better, new_value, value), better[:, None, None, None]
            x, slope = torch.where(better, moved, x), torch.where(better, new_slope, slope)
            rates = rates * torch.where(better, _LONGER, _SHORTER)
        done.append(pixels.levels(x / 255))
    return np.concatenate(done) if done else np.array(bases)


def distances(
    model: nn.Module, images: UInt8[ndarray, "n h w c"], targets: UInt8[ndarray, "n h w c"], layer: Layer
) -> Float[ndarray, " n"]:
    """||f(x) - f(t)|| of each image and the target at the same place, in float32."""
    device = next(model.parameters()).device
    found = [np.empty(0, np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            seen, wanted = (features(model, _levels(x[part], device) / 255, layer) for x in (images, targets))
            found.append(torch.linalg.vector_norm(seen - wanted, dim=1).cpu().numpy())
    return np.concatenate(found)


def _objective(
    model: nn.Module,
    x: Float[Tensor, "n c h w"],
    bases: Float[Tensor, "n c h w"],
    wanted: Float[Tensor, "n d"],
    layer: Layer,
    beta: float,
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c h w"]]:
    """What each image is to lower, and the gradient of its first term, the only one that the forward step takes."""
    x = x.detach().requires_grad_()
    apart = (features(model, x / 255, layer) - wanted).square().sum(dim=1)
    (slope,) = torch.autograd.grad(apart.sum(), x)
    return apart.detach() + beta / 2 * (x.detach() - bases).square().sum(dim=(1, 2, 3)), slope


def _levels(images: UInt8[ndarray, "n h w c"], device: torch.device) -> Float[Tensor, "n c h w"]:
    return torch.tensor(images, device=device).permute(0, 3, 1, 2).float()
