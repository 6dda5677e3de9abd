"""What is measured, in fractions of 1; the one place that may read which examples are poisoned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from torch import nn

from ablkit.attacks import Poisoned
from ablkit.data.images import Images
from ablkit.shapes import Bool, Float, Int64, ndarray
from ablkit.training.inference import per_example_losses, predict
from ablkit.training.isolation import isolate
from ablkit.training.stages import Stage


def accuracies(
    predicted: Int64[ndarray, " n"], labels: Int64[ndarray, " n"], target: int
) -> dict[str, float]:
    """Clean accuracy three ways.

    `clean_accuracy` over all classes; `clean_accuracy_non_target` over the others than the target (what the paper's
    code reports); `target_class_accuracy` over the target class alone, which the ascent damages most.
    """
    right, is_target = predicted == labels, labels == target
    return {
        "clean_accuracy": float(right.mean()),
        "clean_accuracy_non_target": float(right[~is_target].mean()),
        "target_class_accuracy": float(right[is_target].mean()),
    }


def evaluate(model: nn.Module, test: Images, poisoned: Poisoned, precision: str = "auto") -> dict[str, float]:
    """Clean accuracy three ways and the attack success rate of a model on a clean test set.

    `attack_success_rate` is the share of triggered test images of the other classes that the model takes for the
    target class; images of the target class do not count.
    """
    target = poisoned.target
    attacked = poisoned.trigger(test.images[test.labels != target])
    hits = predict(model, attacked, precision) == target
    clean = accuracies(predict(model, test.images, precision), test.labels, target)
    return {**clean, "attack_success_rate": float(hits.mean())}


def isolation_quality(isolated: Int64[ndarray, " k"], is_poisoned: Bool[ndarray, " n"]) -> dict[str, float]:
    """Precision (share of the isolated that is poisoned) and recall (share of the poisoned that is isolated)."""
    found = int(is_poisoned[isolated].sum())
    return {
        "isolation_precision": found / len(isolated),
        "isolation_recall": found / max(1, int(is_poisoned.sum())),
    }


def isolation_auroc(losses: Float[ndarray, " n"], is_poisoned: Bool[ndarray, " n"]) -> float:
    """Probability that a poisoned example has a lower loss than a clean one (ties count half); nan without either."""
    from scipy.stats import rankdata

    poisoned, clean = int(is_poisoned.sum()), int((~is_poisoned).sum())
    if not poisoned or not clean:
        return float("nan")
    ranks = rankdata(-losses)[is_poisoned].sum()
    return float((ranks - poisoned * (poisoned + 1) / 2) / (poisoned * clean))


def loss_gap(losses: Float[ndarray, " n"], poisoned: Poisoned, rate: float) -> dict[str, float]:
    """Mean loss of clean and of poisoned examples, and how well isolating the lowest `rate` would do."""
    truth = poisoned.is_poisoned
    return {
        "clean_loss": float(losses[~truth].mean()),
        "poisoned_loss": float(losses[truth].mean()) if truth.any() else float("nan"),
        **isolation_quality(isolate(losses, rate), truth),
        "isolation_auroc": isolation_auroc(losses, truth),
    }


def monitor(
    test: Images, poisoned: Poisoned, rate: float, images: int = 0, precision: str = "auto"
) -> Callable[[nn.Module, Stage, int], dict]:
    """The measurements after each epoch, for `training.train(evaluate=...)`.

    Args:
        rate: isolation rate at which precision and recall are followed through phase 1.
        images: how many test images are used between the ends of stages, to save time; 0 takes all. At the end of a
            stage always all are.
    """
    # The prepared test sets are in no order of class, so their first images are a fair sample.
    sample = test.take(np.arange(min(images or len(test), len(test))))

    def evaluate_epoch(model: nn.Module, stage: Stage, epoch: int) -> dict:
        record = evaluate(model, test if epoch == stage.epochs else sample, poisoned, precision)
        if stage.name == "isolate":
            record |= loss_gap(per_example_losses(model, poisoned.images, poisoned.labels, precision), poisoned, rate)
        return record

    return evaluate_epoch


STAGE_TITLES = {
    "isolate": "before isolation",
    "finetune": "after fine-tuning",
    "unlearn": "after unlearning",
    "joint": "after the joint phase",
}
TABLE = (
    "clean_accuracy",
    "clean_accuracy_non_target",
    "target_class_accuracy",
    "attack_success_rate",
    "isolation_precision",
)
"""The columns of the result table."""


def summary(history: list[dict], isolated: Int64[ndarray, " k"], poisoned: Poisoned) -> dict:
    """The flat metrics of a finished training, as `metrics.json` has them.

    Accuracies and attack success rate of the final model under their plain names, after phase 1 with `_before`, after
    the fine-tuning with `_finetuned`; isolation quality; numbers of images; seconds and images per second of the
    training without its evaluations.
    """
    ends = {record["stage"]: record for record in history}
    names = ("clean_accuracy", "clean_accuracy_non_target", "target_class_accuracy", "attack_success_rate")
    suffixes = {"isolate": "_before", "finetune": "_finetuned", history[-1]["stage"]: ""}
    result = {name + suffix: ends[stage][name] for stage, suffix in suffixes.items() if stage in ends for name in names}
    if len(isolated):
        result |= isolation_quality(isolated, poisoned.is_poisoned)
        result["isolation_auroc"] = ends["isolate"]["isolation_auroc"] if "isolate" in ends else None
        result["isolated_images"] = len(isolated)
    sizes = {"isolate": len(poisoned), "finetune": len(poisoned) - len(isolated), "unlearn": len(isolated)}
    images = sum(sizes.get(record["stage"], 2 * sizes["finetune"]) for record in history)
    seconds = sum(record["seconds"] for record in history)
    return result | {
        "training_images": len(poisoned),
        "poisoned_images": int(poisoned.is_poisoned.sum()),
        "seconds": seconds,
        "images_per_second": images / seconds,
    }


def loss_monitor(poisoned: Poisoned, rate: float, precision: str = "auto") -> Callable[[nn.Module, Stage, int], dict]:
    """The loss gap after each epoch, for `training.train(evaluate=...)`; see `loss_gap`."""

    def evaluate_epoch(model: nn.Module, stage: Stage, epoch: int) -> dict:
        return loss_gap(per_example_losses(model, poisoned.images, poisoned.labels, precision), poisoned, rate)

    return evaluate_epoch


def gap_summary(frame: pd.DataFrame, poisoned: Poisoned) -> dict:
    """The flat metrics of a loss-gap run: the last epoch of each isolation loss, its name as suffix."""
    last = frame.groupby("isolation_loss").last().drop(columns="epoch")
    metrics = {f"{name}_{loss}": float(last.loc[loss, name]) for loss in last.index for name in last.columns}
    return metrics | {"training_images": len(poisoned), "poisoned_images": int(poisoned.is_poisoned.sum())}
