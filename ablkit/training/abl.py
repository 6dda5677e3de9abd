"""Anti-Backdoor Learning: isolate, fine-tune, unlearn; and the same training with the defence switched off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from torch import nn

from ablkit.data.images import Images
from ablkit.errors import unknown
from ablkit.shapes import Float, Int64, ndarray
from ablkit.training import hardware
from ablkit.training.course import Course, Judge, Told
from ablkit.training.kept import Chain, Store
from ablkit.training.progress import Evaluation, print_epoch
from ablkit.training.recipe import RECIPES, Recipe
from ablkit.training.scores import Trajectories, rounded

Method = Literal["abl", "none"]


@dataclass(frozen=True)
class Trained:
    """What a training leaves behind."""

    model: nn.Module
    history: list[dict]
    """One record for each epoch: stage, epoch, loss, learning_rate, images, seconds and what `evaluate` returned."""
    losses: Float[ndarray, " n"] | None
    """What isolation ranked on, cross entropy of each training example at the turning epoch unless the recipe's
    `isolation_score` says otherwise; None for method `none`."""
    isolated: Int64[ndarray, " k"]
    """Indices of the isolated examples, lowest loss first; empty for method `none`."""
    record: dict[str, float] = field(default_factory=dict)
    """What a defence measured of itself; names say the unit."""
    trajectories: Trajectories = field(default_factory=dict)
    """Scores of each training example (columns) by epoch of phase 1 (rows), float16: those that the recipe's
    `trajectories` names, after each epoch, and what its `isolation_score` needs, where one epoch is enough after the
    last alone."""
    averaged: nn.Module | None = None
    """The model of averaged weights and fresh statistics, of phase 1, where isolation ranks on its losses."""


def train(
    data: Images,
    recipe: Recipe = RECIPES["paper"],
    *,
    method: Method = "abl",
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    evaluate: Evaluation | None = None,
    judge: Judge | None = None,
    folder: Path | None = None,
    store: Store | None = None,
    checkpoint_seconds: float = 5.0,
    report: Callable[[dict], None] | None = print_epoch,
) -> Trained:
    """Train a model on a set of which an unknown part is poisoned.

    It is given images and the labels as the adversary left them, nothing else: the truth about either cannot reach it.

    Args:
        method: `abl`, or `none` for the control: the same epochs, learning rates and augmentation with plain cross
            entropy in phase 1, nothing isolated and nothing unlearned.
        seed: draws weights, batch order and augmentation, each from its own stream.
        evaluate: called after each epoch with the model, the stage's name, the number of finished epochs in it and
            whether it was the stage's last; what it returns joins the epoch's record. It must not change the model.
        judge: called after each epoch of phase 1 in which scores of the examples are computed, with those of all epochs
            so far; what it returns joins the record too.
        folder: keeps the history there, and, without a `store`, the stages with their records: a training that goes on
            there has to be given the same `evaluate`, unless that has an `identity`, as `after_epoch.measure` gives it.
        store: keeps the stages: one that any training has come through is taken from there, one that was interrupted
            goes on, to the same bits on a CPU. What is damaged is dropped with a line.
        checkpoint_seconds: least time between checkpoints within a stage; at the end of a stage there always is one.
        report: called with each new record and the seconds that are left.

    Raises UserError for settings out of range and a loss that is not finite.
    """
    if method not in get_args(Method):
        raise unknown("method", method, get_args(Method))
    course = Course(data, recipe, method, seed, hardware.choose(device, precision))
    # Without a store the records are kept under what `evaluate` says that it measures.
    own = {} if store else {"evaluate": getattr(evaluate, "identity", "")}
    chain = Chain(folder, store, course.facts() | own, data.images, data.labels)
    told = Told(evaluate, judge, report, folder)
    for index, stage in enumerate(course.stages):
        course.isolate(stage)
        with chain.hold(stage, *course.what_decides(index, stage)) as path:
            course.go_through(index, stage, path, chain.key, told, checkpoint_seconds)
    isolated = np.empty(0, dtype=np.int64) if course.isolated is None else course.isolated
    kept = rounded(course.trajectories)
    averaged = course.scores.model_of("averaged") if "averaged" in course.own_scores else None
    return Trained(course.model.eval(), course.history, course.losses, isolated, trajectories=kept, averaged=averaged)
