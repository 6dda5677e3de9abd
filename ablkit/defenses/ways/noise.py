"""Noise on the isolated images, or on the gradients of training on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.ways.finetuning import fine_tune
from ablkit.defenses.ways.isolated import Changed, isolated_examples, way, with_kept
from ablkit.randomness import torch_stream
from ablkit.settings import at_least
from ablkit.shapes import Tensor


@dataclass(frozen=True)
class PixelNoise(Changed):
    """The noise on the isolated images."""

    deviation: float = 25.0
    """Standard deviation, in levels of 255; our reading."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, deviation=0)


@dataclass(frozen=True)
class GradientNoise(Changed):
    """The noise on the gradients."""

    deviation: float = 0.1
    """Standard deviation, whatever the size of the gradient; our reading (the least of the values that Neelakantan et
    al. 2015 start from when they add such noise to help a training)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, deviation=0)


def pixel_noise(given: Given, settings: PixelNoise, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated images under Gaussian noise, with their labels.

    Our reading: noise for each pixel and channel, drawn anew in each epoch, rounded and clipped to [0, 255].
    """
    isolated = isolated_examples(given)
    count = len(isolated)

    def noisy(images: Tensor, epoch: int) -> Tensor:
        drawn = torch_stream(given.seed, "defense", epoch, 0)
        noise = torch.randn(images[:count].shape, generator=drawn).mul_(settings.deviation).to(images.device)
        changed = noise.add_(images[:count]).round_().clamp_(0, 255).to(torch.uint8)
        return torch.cat([changed, images[count:]])

    examples = with_kept(isolated, given, settings)
    return fine_tune(given, settings, "pixel_noise", examples, evaluate, redraw=noisy)


def gradient_noise(given: Given, settings: GradientNoise, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated examples with their labels, with Gaussian noise added to each gradient.

    Our reading: independent noise of constant deviation on the gradient of every weight in every step. (The table, as
    recalled, counts this way among those that change images; noise on the gradient of an image is not offered.)
    """
    drawn = torch_stream(given.seed, "defense", 0, 0)

    def disturb(optimiser: torch.optim.Optimizer, *_: object) -> None:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                noise = torch.randn(parameter.shape, generator=drawn).to(parameter.device)
                parameter.grad.add_(noise, alpha=settings.deviation)

    examples = with_kept(isolated_examples(given), given, settings)
    return fine_tune(given, settings, "gradient_noise", examples, evaluate, before_step=disturb)


PIXEL_NOISE = way("pixel noise", pixel_noise, PixelNoise)
GRADIENT_NOISE = way("gradient noise", gradient_noise, GradientNoise)
