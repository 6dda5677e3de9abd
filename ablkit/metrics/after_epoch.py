"""What is measured after each epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from ablkit.attacks.attack import OneByOne, Poisoned
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.metrics.definitions import evaluate, isolation_auroc, isolation_quality, loss_gap, ranking_quality
from ablkit.shapes import ndarray
from ablkit.training.inference import per_example_losses
from ablkit.training.isolation import isolate
from ablkit.training.progress import Evaluation


def measure(test: Images, poisoned: Poisoned, rate: float, size: int = 0, precision: str = "auto") -> Evaluation:
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

    def evaluate_epoch(model: nn.Module, stage: str, epoch: int, last: bool) -> dict:
        images, triggered = (test, tried) if last else (sample, part)
        record = evaluate(model, images, poisoned, precision, triggered)
        if stage == "isolate":
            losses = per_example_losses(model, poisoned.data.images, poisoned.data.labels, precision)
            record |= loss_gap(losses, poisoned, rate)
        return record

    return evaluate_epoch


def judge(poisoned: Poisoned, rate: float, ranked_by: str = "loss") -> Callable[[dict[str, ndarray]], dict]:
    """How well each score would isolate, for `training.train(judge=...)`; the score's name stands behind the metric's.

    Precision at the isolation rate, at 5 and at 10 %, and AUROC.

    Args:
        rate: isolation rate.
        ranked_by: the score that isolation ranks on. Where that is among the scores, its metrics also take the names
            that `after_epoch` gives to those of the loss.
    """
    truth = poisoned.is_poisoned

    def judge_scores(scores: dict[str, ndarray]) -> dict:
        record = {}
        for name, values in scores.items():
            for suffix, part in (("", rate), ("_at_5", 0.05), ("_at_10", 0.1)):
                found = isolation_quality(isolate(values, part), truth)["isolation_precision"]
                record[f"isolation_precision{suffix}_{name}"] = found
            record[f"isolation_auroc_{name}"] = isolation_auroc(values, truth)
        if ranked_by != "loss" and ranked_by in scores:
            record |= ranking_quality(scores[ranked_by], truth, rate)
        return record

    return judge_scores
