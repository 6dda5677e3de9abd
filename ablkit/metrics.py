"""What is measured, in fractions of 1; the one place that may read which examples are poisoned."""

from __future__ import annotations

from torch import nn

from ablkit.attacks import Poisoned
from ablkit.data.images import Images
from ablkit.shapes import Bool, Float, Int64, ndarray
from ablkit.training.inference import predict
from ablkit.training.isolation import isolate

TABLE = (
    "clean_accuracy",
    "clean_accuracy_non_target",
    "target_class_accuracy",
    "attack_success_rate",
    "isolation_precision",
)
"""The columns of the result table."""


def accuracies(predicted: Int64[ndarray, " n"], labels: Int64[ndarray, " n"], target: int) -> dict[str, float]:
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
    target class (with all2all: for the class after their own); images of the target class do not count.
    """
    aims = poisoned.aims[test.labels]
    attacked = aims != test.labels
    hits = predict(model, poisoned.trigger(test.images[attacked]), precision) == aims[attacked]
    clean = accuracies(predict(model, test.images, precision), test.labels, poisoned.target)
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
