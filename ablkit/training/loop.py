"""One epoch of any stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ablkit.shapes import Int64, Tensor, UInt8
from ablkit.training.capture import captured
from ablkit.training.hardware import Hardware


def run_epoch(
    model: Callable[[Tensor], object],
    optimiser: torch.optim.Optimizer,
    images: UInt8[Tensor, "n h w c"],
    labels: Int64[Tensor, " n"],
    batches: Iterable[Tensor],
    loss_of: Callable[[object, Tensor], Tensor],
    place: Hardware,
    augment: Callable[[Tensor], Tensor] | None = None,
    capture: bool = False,
    after_step: Callable[[], None] | None = None,
) -> float:
    """Take one optimiser step for each batch of indices; return the mean of the batches' losses.

    Images and labels lie on the device as a whole, so that nothing is decoded, copied or waited for inside the epoch.
    What `model` returns, for a network its logits, goes to `loss_of` as it is.

    Args:
        capture: on CUDA, replay the step as a graph; not where `model` or `loss_of` draws or decides in Python.
        after_step: called after each step of the optimiser, as a part of the step that is replayed.
    """
    total, steps = torch.zeros((), device=place.device), 0

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
    for indices in batches:
        batch = images[indices]
        take(batch if augment is None else augment(batch), labels[indices])
        steps += 1
    return total.item() / steps


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
