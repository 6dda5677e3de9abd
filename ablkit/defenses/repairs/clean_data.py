"""Training a copy of the backdoored model on the clean images: alone a defence, and a part of the three repairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ablkit.data.images import Images
from ablkit.defenses import training
from ablkit.defenses.defense import Evaluation, Given
from ablkit.errors import UserError
from ablkit.randomness import torch_stream
from ablkit.settings import at_least
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
    place_in_stream: int = 0,
    **others: object,
) -> list[dict]:
    """Train `model` in place on the clean images for one stage; return one record an epoch.

    See `loop.train` for `others`. Raises UserError where there are no clean images or the loss is not finite.
    """

    def streams(epoch: int) -> tuple[torch.Generator, torch.Generator]:
        order, drawn = (
            torch_stream(given.seed, "defense", what, place_in_stream, epoch) for what in (ORDER, AUGMENTATION)
        )
        return order, drawn

    return training.train(model, given, stage, clean_images(given), batch_size, streams, evaluate, **others)


def clean_images(given: Given) -> Images:
    """The clean images; raises UserError where there are none."""
    if given.clean is None or not len(given.clean):
        raise UserError("this defence needs clean images and got none; hold some out from training (the paper: 5 %)")
    return given.clean
