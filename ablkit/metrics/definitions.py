"""What is measured, in fractions of 1 or None where there is nothing to measure.

Trainings, exclusion and defences never take which examples are poisoned; metrics, report and export do.
"""

from __future__ import annotations

import numpy as np
from torch import nn

from ablkit.attacks.attack import Poisoned, Triggered
from ablkit.data.images import Images
from ablkit.errors import UserError
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


def share(hits: Bool[ndarray, " n"]) -> float | None:
    """Share of what is true."""
    return float(hits.mean()) if len(hits) else None


def accuracies(predicted: Int64[ndarray, " n"], labels: Int64[ndarray, " n"], target: int) -> dict[str, float | None]:
    """Clean accuracy three ways.

    `clean_accuracy` over all classes; `clean_accuracy_non_target` over the others than the target (what the paper's
    code reports); `target_class_accuracy` over the target class alone, which the ascent damages most.
    """
    right, is_target = predicted == labels, labels == target
    return {
        "clean_accuracy": share(right),
        "clean_accuracy_non_target": share(right[~is_target]),
        "target_class_accuracy": share(right[is_target]),
    }


def robust_accuracy(
    predicted: Int64[ndarray, " n"], labels: Int64[ndarray, " n"], partners: Int64[ndarray, " n"] | None = None
) -> float | None:
    """Share of triggered test images of the other classes (see `Triggered`) that is taken for its true class.

    An image made of two of different classes shows both, so either counts. A defence that merely moves triggered images
    to a third class lowers the attack success rate and not this. The two never add up to more than 1.
    """
    right = predicted == labels
    return share(right if partners is None else right | (predicted == partners))


def defense_effectiveness(before: dict[str, float | None], after: dict[str, float | None]) -> float | None:
    """Defence effectiveness rating, in [0, 1]: (max(0, dASR) - max(0, dCA) + 1) / 2.

    dASR and dCA are how far the attack success rate and the clean accuracy over all classes fall; a gain of either
    counts as no fall. 1 is a backdoor gone at no cost, 0.5 no effect. Source: Zhu et al. 2023 (FT-SAM) as BackdoorBench
    writes it out.

    Args:
        before: what `evaluate` gives for the undefended model; `after` for the defended one. Without one of the four
            there is nothing to measure.
    """
    names = ("attack_success_rate", "clean_accuracy")
    if any(measured[name] is None or np.isnan(measured[name]) for measured in (before, after) for name in names):
        return None  # max(0, nan) would be 0
    fall = {name: max(0.0, before[name] - after[name]) for name in names}
    return (fall["attack_success_rate"] - fall["clean_accuracy"] + 1) / 2


def evaluate(
    model: nn.Module, test: Images, poisoned: Poisoned, precision: str = "auto", triggered: Triggered | None = None
) -> dict[str, float | None]:
    """Clean accuracy three ways and the attack success rate of a model on a clean test set.

    `attack_success_rate` is the share of triggered test images of the other classes that the model takes for the
    target class, or for the one that the setting `labels` of the attack aims at; images that are of that class do not
    count. On clean data it is the rate at which a model without a backdoor takes them so.
    For an attack whose trigger takes two images they are mixes of two test images each.
    `robust_accuracy` is the share of the same images that is taken for its true class, or one of its two.
    `cross_trigger_accuracy`, for attacks whose triggers belong to one image, is the share of these images that is
    classified correctly under the trigger made for another.
    `false_trigger_rate` is the share taken for the target class of images that resemble triggered ones but are not to
    open the backdoor: for CBA mixes of any other two classes but the target, a half of the trigger beside a third class
    among them; for DFST images that have nothing of the style but the mean and the deviation of its colours.

    Args:
        triggered: what `poisoned.triggered` makes of `test`, as some attacks take seconds for it; made here by default.

    Raises UserError without test images.
    """
    if not len(test):
        raise UserError(f"{test.name}: nothing can be measured on no test images; give some")
    triggered = poisoned.triggered(test) if triggered is None else triggered
    clean = accuracies(predict(model, test.images, precision), test.labels, poisoned.target)
    predicted = predict(model, triggered.images, precision)
    if triggered.crossed is not None:
        clean["cross_trigger_accuracy"] = share(predict(model, triggered.crossed, precision) == triggered.labels)
    if triggered.others is not None:
        clean["false_trigger_rate"] = share(predict(model, triggered.others, precision) == poisoned.target)
    return {
        **clean,
        "attack_success_rate": share(predicted == triggered.aims),
        "robust_accuracy": robust_accuracy(predicted, triggered.labels, triggered.partners),
    }


def isolation_quality(isolated: Int64[ndarray, " k"], is_poisoned: Bool[ndarray, " n"]) -> dict[str, float | None]:
    """Precision (share of the isolated that is poisoned) and recall (share of the poisoned that is isolated).

    Both are None where no example is poisoned: the precision would be 0 whatever is isolated. Decoys are not poisoned.
    """
    found, poisoned = (int(part.sum()) for part in (is_poisoned[isolated], is_poisoned))
    return {
        "isolation_precision": found / len(isolated) if len(isolated) and poisoned else None,
        "isolation_recall": found / poisoned if poisoned else None,
    }


def isolation_auroc(losses: Float[ndarray, " n"], is_poisoned: Bool[ndarray, " n"]) -> float | None:
    """Probability that a poisoned example has a lower loss than a clean one (ties count half)."""
    poisoned, clean = losses[is_poisoned], np.sort(losses[~is_poisoned])
    if not len(poisoned) or not len(clean):
        return None
    below, not_above = (np.searchsorted(clean, poisoned, side=side) for side in ("left", "right"))
    wins = len(clean) - (below + not_above) / 2  # clean examples of a higher loss, and half of those of the same
    return float(wins.sum() / (len(poisoned) * len(clean)))


def isolation_average_precision(losses: Float[ndarray, " n"], is_poisoned: Bool[ndarray, " n"]) -> float | None:
    """Mean, over the poisoned examples, of the precision of isolating all whose loss is no higher than theirs.

    1 where every poisoned example has a lower loss than every clean one; about the poisoned share where losses tell
    nothing. Examples of one loss are isolated together.
    """
    if not is_poisoned.any():
        return None
    values, place = np.unique(losses, return_inverse=True)
    isolated = np.bincount(place, minlength=len(values)).cumsum()
    found = np.bincount(place[is_poisoned], minlength=len(values)).cumsum()
    return float((found / isolated)[place[is_poisoned]].mean())


def loss_gap(losses: Float[ndarray, " n"], poisoned: Poisoned, rate: float) -> dict[str, float | None]:
    """Mean loss of clean and of poisoned examples, and how well isolating the lowest `rate` would do."""
    truth = poisoned.is_poisoned
    parts = {"clean_loss": losses[~truth], "poisoned_loss": losses[truth]}
    return {
        **{name: float(part.mean()) if len(part) else None for name, part in parts.items()},
        **ranking_quality(losses, truth, rate),
    }


RANKING = ("isolation_precision", "isolation_recall", "isolation_auroc", "isolation_average_precision")
"""What `ranking_quality` tells."""


def ranking_quality(
    losses: Float[ndarray, " n"], is_poisoned: Bool[ndarray, " n"], rate: float
) -> dict[str, float | None]:
    """How well isolating the lowest `rate` of some losses would do, and the losses as a ranking."""
    return {
        **isolation_quality(isolate(losses, rate), is_poisoned),
        "isolation_auroc": isolation_auroc(losses, is_poisoned),
        "isolation_average_precision": isolation_average_precision(losses, is_poisoned),
    }
