"""The one training loop of all defences: a stage of epochs over some examples, on a copy of the backdoored model."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from ablkit.data.images import Images
from ablkit.defenses.defense import Evaluation, Given
from ablkit.shapes import Tensor
from ablkit.training import hardware
from ablkit.training.augmentation import augment
from ablkit.training.epoch import check_finite, one_set, run_epoch, set_rate, sgd, training_mode
from ablkit.training.hardware import Hardware
from ablkit.training.stages import Stage

Streams = Callable[[int], tuple[torch.Generator, torch.Generator]]
"""Epoch, counted from 0 -> the generators that draw its batch order and its augmentation."""
Batches = Callable[[torch.Generator], Sequence[Tensor]]
"""The generator of an epoch's batch order -> its batches, as indices of the examples."""


def train(
    model: nn.Module,
    given: Given,
    stage: Stage,
    examples: Images,
    batch_size: int,
    streams: Streams,
    evaluate: Evaluation | None = None,
    *,
    forward: Callable[[Tensor], object] | None = None,
    optimiser: torch.optim.Optimizer | None = None,
    parts: Sequence[nn.Module] | None = None,
    redraw: Callable[[Tensor, int], Tensor] | None = None,
    batches: Batches | None = None,
    ends: Callable[[nn.Module, dict], bool] | None = None,
) -> list[dict]:
    """Train `model` in place on `examples` for one stage; return one record an epoch.

    Momentum, weight decay and augmentation are those of the recipe.

    Args:
        forward: called instead of the model; what it returns goes to the stage's loss.
        optimiser: another than the recipe's over all parameters.
        parts: the modules of the model that are trained and follow the stage's batch norm; the others stay in eval
            mode. By default the whole model.
        redraw: called with the images on the device and the epoch, counted from 0; gives those of that epoch.
        batches: in place of those of `batch_size` that visit each example once.
        ends: called after each epoch with the model and the record, to which it may add; where it says so the stage
            ends there.

    Raises UserError where the loss is not finite.
    """
    place = hardware_of(given)
    images, labels = (torch.tensor(array, device=place.device) for array in (examples.images, examples.labels))
    optimiser = optimiser or sgd(model.parameters(), given.recipe)
    history = []
    for epoch in range(stage.epochs):
        started = time.perf_counter()
        rate = stage.learning_rate(epoch)
        set_rate(optimiser, rate)
        order, drawn = streams(epoch)
        model.eval()
        taken = one_set(torch.arange(len(labels)), batch_size, order) if batches is None else batches(order)
        with training_mode([model] if parts is None else parts, stage.batchnorm):
            loss = run_epoch(
                forward or model,
                optimiser,
                images if redraw is None else redraw(images, epoch),
                labels,
                [batch.to(place.device) for batch in taken],
                stage.loss,
                place,
                partial(augment, recipe=given.recipe.fitting(examples), generator=drawn) if stage.augmented else None,
            )
        check_finite(loss, stage.name, epoch + 1, rate)
        seconds = time.perf_counter() - started
        record = {"stage": stage.name, "epoch": epoch + 1, "loss": loss, "learning_rate": rate, "seconds": seconds}
        record["images"] = sum(len(batch) for batch in taken)
        over = ends is not None and ends(model, record)
        history.append(finished(record, model, given, evaluate))
        if over:
            break
    return history


def finished(record: dict, model: nn.Module, given: Given, evaluate: Evaluation | None) -> dict:
    """`record` after its evaluation, reported; none is the last, as the result of a defence is measured once more."""
    started = time.perf_counter()
    if evaluate is not None:
        record |= evaluate(model, record["stage"], record["epoch"], False)
    record["evaluation_seconds"] = time.perf_counter() - started
    if given.report is not None:
        given.report(record)
    return record


def working_copy(given: Given, start: nn.Module | None = None) -> nn.Module:
    """A copy of the backdoored model, or of `start`, on the device."""
    place = hardware_of(given)
    return place.place(copy.deepcopy(given.model if start is None else start))


def hardware_of(given: Given) -> Hardware:
    """Where a defence computes."""
    return hardware.choose(given.device, given.precision)
