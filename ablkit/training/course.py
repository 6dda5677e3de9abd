"""A model's course through the stages of a training: what is not kept of them is trained, epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ablkit import models, provenance
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.randomness import torch_stream
from ablkit.shapes import Tensor, ndarray
from ablkit.training import checkpoint, graphs, hardware
from ablkit.training.augmentation import augment
from ablkit.training.averaging import Average
from ablkit.training.checkpoint import Progress
from ablkit.training.epoch import check_finite, one_set, run_epoch, set_rate, sgd, training_mode, two_sets
from ablkit.training.hardware import Hardware
from ablkit.training.inference import per_example_losses
from ablkit.training.isolation import isolate, isolated_count
from ablkit.training.kept import STAGES
from ablkit.training.progress import Clock, Evaluation
from ablkit.training.recipe import Recipe
from ablkit.training.scores import Scores, Trajectories, followed, joined, needed, ranked_by, up_to
from ablkit.training.stages import Stage, plan

Judge = Callable[[Trajectories], dict]

_OF_STAGES = ("isolation_", "finetune_", "unlearn_", "gamma", "per_sample", "schedule", "joint_weight")
_OF_STAGES += ("carry_momentum", "trajectories", "average_decay", "statistics_images")
"""How the settings begin that reach a training through its stages and scores alone, so that those tell all of them."""


@dataclass(frozen=True)
class Told:
    """Who is told of each epoch; see `abl.train`."""

    evaluate: Evaluation | None
    judge: Judge | None
    report: Callable[[dict], None] | None
    folder: Path | None


class Course:
    """The state of a training. Its arguments are those of `abl.train`."""

    def __init__(self, data: Images, recipe: Recipe, method: str, seed: int, place: Hardware) -> None:
        if not isinstance(data, Images):
            way_out = "of a poisoned set give its `data`" if hasattr(data, "data") else "see ablkit.data.Images"
            raise UserError(f"a training takes Images and not {type(data).__name__}; {way_out}")
        recipe = recipe.fitting(data)
        self.classes, self.recipe, self.seed, self.place = len(data.classes), recipe, seed, place
        recipe.check_images(data.images.shape[1:])
        isolated_count(len(data), recipe.isolation_rate)
        self.stages = plan(recipe, method)
        own = {"size": min(data.images.shape[1:3]), "normalise": recipe.normalise, "seed": seed}
        self.model = place.place(models.build(recipe.model, self.classes, **own))
        self.on_device = tuple(torch.tensor(array, device=place.device) for array in (data.images, data.labels))
        score = recipe.isolation_score if method == "abl" else "loss"
        self.scores = Scores(
            needed(recipe.trajectories, score),
            followed(recipe.trajectories, score),
            self.model,
            *self.on_device,
            place.precision,
            decay=recipe.average_decay,
            count=recipe.statistics_images,
            seed=seed,
        )
        self.own_scores = needed("", score)
        self.clock = Clock(self.stages, len(data), recipe)
        self.forward = graphs.compiled(self.model, place, self.clock.images_in_all() // recipe.batch_size)
        self.optimiser: torch.optim.Optimizer | None = None
        self.history: list[dict] = []
        self.trajectories: Trajectories = {}
        self.losses: ndarray | None = None
        self.isolated: ndarray | None = None

    def facts(self) -> dict:
        """All that decides the training beside images, labels and stages, as JSON values.

        How images came about has no part in it, so that an edit of an attack does not orphan an unfinished surrogate.
        """
        recipe = {name: value for name, value in asdict(self.recipe).items() if not name.startswith(_OF_STAGES)}
        # Each of these decides how sums are rounded.
        where = str(self.place), torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
        return {
            "recipe": recipe,
            "classes": self.classes,
            "seed": self.seed,
            "where": [*where, hardware.name(self.place), self.forward is self.model],
            # All of the room: what drives the stages decides their results too.
            "code": provenance.digest(__package__),
        }

    def what_decides(self, index: int, stage: Stage) -> tuple:
        """What decides a stage beside its settings and the stages before: facts, and arrays after them."""
        scores = self.scores.facts() if stage.name == "isolate" else {}
        return {"index": index, **scores}, *([] if stage.members == "all" else [self.isolated])

    def isolate(self, stage: Stage) -> None:
        """Isolate examples before the first stage that tells them from the others."""
        if stage.members == "all" or self.isolated is not None:
            return
        known = ranked_by(self.recipe.isolation_score, self.trajectories)
        if known is None:
            known = per_example_losses(self.model, *self.on_device, self.place.precision)
        self.losses, self.isolated = known, isolate(known, self.recipe.isolation_rate)

    def go_through(
        self, index: int, stage: Stage, path: Path | None, identity: str, told: Told, checkpoint_seconds: float
    ) -> None:
        """Take what is kept of a stage, and train and keep the rest.

        Args:
            path: where its checkpoint is kept.
            identity: its key.

        Raises UserError where the loss is not finite.
        """
        state, average = self._begin(stage, path, identity, told), self._average(stage)
        saved = time.monotonic()
        while state.epoch < stage.epochs:
            state.history.append(self._epoch(index, stage, state, told.evaluate))
            if path and (state.epoch == stage.epochs or time.monotonic() - saved >= checkpoint_seconds):
                checkpoint.save(path, identity, state, self.model, self.optimiser, average)
                saved = time.monotonic()
            record = _judged(state, state.epoch - 1, told.judge)
            self.history.append(record)
            if told.folder is not None:
                checkpoint.write_history(told.folder, self.history)
            if told.report is not None:
                told.report({**record, "seconds_left": self.clock.seconds_left(record, index)})
        self.trajectories = state.trajectories or self.trajectories

    def _average(self, stage: Stage) -> Average | None:
        return self.scores.average if stage.name == "isolate" else None

    def _begin(self, stage: Stage, path: Path | None, identity: str, told: Told) -> Progress:
        """How far the stage has come already, with the model and the optimiser as they were then."""
        state, momentum = Progress(), {}
        if path is not None:
            shapes = partial(self.scores.shapes, epochs=stage.epochs) if stage.name == "isolate" else None
            state, momentum = checkpoint.load(path, identity, self.model, shapes, self._average(stage))
        if self.optimiser is None or not stage.keeps_optimiser:
            self.optimiser = sgd(self.model.parameters(), self.recipe)
        checkpoint.restore_momentum(self.optimiser, momentum)
        self.history += [_judged(state, epoch, told.judge) for epoch in range(state.epoch)]
        if state.epoch and told.folder is not None:
            checkpoint.write_history(told.folder, self.history)
        if path is not None and state.epoch == stage.epochs and told.report is not None:
            print(f"stage {stage.name}: trained before, taken from {STAGES}/{path.parent.name}", flush=True)
        return state

    def _epoch(self, index: int, stage: Stage, state: Progress, evaluate: Evaluation | None) -> dict:
        """Train one epoch, count it in `state` with the scores of the examples, and return its record.

        Raises UserError where the loss is not finite.
        """
        started = time.perf_counter()
        isolating = stage.name == "isolate"
        rate = stage.learning_rate(state.epoch)
        set_rate(self.optimiser, rate)
        drawn = torch_stream(self.seed, "augmentation", index, state.epoch)
        batches = list(self._batches(stage, torch_stream(self.seed, "order", index, state.epoch)))
        with training_mode([self.model], stage.batchnorm):
            loss = run_epoch(
                self.forward,
                self.optimiser,
                *self.on_device,
                [batch.to(self.place.device) for batch in batches],
                stage.loss,
                self.place,
                partial(augment, recipe=self.recipe, generator=drawn) if stage.augmented else None,
                capture=True,
                after_step=self.scores.average.update if self.scores.average and isolating else None,
            )
        state.epoch += 1
        check_finite(loss, stage.name, state.epoch, rate)
        due = self.scores.due(is_last=state.epoch == stage.epochs) if isolating else []
        found = self.scores.compute([name for name in self.own_scores if name in due])
        record = {
            "stage": stage.name,
            "epoch": state.epoch,
            "loss": loss,
            "learning_rate": rate,
            "images": sum(len(batch) for batch in batches),
            "seconds": time.perf_counter() - started,
        }
        started = time.perf_counter()
        if isolating:
            found |= self.scores.compute([name for name in due if name not in found])
            state.trajectories = joined(state.trajectories, found)
        if evaluate is not None:
            record |= evaluate(self.model, stage.name, state.epoch, state.epoch == stage.epochs)
        return record | {"evaluation_seconds": time.perf_counter() - started}

    def _batches(self, stage: Stage, order: torch.Generator) -> Iterable[Tensor]:
        """The index batches of one epoch."""
        n, size = len(self.on_device[1]), self.recipe.batch_size
        if stage.members == "all":
            return one_set(torch.arange(n), size, order if stage.shuffled else None)
        isolated = torch.tensor(self.isolated)
        kept = torch.tensor(np.setdiff1d(np.arange(n), self.isolated))
        if stage.members == "both":
            return two_sets(kept, isolated, size, order)
        return one_set(kept if stage.members == "kept" else isolated, size, order)


def _judged(state: Progress, epoch: int, judge: Judge | None) -> dict:
    """The record of an epoch with what `judge` says of the scores up to its end.

    That is no part of a stage that is kept: what is judged, such as the isolation rate, is not what decides phase 1.
    """
    record = dict(state.history[epoch])
    seconds = record.pop("evaluation_seconds")
    known = up_to(state.trajectories, epoch + 1, state.epoch)
    if judge is not None and known:
        record |= judge(known)
    return record | {"evaluation_seconds": seconds}
