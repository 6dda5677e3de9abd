"""How near a training step comes to what the device can do at best: products of matrices, and copies."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ablkit import models
from ablkit.training.hardware import Hardware
from ablkit.training.losses import cross_entropy
from ablkit.training.recipe import Recipe

_ROUNDS = 9
_SIDE = {"cpu": 2048, "cuda": 8192}
_COPIED = {"cpu": 2**28, "cuda": 2**31}
"""Bytes, several times what the caches hold."""


def shares(place: Hardware, recipe: Recipe, images_per_second: float) -> dict[str, float]:
    """What phase 1 needs for an image, what the device can do, and how much of it that rate uses.

    Products are counted by torch. Bytes are a floor: each convolution and batch norm reads its input and writes its
    output once, and twice as much backwards. The ceilings are the best of some rounds of one large product in the same
    precision and of one large copy, which reads and writes.
    """
    products, traffic = _step(place, recipe)
    product_ceiling, copy_ceiling = _products(place), _copies(place)
    return {
        "gigaflops_an_image": products / 1e9,
        "megabytes_an_image": traffic / 1e6,
        "product_ceiling_gigaflops_a_second": product_ceiling / 1e9,
        "copy_ceiling_gigabytes_a_second": copy_ceiling / 1e9,
        "share_of_product_ceiling": images_per_second * products / product_ceiling,
        "share_of_copy_ceiling": images_per_second * traffic / copy_ceiling,
    }


def _step(place: Hardware, recipe: Recipe) -> tuple[float, float]:
    """Floating point operations and bytes of one training step, for each image."""
    model = place.place(models.build(recipe.model, 10)).train()
    x = place.inputs(torch.zeros(recipe.batch_size, 32, 32, 3, dtype=torch.uint8, device=place.device))
    moved = 0

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal moved
        moved += 3 * (inputs[0].numel() + output.numel()) * output.element_size()

    leaves = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))]
    hooks = [module.register_forward_hook(count) for module in leaves]
    with FlopCounterMode(display=False) as counter:
        with place.autocast():
            logits = model(x)
        cross_entropy(logits, torch.zeros(len(x), dtype=torch.int64, device=place.device)).backward()
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() / len(x), moved / len(x)


def _products(place: Hardware) -> float:
    side = _SIDE[place.device.type]
    dtype = torch.bfloat16 if place.precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=place.device).to(dtype) for _ in range(2))
    return 2 * side**3 / _seconds(lambda: a @ b)


def _copies(place: Hardware) -> float:
    size = _COPIED[place.device.type]
    source = torch.ones(size, dtype=torch.uint8, device=place.device)
    target = torch.empty_like(source)
    return 2 * size / _seconds(lambda: target.copy_(source))


def _seconds(work: Callable[[], torch.Tensor]) -> float:
    """The shortest time of some rounds, after one that warms up."""
    taken = []
    for _ in range(_ROUNDS + 1):
        started = time.perf_counter()
        work().flatten()[0].item()  # waits until it is done
        taken.append(time.perf_counter() - started)
    return min(taken[1:])
