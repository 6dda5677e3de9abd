"""Wide residual networks with pre-activation (Zagoruyko & Komodakis 2016); WRN-16-1 is the paper's CIFAR-10 model."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import nn

from ablkit.shapes import Float, Tensor


class Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, plus a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
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
    """

    def __init__(self, depth: int, width: int, classes: int, channels: int = 3) -> None:
        super().__init__()
        widths = [16, 16 * width, 32 * width, 64 * width]
        blocks = (depth - 4) // 6
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.groups = nn.Sequential(
            *(
                Block(widths[g] if b == 0 else widths[g + 1], widths[g + 1], stride=2 if b == 0 and g > 0 else 1)
                for g in range(3)
                for b in range(blocks)
            )
        )
        self.norm = nn.BatchNorm2d(widths[3])
        self.head = nn.Linear(widths[3], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        return self.classify(self.groups(self.stem(x)))

    def group_outputs(self, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
        """What each of the three groups gives, before the batch norm and the ReLU of what follows."""
        x, outputs = self.stem(x), []
        for number, block in enumerate(self.groups, start=1):
            x = block(x)
            if number % (len(self.groups) // 3) == 0:
                outputs.append(x)
        return outputs

    def last_channels(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps whose means the head takes, from the output of the last group."""
        return F.relu(self.norm(output), inplace=True)

    def classify(self, output: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Logits from the output of the last group."""
        return self.head(self.last_channels(output).mean(dim=(2, 3)))
