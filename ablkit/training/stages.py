"""The stages of a training: which examples, which loss, which learning rate, for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

from ablkit.shapes import Tensor
from ablkit.training import losses
from ablkit.training.recipe import BatchNorm, Recipe

Members = Literal["all", "kept", "isolated", "both"]


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with the same examples and the same loss."""

    name: str
    """`isolate`, `finetune`, `unlearn` or `joint`."""
    epochs: int
    members: Members
    """All examples, those kept at the turning epoch, those isolated then, or `both`: half a batch of each."""
    loss: Callable[[Tensor, Tensor], Tensor]
    learning_rate: Callable[[int], float]
    """Epoch, counted from 0 -> learning rate."""
    augmented: bool
    shuffled: bool = True
    batchnorm: BatchNorm = "train"
    """See the recipe's `unlearn_batchnorm`."""
    keeps_optimiser: bool = False
    """Go on with the optimiser of the stage before."""

    def facts(self) -> dict:
        """All that decides what is done in it, as JSON values: every field, so that none is forgotten."""
        loss = self.loss if isinstance(self.loss, partial) else partial(self.loss)
        others = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("loss", "learning_rate")}
        rates = [self.learning_rate(epoch) for epoch in range(self.epochs)]
        return {**others, "loss": [loss.func.__name__, loss.keywords], "learning_rate": rates}


def plan(recipe: Recipe, method: str) -> list[Stage]:
    """The stages of ABL after `recipe`, or of the control without any of its defensive steps (method `none`)."""
    isolation_loss = {
        "lga": partial(losses.local_gradient_ascent, gamma=recipe.gamma, per_sample=recipe.per_sample),
        "flooding": partial(losses.flooding, level=recipe.gamma, per_sample=recipe.per_sample),
        "plain": losses.cross_entropy,
    }[recipe.isolation_loss if method == "abl" else "plain"]

    def finetune_rate(epoch: int) -> float:
        dropped = epoch >= recipe.finetune_drop_epoch
        return recipe.finetune_learning_rate * (recipe.finetune_drop_factor if dropped else 1.0)

    isolate = Stage(
        "isolate",
        recipe.isolation_epochs,
        "all",
        isolation_loss,
        lambda epoch: recipe.isolation_learning_rate,
        augmented=recipe.isolation_augmentation,
        shuffled=recipe.isolation_shuffle,
    )
    if method == "abl" and recipe.schedule == "joint":
        epochs = recipe.finetune_epochs + recipe.unlearn_epochs
        loss = partial(losses.global_gradient_ascent, weight=recipe.joint_weight)
        return [isolate, Stage("joint", epochs, "both", loss, finetune_rate, recipe.finetune_augmentation)]
    finetune = Stage(
        "finetune",
        recipe.finetune_epochs,
        "kept" if method == "abl" else "all",
        losses.cross_entropy,
        finetune_rate,
        augmented=recipe.finetune_augmentation,
    )
    if method == "none":
        return [isolate, finetune]
    unlearn = Stage(
        "unlearn",
        recipe.unlearn_epochs,
        "isolated",
        losses.gradient_ascent,
        lambda epoch: recipe.unlearn_learning_rate,
        augmented=recipe.unlearn_augmentation,
        batchnorm=recipe.unlearn_batchnorm,
        keeps_optimiser=recipe.carry_momentum,
    )
    return [isolate, finetune, unlearn]
