"""What is measured after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
from torch import nn

from ablkit import provenance
from ablkit.attacks.attack import OneByOne, Poisoned, Triggered
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.metrics.definitions import (
    RANKING,
    evaluate,
    isolation_auroc,
    isolation_quality,
    loss_gap,
    ranking_quality,
)
from ablkit.training import scores
from ablkit.training.inference import per_example_losses
from ablkit.training.isolation import isolate
from ablkit.training.kept import key_of
from ablkit.training.scores import Score, Trajectories


@dataclass(frozen=True)
class Measurements:
    """The measurements after each epoch, for `training.train(evaluate=...)`; see `measure`."""

    test: Images
    triggered: Triggered
    sample: Images
    """What stands for the test images between the ends of stages."""
    triggered_sample: Triggered
    poisoned: Poisoned
    rate: float
    precision: str
    gap: bool = True
    """Take the losses of the poisoned set in phase 1, too, where no `judge` is told of them."""

    def __call__(self, model: nn.Module, stage: str, epoch: int, last: bool) -> dict:
        """What joins the record of an epoch."""
        tried = (self.test, self.triggered) if last else (self.sample, self.triggered_sample)
        record = evaluate(model, tried[0], self.poisoned, self.precision, tried[1])
        if stage == "isolate" and self.gap:
            data = self.poisoned.data
            losses = per_example_losses(model, data.images, data.labels, self.precision)
            record |= loss_gap(losses, self.poisoned, self.rate)
        return record

    @cached_property
    def identity(self) -> str:
        """A digest of all that decides what is measured of a model: see `training.Store`."""
        p, triggered = self.poisoned, [vars(one).values() for one in (self.triggered, self.triggered_sample)]
        arrays = [self.test.images, self.test.labels, *(v for values in triggered for v in values if v is not None)]
        facts = {"sample": len(self.sample), "precision": self.precision, "target": p.target, "gap": self.gap}
        if self.gap:
            facts, arrays = {**facts, "rate": self.rate}, [*arrays, p.data.images, p.data.labels, p.is_poisoned]
        return key_of({**facts, "code": provenance.digest(__name__)}, *arrays)


def measure(test: Images, poisoned: Poisoned, rate: float, size: int = 0, precision: str = "auto") -> Measurements:
    """The measurements after each epoch, for `training.train(evaluate=...)`.

    Args:
        rate: isolation rate at which precision and recall are followed through phase 1.
        size: how many test images are used between the ends of stages, to save time; 0 takes all. At the end of a
            stage always all are, and throughout for an attack on certain classes, of which a sample may have no image.

    Raises UserError where there is no test image, or none that the attack could be tried on.
    """
    tried = poisoned.triggered(test)
    if not len(tried.labels):
        what = "test images of the target alone" if len(test) else "no test images"
        raise UserError(f"{test.name}: no attack can be tried on {what}; add some of other classes")
    # Drawn, as some sets lie in the order of their classes; the same images in every run.
    order = np.random.default_rng(0).permutation(len(test))
    one_by_one = isinstance(poisoned.triggered, OneByOne)
    sample = test.take(order[: size or len(test)]) if one_by_one else test
    part = poisoned.triggered(sample) if one_by_one else tried
    return Measurements(test, tried, sample, part, poisoned, rate, precision)


def judge(
    poisoned: Poisoned, rate: float, ranked_by: str = "loss", compared: Collection[str] = get_args(Score)
) -> Callable[[Trajectories], dict]:
    """How well each score would isolate, for `training.train(judge=...)`; the score's name stands behind the metric's.

    Precision at the isolation rate, at 5 and at 10 %, and AUROC; and the gap between the losses, where these are among
    the scores. What it is told are the scores after each epoch so far, so that scores over epochs are judged too.

    Args:
        rate: isolation rate.
        ranked_by: the score that isolation ranks on. Its metrics also take the names that `measure` gives to those of
            the loss; they are None after an epoch in which it was not computed.
        compared: the scores, where they are there, whose own metrics are told, with those of `scores.all_of` that come
            from these alone.
    """
    truth, labels = poisoned.is_poisoned, poisoned.data.labels

    def judge_scores(trajectories: Trajectories) -> dict:
        record = loss_gap(trajectories["loss"][-1], poisoned, rate) if "loss" in trajectories else {}
        known = {name: values for name, values in trajectories.items() if name in compared}
        for name, values in scores.all_of(known, labels).items():
            for suffix, part in (("", rate), ("_at_5", 0.05), ("_at_10", 0.1)):
                found = isolation_quality(isolate(values, part), truth)["isolation_precision"]
                record[f"isolation_precision{suffix}_{name}"] = found
            record[f"isolation_auroc_{name}"] = isolation_auroc(values, truth)
        if ranked_by == "loss":
            return record
        own = scores.ranked_by(ranked_by, trajectories)
        return record | (dict.fromkeys(RANKING) if own is None else ranking_quality(own, truth, rate))

    return judge_scores
