"""Model names and their builders."""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ablkit.errors import UserError, shown
from ablkit.models.normalise import Normalised
from ablkit.models.wrn import WideResNet, group_norm
from ablkit.randomness import torch_stream
from ablkit.shapes import Float, Tensor

_WRN = re.compile(r"wrn-([0-9]{1,3})-([0-9]{1,3})(-gn)?")
_DEEPEST, _WIDEST = 250, 50


def check(name: str) -> None:
    """Raise UserError where `name` is no model."""
    match = _WRN.fullmatch(name)
    if not match:
        raise UserError(f"{shown(name)} is no model; known: wrn-DEPTH-WIDTH or wrn-DEPTH-WIDTH-gn, as 'wrn-16-1'")
    depth, width = map(int, match.groups()[:2])
    if depth > _DEEPEST or width > _WIDEST:
        raise UserError(f"model {name!r} is larger than any that is trained here; at most wrn-{_DEEPEST}-{_WIDEST}")
    if depth < 10 or (depth - 4) % 6 or width < 1:
        raise UserError(f"model {name!r}: the depth must be 6 k + 4 (10, 16, 22, 28, 40) and the width at least 1")


def build(name: str, classes: int, *, channels: int = 3, normalise: bool = False, seed: int = 0) -> nn.Module:
    """A freshly initialised model that takes images in [0, 1].

    Args:
        name: `wrn-DEPTH-WIDTH`; the paper's CIFAR-10 model is `wrn-16-1` (175,066 parameters). With `-gn` behind, group
            norm takes the place of every batch norm.
        normalise: subtract CIFAR-10's channel means and divide by its deviations inside the model. The authors'
            code does not, so neither does the default.
        seed: draws the weights from their own stream; torch's global generator is left as it was.
    """
    check(name)
    depth, width, grouped = _WRN.fullmatch(name).groups()
    norm = group_norm if grouped else nn.BatchNorm2d
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_stream(seed, "weights").initial_seed())
        model = WideResNet(int(depth), int(width), classes, channels, norm)
    return Normalised(model) if normalise else model


def has_batch_norm(name: str) -> bool:
    """Whether a model of that name normalises batches, and so keeps statistics of them; raises UserError for none."""
    check(name)
    return not name.endswith("-gn")


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers of a model that keep statistics of batches; see `has_batch_norm`."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def unwrapped(model: nn.Module) -> WideResNet:
    """The network itself, without its normalisation of the input; raises UserError where it is no `wrn`."""
    network = model.model if isinstance(model, Normalised) else model
    if not isinstance(network, WideResNet):
        raise UserError(f"a {type(network).__name__} has no three groups to look into; use a model wrn-DEPTH-WIDTH")
    return network


def group_outputs(model: nn.Module, x: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n d i j"]]:
    """What each of the three groups of a model of `build` gives for images in [0, 1].

    `unwrapped(model).classify` of the last one are the logits. Raises UserError where the model is no `wrn`.
    """
    return unwrapped(model).group_outputs(model.normalised(x) if isinstance(model, Normalised) else x)


def features(model: nn.Module, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
    """What the layers of a model of `build` say of images in [0, 1]: each channel's mean over the image.

    Of the outputs of the three groups and of the maps that the head takes: 16 + 32 + 64 + 64 numbers in the paper's
    model. Raises UserError where the model is no `wrn`.
    """
    outputs = group_outputs(model, x)
    maps = [*outputs, unwrapped(model).last_channels(outputs[-1])]
    return torch.cat([one.mean(dim=(2, 3)) for one in maps], dim=1)
