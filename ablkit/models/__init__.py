"""Model names and their builders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ablkit.errors import UserError, unknown
from ablkit.models.architectures import ARCHITECTURES
from ablkit.models.normalise import Normalised
from ablkit.models.staged import Staged
from ablkit.models.wrn import WideResNet, group_norm
from ablkit.randomness import torch_stream
from ablkit.shapes import Float, Tensor

_WRN = re.compile(r"wrn-([0-9]{1,3})-([0-9]{1,3})(-gn)?")
_DEEPEST, _WIDEST = 250, 50
# Of 4 x 4 a single position would be left, and batch norm cannot normalise one of a last batch of one image.
_SMALLEST_SIDE = 5

NAMES = ("wrn-16-1", "wrn-40-2", *ARCHITECTURES)
"""Models by name; each `wrn-DEPTH-WIDTH` and `wrn-DEPTH-WIDTH-gn` is one too."""


def check(name: str) -> None:
    """Raise UserError where `name` is no model."""
    if name in ARCHITECTURES:
        return
    match = _WRN.fullmatch(name)
    if not match:
        raise unknown("model", name, (*NAMES, "wrn-16-1-gn", "wrn-DEPTH-WIDTH"))
    depth, width = map(int, match.groups()[:2])
    if depth > _DEEPEST or width > _WIDEST:
        raise UserError(f"model {name!r} is larger than any that is trained here; at most wrn-{_DEEPEST}-{_WIDEST}")
    if depth < 10 or (depth - 4) % 6 or width < 1:
        raise UserError(f"model {name!r}: the depth must be 6 k + 4 (10, 16, 22, 28, 40) and the width at least 1")


def build(name: str, classes: int, *, size: int = 32, normalise: bool = False, seed: int = 0) -> nn.Module:
    """A freshly initialised model that takes RGB images in [0, 1].

    Args:
        name: `wrn-DEPTH-WIDTH`; the paper's CIFAR-10 model is `wrn-16-1` (175,066 parameters). With `-gn` behind, group
            norm takes the place of every batch norm. Or one of `ARCHITECTURES`.
        size: pixels of the images' shorter side, which decides how some of these begin; a `wrn` is the same at every
            size. See `smallest_side`.
        normalise: subtract CIFAR-10's channel means and divide by its deviations inside the model. The authors'
            code does not, so neither does the default.
        seed: draws the weights from their own stream; torch's global generator is left as it was.

    Raises UserError for an unknown name.
    """
    check(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_stream(seed, "weights").initial_seed())
        if name in ARCHITECTURES:
            model = ARCHITECTURES[name].build(classes, size)
        else:
            depth, width, grouped = _WRN.fullmatch(name).groups()
            norm = group_norm if grouped else nn.BatchNorm2d
            model = WideResNet(int(depth), int(width), classes, norm)
    return Normalised(model) if normalise else model


def smallest_side(name: str) -> int:
    """Pixels of the shorter side from which on images are large enough for a model; raises UserError for none."""
    check(name)
    return ARCHITECTURES[name].smallest_side if name in ARCHITECTURES else _SMALLEST_SIDE


def has_batch_norm(name: str) -> bool:
    """Whether a model of that name normalises batches, and so keeps statistics of them; raises UserError for none."""
    check(name)
    return not name.endswith("-gn")


def is_wide(name: str) -> bool:
    """Whether a model of that name is a wide residual network; raises UserError for none."""
    check(name)
    return name not in ARCHITECTURES


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers of a model that keep statistics of batches; see `has_batch_norm`."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def statistics_momentum(norms: Sequence[_BatchNorm], momentum: float) -> Iterator[None]:
    """Batch norms whose running statistics move by this share towards each batch's: 0 keeps them, 1 takes the batch's.

    Their own momentum comes back at the end.
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, before in zip(norms, momenta, strict=True):
            norm.momentum = before


def unwrapped(model: nn.Module) -> WideResNet | Staged:
    """The network itself, without its normalisation of the input; raises UserError where `build` made none such."""
    network = model.model if isinstance(model, Normalised) else model
    if not isinstance(network, WideResNet | Staged):
        raise UserError(f"a {type(network).__name__} has no stages to look into; use a model of models.build")
    return network


def wide(model: nn.Module) -> WideResNet:
    """The same of a wide residual network; raises UserError where it is no `wrn`."""
    network = model.model if isinstance(model, Normalised) else model
    if not isinstance(network, WideResNet):
        raise UserError(f"a {type(network).__name__} has no three groups to look into; use a model wrn-DEPTH-WIDTH")
    return network


def group_outputs(model: nn.Module, x: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n d i j"]]:
    """What each of the groups or stages of a model of `build` gives for images in [0, 1]; three of a `wrn`.

    `unwrapped(model).classify` of the last one are the logits. Raises UserError for another model.
    """
    return unwrapped(model).group_outputs(_inside(model, x))


def features(model: nn.Module, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """What the layers of a model of `build` say of images in [0, 1]: each channel's mean over the image.

    Of the outputs of its groups or stages and of the maps that the head takes, each once: 16 + 32 + 64 + 64 numbers in
    the paper's model, 64 + 128 + 256 + 512 in a ResNet-18. Raises UserError for another model.
    """
    return torch.cat([one.mean(dim=(2, 3)) for one in unwrapped(model).maps(_inside(model, x))], dim=1)


def _inside(model: nn.Module, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """What the network itself takes."""
    return model.normalised(x) if isinstance(model, Normalised) else x
