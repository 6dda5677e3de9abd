"""Input normalisation as part of a model, so that every caller can go on handing over images in [0, 1]."""

from __future__ import annotations

import torch
from torch import nn

from ablkit.shapes import Float, Tensor

Channels = tuple[float, float, float]
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_DEVIATION = (0.2470, 0.2435, 0.2616)


class Normalised(nn.Module):
    """A model behind a fixed normalisation of its three input channels, by default CIFAR-10's."""

    def __init__(
        self, model: nn.Module, mean: Channels = CIFAR10_MEAN, deviation: Channels = CIFAR10_DEVIATION
    ) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1))

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n classes"]:
        return self.model(self.normalised(x))

    def normalised(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """What the model inside takes."""
        return (x - self.mean) / self.deviation
