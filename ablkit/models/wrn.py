"""Wide residual networks with pre-activation (Zagoruyko & Komodakis 2016); WRN-16-1 is the paper's CIFAR-10 model."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ablkit.shapes import Float, Tensor

Norm = Callable[[int], nn.Module]
"""Number of channels -> what normalises them."""

_NORM_GROUPS = 8


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm in 8 groups, which keeps no statistics: each image is normalised by its own.

    Wu & He 2018 (arXiv 1803.08494) take 32 groups, two channels each where a ResNet-50 is narrowest, with 64. A WRN is
    narrowest with 16 channels, where 8 groups have two.
    """
    return _GroupNorm(_NORM_GROUPS, channels)


class _GroupNorm(nn.GroupNorm):
    """torch's, with the maps in its own layout meanwhile: in channels-last order, that of all models here, it is slow.

    On a core of an AMD EPYC a step of WRN-16-1 in bf16 takes 107 ms so, 184 ms otherwise, and 88 ms with batch norm.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def he_normal(network: nn.Module) -> None:
    """Draw the weights of all convolutions anew, normal with variance 2 / fan_out (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))


class Block(nn.Module):
    """Two 3x3 convolutions, each after its norm and ReLU, plus a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        activated = F.relu(self.norm1(x), inplace=True)
        # Where the width changes, the shortcut starts after the first activation, as in the original code.
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        return shortcut + self.conv2(F.relu(self.norm2(self.conv1(activated)), inplace=True))


class WideResNet(nn.Module):
    """Wide residual network for small images.

    Args:
        depth: 6 k + 4 layers, so k blocks in each of the three groups.
        width: multiplies the group widths 16, 32, 64.
        classes: number of outputs.
        norm: makes the layers that normalise.
    """

    def __init__(self, depth: int, width: int, classes: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        widths = [16, 16 * width, 32 * width, 64 * width]
        blocks = (depth - 4) // 6
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.groups = nn.Sequential(
            *(
                Block(widths[g] if b == 0 else widths[g + 1], widths[g + 1], 2 if b == 0 and g > 0 else 1, norm)
                for g in range(3)
                for b in range(blocks)
            )
        )
        self.norm = norm(widths[3])
        self.head = nn.Linear(widths[3], classes)
        he_normal(self)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.classify(self.groups(self.stem(x)))

    def group_outputs(self, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
        """What each of the three groups gives, before the norm and the ReLU of what follows."""
        x, outputs = self.stem(x), []
        for number, block in enumerate(self.groups, start=1):
            x = block(x)
            if number % (len(self.groups) // 3) == 0:
                outputs.append(x)
        return outputs

    def maps(self, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
        """What each of the groups gives, and the maps that the head takes."""
        outputs = self.group_outputs(x)
        return [*outputs, self.last_channels(outputs[-1])]

    def last_channels(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps whose means the head takes, from the output of the last group."""
        return F.relu(self.norm(output), inplace=True)

    def classify(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits from the output of the last group."""
        return self.head(self.last_channels(output).mean(dim=(2, 3)))
