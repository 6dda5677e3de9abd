"""The networks of DFST: generators and discriminators of its CycleGAN, and the feature injector."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ablkit.randomness import torch_stream
from ablkit.shapes import Float, Tensor

_SLOPE = 0.2


class Generator(nn.Module):
    """An image in [-1, 1] -> the image in another style; where it leaves [-1, 1], the caller clips.

    A 3x3 convolution, one that halves, residual blocks with instance norm, a doubling and two convolutions, whose
    output is added to the image. There is no norm outside the blocks, as the colour and the brightness of the image
    must reach the end. The height of a pixel, -1 at the top to 1 at the bottom, is a further input channel, as in the
    style's pictures the light depends on it.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels + 1, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(_normed(2 * width), nn.ReLU(), _normed(2 * width)) for _ in range(blocks)
        )
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        n, _, height, width = x.shape
        rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype).view(1, 1, -1, 1)
        y = F.relu(self.stem(torch.cat([x, rows.expand(n, 1, height, width)], dim=1)))
        y = F.relu(self.down(y))
        for block in self.blocks:
            y = y + block(y)
        y = F.relu(self.up(F.interpolate(y, (height, width))))
        return x + self.out(y).float()


class Discriminator(nn.Module):
    """An image in [-1, 1] -> for each of its overlapping parts, about 1 where it looks real and 0 where it does not.

    Three halving convolutions and one more; at 32 x 32 each of the 4 x 4 outputs sees almost the whole image.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = [channels, 2 * width, 4 * width, 4 * width]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 i j"]:
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), _SLOPE)
        return self.out(x).float()


class Injector(nn.Module):
    """An image in [0, 1] -> the image with features added, clipped to [0, 1].

    A U-Net: two halvings, two doublings, each fed with what lay before its halving too. It starts as the identity.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1) for w in (width, 2 * width))
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((4 * width, 2 * width), (4 * width, width)))
        self.out = nn.Conv2d(2 * width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        y, before = F.relu(self.stem(x)), []
        for convolution in self.down:
            before.append(y)
            y = F.leaky_relu(convolution(y), _SLOPE)
        for convolution in self.up:
            wider = before.pop()
            y = F.relu(convolution(F.interpolate(y, wider.shape[2:])))
            y = torch.cat([y, wider], dim=1)
        return (x + self.out(y).float().tanh()).clamp(0, 1)


def build(make: Callable[[], nn.Module], seed: int, *counters: int) -> nn.Module:
    """A network with weights from the seed's stream for triggers; torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_stream(seed, "trigger", *counters).initial_seed())
        return make()


def _normed(width: int) -> nn.Sequential:
    # One group a channel is instance norm, and unlike it takes maps of a single position.
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(width, width))
