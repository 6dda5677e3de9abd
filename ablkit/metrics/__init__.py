"""What is measured: definitions, after each epoch, of a whole run, over seeds; and the paper's numbers."""

from ablkit.metrics.definitions import (
    accuracies,
    defense_effectiveness,
    evaluate,
    isolation_auroc,
    isolation_average_precision,
    isolation_quality,
    loss_gap,
    ranking_quality,
    robust_accuracy,
)

__all__ = [
    "accuracies",
    "defense_effectiveness",
    "evaluate",
    "isolation_auroc",
    "isolation_average_precision",
    "isolation_quality",
    "loss_gap",
    "ranking_quality",
    "robust_accuracy",
]
