"""One epoch of any stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from ablkit import models
from ablkit.errors import UserError
from ablkit.shapes import Int64, Tensor, UInt8
from ablkit.training.graphs import captured
from ablkit.training.hardware import Hardware
from ablkit.training.recipe import BatchNorm, Recipe


def run_epoch(
    model: Callable[[Tensor], object],
    optimiser: torch.optim.Optimizer,
    images: UInt8[Tensor, "n h w c"],
    labels: Int64[Tensor, " n"],
    batches: Sequence[Tensor],
    loss_of: Callable[[object, Tensor], Tensor],
    place: Hardware,
    augment: Callable[..., Tensor] | None = None,
    capture: bool = False,
    after_step: Callable[[], None] | None = None,
) -> float:
    """Take one optimiser step for each batch of indices; return the mean of the batches' losses.

    Images and labels lie on the device as a whole, so that nothing is decoded, copied or waited for inside the epoch.
    What `model` returns, for a network its logits, goes to `loss_of` as it is.

    Args:
        augment: is given images and `sizes`, see `augmentation.augment`.
        capture: on CUDA, replay the step as a graph; not where `model` or `loss_of` draws or decides in Python.
        after_step: called after each step of the optimiser, as a part of the step that is replayed.
    """
    total = torch.zeros((), device=place.device)

    def step(batch: Tensor, targets: Tensor) -> None:
        with place.autocast():
            logits = model(place.inputs(batch))
        loss = loss_of(logits, targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if after_step is not None:
            after_step()
        total.add_(loss.detach())

    take = captured(step, place) if capture else step
    for chunk in _chunks(batches, images[0].numel(), place):
        members, sizes = torch.cat(chunk), [len(batch) for batch in chunk]
        chosen = images[members]
        if augment is not None:
            chosen = augment(chosen, sizes=sizes)
        if place.device.type == "cuda":
            chosen = chosen.contiguous()  # of one memory order, augmented or not: the other would be compiled anew
        for batch, targets in zip(chosen.split(sizes), labels[members].split(sizes), strict=True):
            take(batch, targets)
    return total.item() / len(batches)


@contextmanager
def training_mode(parts: Iterable[nn.Module], batchnorm: BatchNorm) -> Iterator[None]:
    """Modules as an epoch trains them, with batch norm as the recipe's `unlearn_batchnorm` says."""
    norms = []
    for part in parts:
        part.train(batchnorm != "eval")
        norms += models.batch_norms(part)
    if batchnorm != "momentum_0":
        yield
        return
    with models.statistics_momentum(norms, 0.0):
        yield


_CHUNK_BYTES = 2**28


def _chunks(batches: Sequence[Tensor], bytes_an_image: int, place: Hardware) -> Iterator[Sequence[Tensor]]:
    """The batches drawn together: one on a CPU, on CUDA as many as fit, as each operation has to be launched."""
    images = 1 if place.device.type == "cpu" else _CHUNK_BYTES // bytes_an_image
    number = max(1, images // len(batches[0]))
    for start in range(0, len(batches), number):
        yield batches[start : start + number]


def one_set(members: Int64[Tensor, " m"], size: int, shuffle: torch.Generator | None) -> tuple[Tensor, ...]:
    """Batches that visit every member once, in a drawn order or in the given one."""
    return _ordered(members, shuffle).split(size)


def two_sets(
    kept: Int64[Tensor, " m"], isolated: Int64[Tensor, " k"], size: int, shuffle: torch.Generator
) -> list[Tensor]:
    """Batches whose first half visits every kept example once and whose second half cycles through the isolated."""
    first = _ordered(kept, shuffle)
    rounds = -(-len(first) // len(isolated))
    second = torch.cat([_ordered(isolated, shuffle) for _ in range(rounds)])[: len(first)]
    half = max(1, size // 2)
    return [torch.cat(halves) for halves in zip(first.split(half), second.split(half), strict=True)]


def _ordered(members: Tensor, shuffle: torch.Generator | None) -> Tensor:
    if shuffle is None:
        return members
    return members[torch.randperm(len(members), generator=shuffle).to(members.device)]


def sgd(parameters: Iterable[nn.Parameter], recipe: Recipe, rate: float = 0.0) -> torch.optim.SGD:
    """The optimiser of every stage, in which each epoch sets the learning rate; see `set_rate`."""
    return torch.optim.SGD(
        parameters,
        lr=rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def check_finite(loss: float, stage: str, epoch: int, rate: float) -> None:
    """Raise UserError for a loss that is not finite, after an epoch (counted from 1) of a stage."""
    if not math.isfinite(loss):
        raise UserError(f"the loss is {loss} in stage {stage}, epoch {epoch}; lower its learning rate ({rate:g})")
