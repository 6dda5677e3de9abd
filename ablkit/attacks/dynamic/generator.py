"""The encoder-decoder that makes a mask or a pattern out of an image (Nguyen & Tran 2020, appendix)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ablkit.randomness import torch_stream
from ablkit.shapes import Float, Tensor

_STEPS = 3


class Generator(nn.Module):
    """An image in [0, 1] -> as large an image in (0, 1).

    Three times two 3x3 convolutions and a halving, one convolution, three times a doubling and two convolutions. Batch
    norm follows every convolution, ReLU all but the last, whose output goes through (tanh + 1) / 2.

    Args:
        outputs: channels of what it makes: those of the image for a pattern, 1 for a mask.
        width: channels of the first convolutions; every halving doubles them. The attack's authors use 32.
    """

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        widths = [width << step for step in range(_STEPS)]
        before = zip([channels, *widths[:-1]], widths, strict=True)
        after = zip([outputs, *widths[:-1]], widths, strict=True)
        self.down = nn.ModuleList(nn.Sequential(_block(a, b), _block(b, b)) for a, b in before)
        self.middle = _block(widths[-1], widths[-1])
        self.up = nn.ModuleList(
            nn.Sequential(_block(b, b), _block(b, a, activated=step > 0))
            for step, (a, b) in reversed(list(enumerate(after)))
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        sizes = []
        for blocks in self.down:
            sizes.append(x.shape[2:])
            # Rounded up, so that no image is too small; the way back takes the sizes of the way there.
            x = F.max_pool2d(blocks(x), 2, ceil_mode=True)
        x = self.middle(x)
        for blocks in self.up:
            x = blocks(F.interpolate(x, sizes.pop(), mode="bilinear", align_corners=True))
        return x.float().tanh() / 2 + 0.5


def build(channels: int, outputs: int, width: int, seed: int, counter: int) -> Generator:
    """A generator with weights drawn from the seed's stream for triggers; torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_stream(seed, "trigger", counter, 0).initial_seed())
        return Generator(channels, outputs, width)


def _block(inputs: int, outputs: int, *, activated: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if activated else nn.Sequential(*layers)
