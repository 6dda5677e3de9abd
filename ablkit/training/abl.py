"""Anti-Backdoor Learning: isolate, fine-tune, unlearn; and the same training with the defence switched off."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from ablkit import models, provenance
from ablkit.data.images import Images
from ablkit.errors import UserError, unknown
from ablkit.randomness import torch_stream
from ablkit.shapes import Float, Int64, Tensor, ndarray
from ablkit.training import checkpoint, graphs, hardware
from ablkit.training.augmentation import augment
from ablkit.training.checkpoint import CHECKPOINT, Progress
from ablkit.training.epoch import one_set, run_epoch, sgd, two_sets
from ablkit.training.hardware import Hardware
from ablkit.training.inference import per_example_losses
from ablkit.training.isolation import isolate, isolated_count
from ablkit.training.progress import Clock, Evaluation, print_epoch
from ablkit.training.recipe import RECIPES, Recipe
from ablkit.training.scores import Scores, Trajectories, joined, needed, ranked_by, rounded
from ablkit.training.stages import Stage, plan
from ablkit.training.suspects import Suspects

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
    """Scores of each training example (columns) after each epoch of phase 1 (rows), float16: those that the recipe's
    `trajectories` names, and what its `isolation_score` needs."""
    suspects: Suspects | None = None
    """What method `exclude` suspected, and the images that it excluded."""


def train(
    data: Images,
    recipe: Recipe = RECIPES["paper"],
    *,
    method: Method = "abl",
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    evaluate: Evaluation | None = None,
    judge: Callable[[dict[str, ndarray]], dict] | None = None,
    folder: Path | None = None,
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
        judge: called after each epoch of phase 1 in which scores of the examples are computed, with these by name; what
            it returns joins the record too.
        folder: keeps a checkpoint there; a training that finds its own goes on from it, to the same bits on a CPU. One
            that is damaged, or of another training, is dropped with a line.
        checkpoint_seconds: least time between checkpoints within a stage; at the end of a stage there always is one.
        report: called with each new record and the seconds that are left.

    Raises UserError for settings out of range and a loss that is not finite.
    """
    if method not in get_args(Method):
        raise unknown("method", method, get_args(Method))
    images, labels, classes = data.images, data.labels, len(data.classes)
    recipe.check_images(images.shape[1:])
    isolated_count(len(labels), recipe.isolation_rate)
    place = hardware.choose(device, precision)
    model = place.place(models.build(recipe.model, classes, normalise=recipe.normalise, seed=seed))
    stages = plan(recipe, method)
    on_device = torch.tensor(images, device=place.device), torch.tensor(labels, device=place.device)
    scores = Scores(
        needed(recipe.trajectories, recipe.isolation_score if method == "abl" else "loss"),
        model,
        *on_device,
        place.precision,
        decay=recipe.average_decay,
        count=recipe.statistics_images,
        seed=seed,
    )
    save, state, momentum = _resume(
        folder, images, labels, model, scores, recipe, method=method, seed=seed, place=str(place)
    )
    clock = Clock(stages, len(labels), recipe)
    forward = graphs.compiled(model, place, clock.images_in_all() // recipe.batch_size)
    optimiser, saved = None, time.monotonic()
    for index, stage in enumerate(stages):
        if index < state.stage:
            continue
        if stage.members != "all" and state.isolated is None:
            known = ranked_by(recipe.isolation_score, state.trajectories)
            state.losses = per_example_losses(model, *on_device, place.precision) if known is None else known
            state.isolated = isolate(state.losses, recipe.isolation_rate)
        if optimiser is None or not stage.keeps_optimiser:
            optimiser = sgd(model.parameters(), recipe)
            checkpoint.restore_momentum(optimiser, momentum if index == state.stage else {})
        while state.epoch < stage.epochs:
            record, found = _epoch(
                model, forward, optimiser, on_device, stage, index, state, recipe, seed, place, scores
            )
            started = time.perf_counter()
            if evaluate is not None:
                record |= evaluate(model, stage.name, state.epoch, state.epoch == stage.epochs)
            if judge is not None and found:
                record |= judge(found)
            record["evaluation_seconds"] = time.perf_counter() - started
            state.history.append(record)
            if state.epoch == stage.epochs or time.monotonic() - saved >= checkpoint_seconds:
                save(state, model, optimiser)
                saved = time.monotonic()
            if folder is not None:
                checkpoint.write_history(folder, state.history)
            if report is not None:
                report({**record, "seconds_left": clock.seconds_left(record, index)})
        state.stage, state.epoch, momentum = index + 1, 0, {}
    model.eval()
    isolated = np.empty(0, dtype=np.int64) if state.isolated is None else state.isolated
    return Trained(model, state.history, state.losses, isolated, trajectories=rounded(state.trajectories))


def _resume(
    folder: Path | None,
    images: ndarray,
    labels: ndarray,
    model: nn.Module,
    scores: Scores,
    recipe: Recipe,
    **others: object,
) -> tuple[Callable, Progress, dict[int, Tensor]]:
    """How to save this training, and how far it has come already."""
    if folder is None:
        return lambda state, model, optimiser: None, Progress(), {}
    path = folder / CHECKPOINT
    # How images came about has no part in it, so that an edit of an attack does not orphan an unfinished surrogate.
    identity = checkpoint.fingerprint(images, labels, recipe, code=provenance.digest(__name__), **others)
    sizes = {"losses": len(labels), "isolated": isolated_count(len(labels), recipe.isolation_rate)}
    progress, momentum = checkpoint.load(path, identity, model, sizes, scores.names, scores.average)
    return partial(checkpoint.save, path, identity, average=scores.average), progress, momentum


def _epoch(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    on_device: tuple[Tensor, Tensor],
    stage: Stage,
    index: int,
    state: Progress,
    recipe: Recipe,
    seed: int,
    place: Hardware,
    scores: Scores,
) -> tuple[dict, dict[str, ndarray]]:
    """Train one epoch, count it in `state` and return its record, and in phase 1 the scores of the examples by name.

    Raises UserError where the loss is not finite.
    """
    started = time.perf_counter()
    rate = stage.learning_rate(state.epoch)
    for group in optimiser.param_groups:
        group["lr"] = rate
    model.train(not stage.freezes_batchnorm)
    drawn = torch_stream(seed, "augmentation", index, state.epoch)
    batches = list(_batches(stage, recipe, len(on_device[1]), state, torch_stream(seed, "order", index, state.epoch)))
    loss = run_epoch(
        forward,
        optimiser,
        *on_device,
        [batch.to(place.device) for batch in batches],
        stage.loss,
        place,
        partial(augment, recipe=recipe, generator=drawn) if stage.augmented else None,
        capture=True,
        after_step=scores.average.update if scores.average and stage.name == "isolate" else None,
    )
    state.epoch += 1
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} in stage {stage.name}, epoch {state.epoch}; lower its learning rate ({rate:g})"
        )
    found = scores.compute() if stage.name == "isolate" else {}
    if found:
        state.trajectories = joined(state.trajectories, found)
    record = {
        "stage": stage.name,
        "epoch": state.epoch,
        "loss": loss,
        "learning_rate": rate,
        "images": sum(len(batch) for batch in batches),
        "seconds": time.perf_counter() - started,
    }
    return record, found


def _batches(stage: Stage, recipe: Recipe, n: int, state: Progress, order: torch.Generator) -> Iterable[Tensor]:
    """The index batches of one epoch."""
    if stage.members == "all":
        return one_set(torch.arange(n), recipe.batch_size, order if stage.shuffled else None)
    isolated = torch.tensor(state.isolated)
    kept = torch.tensor(np.setdiff1d(np.arange(n), state.isolated))
    if stage.members == "both":
        return two_sets(kept, isolated, recipe.batch_size, order)
    return one_set(kept if stage.members == "kept" else isolated, recipe.batch_size, order)
