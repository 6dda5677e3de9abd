"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083): images that a model takes for something else."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ablkit.randomness import torch_stream
from ablkit.shapes import Float, Int64, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.hardware import Hardware

_BATCH = 128


def perturb(
    model: nn.Module,
    images: UInt8[ndarray, "n h w c"],
    labels: Int64[ndarray, " n"],
    *,
    epsilon: float,
    step: float,
    steps: int,
    seed: int,
    precision: str = "auto",
) -> UInt8[ndarray, "n h w c"]:
    """`images` moved up the cross entropy of `labels` by signed gradient steps from a random start, untargeted.

    It runs where the model is, in eval mode, and leaves it in that mode.

    Args:
        epsilon: largest change of any value, in levels of 255. Images have whole levels, so 2.6 allows 2.
        step: length of each step, in levels.
        precision: bf16 rounds the gradient, of which nothing but the sign counts; the images stay in fp32.
    """
    place = hardware.of(model, precision)
    model.eval()
    noise = uniform(images.shape, epsilon, torch_stream(seed, "trigger", 0, 0))
    moved = []
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        x = torch.tensor(images[part], device=place.device).float()
        y = torch.tensor(labels[part], device=place.device)
        found = ascend(model, x, y, noise[part].to(place.device), epsilon, step, steps, place)
        # Rounding can leave a bound that is no whole number.
        moved.append(within(x, found.round(), float(int(epsilon))).to(torch.uint8).cpu().numpy())
    return np.concatenate(moved) if moved else np.array(images)


def ascend(
    model: nn.Module,
    x: Float[Tensor, "n h w c"],
    labels: Int64[Tensor, " n"],
    noise: Float[Tensor, "n h w c"],
    epsilon: float,
    step: float,
    steps: int,
    place: Hardware,
) -> Float[Tensor, "n h w c"]:
    """The steps of `perturb` on one batch, all in levels of 255 and none rounded; the model's mode is the caller's."""
    moved = within(x, x + noise, epsilon)
    for _ in range(steps):
        moved.requires_grad_()
        loss = F.cross_entropy(logits(model, moved, place), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = within(x, moved.detach() + step * gradient.sign(), epsilon)
    return moved


def within(x: Float[Tensor, "n h w c"], moved: Float[Tensor, "n h w c"], epsilon: float) -> Float[Tensor, "n h w c"]:
    """The nearest to `moved` in the box of `epsilon` levels around `x` and in [0, 255]."""
    return torch.clamp(moved, (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(255))


def uniform(shape: tuple[int, ...], epsilon: float, generator: torch.Generator) -> Tensor:
    """Noise in [-epsilon, epsilon), drawn on the CPU so that every device gets the same."""
    return (torch.rand(shape, generator=generator) * 2 - 1) * epsilon


def logits(model: nn.Module, x: Float[Tensor, "n h w c"], place: Hardware) -> Float[Tensor, "n classes"]:
    """What the model says of images in levels of 255, in float32."""
    with place.autocast():
        return model(x.permute(0, 3, 1, 2) / 255).float()
