"""The architectures beside the paper's: torchvision's, and PreActResNet-18, each as the stages that it goes through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from torch import nn

from ablkit.data import vision
from ablkit.models.staged import Staged
from ablkit.models.wrn import Block, he_normal

FULL_SIZE = 64
"""Pixels of the shorter side from which on a network begins as it does on ImageNet, where it halves the maps at once.

Below, the first convolution keeps the size, and a ResNet has no max-pooling, as is usual on CIFAR-10. At 64 x 64 a
ResNet that kept the size would compute sixteen times as much.
"""


class Architecture(NamedTuple):
    """A network by name; see `ARCHITECTURES`."""

    build: Callable[[int, int], Staged]
    """Classes and shorter side of the images -> the network, its weights drawn by torch's generator."""
    smallest_side: int
    """Pixels of the shorter side from which on the last batch norm sees more than one position, as it must where the
    last batch has one image."""


def _resnet(name: str, classes: int, size: int) -> Staged:
    """torchvision's ResNet (He et al. 2016, arXiv 1512.03385), with the stem that fits the images.

    Below FULL_SIZE that is one 3 x 3 convolution, else ImageNet's 7 x 7 one with stride 2 and a max-pooling.
    """
    network = vision.torchvision().models.get_model(name, weights=None, num_classes=classes)
    width = network.conv1.out_channels
    if size >= FULL_SIZE:
        first = [nn.Conv2d(3, width, 7, 2, padding=3, bias=False), network.bn1, network.relu, network.maxpool]
    else:
        first = [nn.Conv2d(3, width, 3, padding=1, bias=False), network.bn1, network.relu]
    he_normal(first[0])
    stages = [nn.Sequential(*first, network.layer1), network.layer2, network.layer3, network.layer4]
    return Staged(stages, None, network.fc)


def _preact_resnet_18(classes: int, size: int) -> Staged:
    """ResNet-18 with pre-activation (He et al. 2016, arXiv 1603.05027), as backdoor benchmarks use it on small images.

    Its first convolution is 3 x 3 at every size. As in the code that those use, no norm stands before the head.
    """
    widths = (64, 128, 256, 512)
    first = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
    stages = [nn.Sequential(first, *_pair(widths[0], widths[0], 1))]
    stages += [nn.Sequential(*_pair(narrow, wide, 2)) for narrow, wide in pairwise(widths)]
    network = Staged(stages, None, nn.Linear(widths[-1], classes))
    he_normal(network)
    return network


def _pair(inputs: int, outputs: int, stride: int) -> tuple[Block, Block]:
    return Block(inputs, outputs, stride, nn.BatchNorm2d), Block(outputs, outputs, 1, nn.BatchNorm2d)


def _vgg_16_bn(classes: int, size: int) -> Staged:
    """The convolutions of torchvision's VGG-16 with batch norm (Simonyan & Zisserman 2015, arXiv 1409.1556).

    In place of its three large linear layers, made for 224 x 224, the head is one on the means of the last maps.
    A stage ends before a max-pooling, and the next one begins with it; the last one makes the last maps.
    """
    vgg = vision.torchvision().models.vgg
    layers = list(vgg.make_layers(vgg.cfgs["D"], batch_norm=True))
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            he_normal(layer)
            nn.init.zeros_(layer.bias)
    starts = [0, *(place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d))]
    stages = [nn.Sequential(*layers[start:end]) for start, end in pairwise(starts)]
    return Staged(stages, layers[-1], nn.Linear(512, classes))


def _mobilenet(name: str, classes: int, size: int) -> Staged:
    """torchvision's MobileNetV3 (Howard et al. 2019, arXiv 1905.02244); its first stride is 1 below FULL_SIZE.

    Batch norms have torch's defaults, as in all other models here: with torchvision's own momentum of 0.01 their
    statistics lag hundreds of steps behind. The head has no dropout, whose masks would be drawn from no stream of ours.
    """
    own = {"weights": None, "num_classes": classes, "dropout": 0.0, "norm_layer": nn.BatchNorm2d}
    network = vision.torchvision().models.get_model(name, **own)
    *blocks, last = network.features
    halving = [place for place, block in enumerate(blocks) if place and any(_halves(part) for part in block.modules())]
    if size < FULL_SIZE:
        blocks[0][0].stride = (1, 1)
    stages = [nn.Sequential(*blocks[start:end]) for start, end in pairwise([0, *halving, len(blocks)])]
    return Staged(stages, last, network.classifier)


def _halves(part: nn.Module) -> bool:
    return isinstance(part, nn.Conv2d) and part.stride == (2, 2)


ARCHITECTURES: dict[str, Architecture] = {
    "resnet-18": Architecture(partial(_resnet, "resnet18"), 9),
    "resnet-34": Architecture(partial(_resnet, "resnet34"), 9),
    "preact-resnet-18": Architecture(_preact_resnet_18, 9),
    "vgg-16-bn": Architecture(_vgg_16_bn, 32),
    "mobilenet-v3-small": Architecture(partial(_mobilenet, "mobilenet_v3_small"), 17),
    "mobilenet-v3-large": Architecture(partial(_mobilenet, "mobilenet_v3_large"), 17),
}
"""Name -> the network. All have batch norm."""
