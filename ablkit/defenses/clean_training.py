"""Training a copy of the backdoored model on the clean images: alone a defence, and a part of the three repairs."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from ablkit.attacks.craft import at_least
from ablkit.data.images import Images
from ablkit.defenses.defense import Evaluation, Given
from ablkit.errors import UserError
from ablkit.randomness import torch_stream
from ablkit.shapes import Tensor
from ablkit.training import hardware
from ablkit.training.abl import sgd
from ablkit.training.augmentation import augment
from ablkit.training.hardware import Hardware
from ablkit.training.loop import one_set, run_epoch
from ablkit.training.losses import cross_entropy
from ablkit.training.stages import Stage

# The first counter of the stream "defense": what is drawn.
ORDER, AUGMENTATION, SPLIT, CURVE, SECOND_END = range(1, 6)


@dataclass(frozen=True)
class Settings:
    """How a model is trained on the clean images; the defaults are those of NAD's paper or code (C)."""

    epochs: int = 20
    """Epochs on the clean images."""
    batch_size: int = 64
    """Mini-batch (C)."""
    learning_rate: float = 0.1
    """Before its drop (C)."""
    drop_epoch: int = 2
    """Epoch from which the learning rate is lowered (C)."""
    drop_factor: float = 0.1
    """What the learning rate is multiplied by at the drop (C)."""
    augmentation: bool = True
    """Crop, flip and cutout as in the training's recipe."""

    def __post_init__(self) -> None:
        at_least(self, epochs=0, batch_size=2, learning_rate=0, drop_epoch=0, drop_factor=0)

    def rate(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        return self.learning_rate * (self.drop_factor if epoch >= self.drop_epoch else 1.0)


def finetune(
    model: nn.Module,
    given: Given,
    settings: Settings,
    evaluate: Evaluation | None = None,
    *,
    name: str = "finetune",
    place_in_stream: int = 0,
) -> list[dict]:
    """Train `model` in place on the clean images with plain cross entropy; return one record an epoch.

    Args:
        name: of the stage, in records and for `evaluate`.
        place_in_stream: another number draws another batch order and augmentation.

    Raises UserError where there are no clean images or the loss is not finite.
    """
    stage = Stage(name, settings.epochs, "all", cross_entropy, settings.rate, settings.augmentation)
    return run_stage(model, given, stage, settings.batch_size, evaluate, place_in_stream=place_in_stream)


def run_stage(
    model: nn.Module,
    given: Given,
    stage: Stage,
    batch_size: int,
    evaluate: Evaluation | None = None,
    *,
    forward: Callable[[Tensor], object] | None = None,
    weight_decay: float | None = None,
    place_in_stream: int = 0,
) -> list[dict]:
    """Train the parameters of `model` in place on the clean images for one stage; return one record an epoch.

    Momentum and augmentation are those of the recipe.

    Args:
        forward: called instead of the model; what it returns goes to the stage's loss.
        weight_decay: the recipe's unless given.

    Raises UserError where there are no clean images or the loss is not finite.
    """
    clean, place, recipe = clean_images(given), hardware_of(given), given.recipe
    images, labels = (torch.tensor(array, device=place.device) for array in (clean.images, clean.labels))
    decay = recipe.weight_decay if weight_decay is None else weight_decay
    optimiser = sgd(model.parameters(), replace(recipe, weight_decay=decay))
    history = []
    for epoch in range(stage.epochs):
        started = time.perf_counter()
        rate = stage.learning_rate(epoch)
        for group in optimiser.param_groups:
            group["lr"] = rate
        order, drawn = (
            torch_stream(given.seed, "defense", what, place_in_stream, epoch) for what in (ORDER, AUGMENTATION)
        )
        batches = one_set(torch.arange(len(clean)), batch_size, order)
        model.train()
        loss = run_epoch(
            forward or model,
            optimiser,
            images,
            labels,
            [batch.to(place.device) for batch in batches],
            stage.loss,
            place,
            partial(augment, recipe=recipe, generator=drawn) if stage.augmented else None,
        )
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} in stage {stage.name}, epoch {epoch + 1}; lower its learning rate")
        seconds = time.perf_counter() - started
        record = {"stage": stage.name, "epoch": epoch + 1, "loss": loss, "learning_rate": rate, "seconds": seconds}
        history.append(finished(record, model, given, evaluate))
    return history


def finished(record: dict, model: nn.Module, given: Given, evaluate: Evaluation | None) -> dict:
    """`record` after its evaluation, reported."""
    started = time.perf_counter()
    if evaluate is not None:
        record |= evaluate(model, record["stage"], record["epoch"])
    record["evaluation_seconds"] = time.perf_counter() - started
    if given.report is not None:
        given.report(record)
    return record


def working_copy(given: Given) -> nn.Module:
    """A copy of the backdoored model on the device."""
    place = hardware_of(given)
    place.compute_exactly()
    return place.place(copy.deepcopy(given.model))


def hardware_of(given: Given) -> Hardware:
    """Where a defence computes."""
    return hardware.choose(given.device, given.precision)


def clean_images(given: Given) -> Images:
    """The clean images; raises UserError where there are none."""
    if given.clean is None or not len(given.clean):
        raise UserError("this defence needs clean images and got none; hold some out from training (the paper: 5 %)")
    return given.clean
