"""What training examples are ranked by in phase 1: their loss, under a model that swings less than the last weights."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from torch import nn

from ablkit.errors import unknown
from ablkit.shapes import Float, Tensor, ndarray
from ablkit.training.averaging import Average, drawn_for_statistics, with_fresh_statistics
from ablkit.training.inference import per_example_losses

Score = Literal["loss", "fresh_statistics", "averaged"]
"""The loss of each example under the model as it is (the paper's), with its batch norm statistics re-estimated, and
with averaged weights and re-estimated statistics."""
IsolationScore = Literal["loss", "fresh_statistics", "averaged", "median"]
"""One of these after the last epoch, or the median of the loss over all epochs of phase 1."""
Trajectories = dict[str, ndarray]
"""Score -> its value for each example (columns) after each epoch of phase 1 (rows)."""


def named(text: str) -> list[str]:
    """The scores that a text such as "loss averaged" names, in the order of `Score`; raises UserError for others."""
    names = text.split()
    for name in names:
        if name not in get_args(Score):
            raise unknown("score", name, get_args(Score))
    return [name for name in get_args(Score) if name in names]


def needed(trajectories: str, isolation_score: str) -> list[str]:
    """The scores to be computed after each epoch: those that are kept, and what isolation needs.

    For the paper's that is none: isolation computes it once, itself.
    """
    own = {"loss": "", "median": "loss"}.get(isolation_score, isolation_score)
    return named(f"{trajectories} {own}")


class Scores:
    """Computes the scores of a training set under the model that is trained on it.

    Args:
        names: which; see `needed`.
        decay: of the average of the weights.
        count: images that batch norm statistics are re-estimated on, drawn with `seed`.
    """

    def __init__(
        self,
        names: list[str],
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        precision: str,
        *,
        decay: float,
        count: int,
        seed: int,
    ) -> None:
        self.names, self.model, self.images, self.labels, self.precision = names, model, images, labels, precision
        self.average = Average(model, decay) if "averaged" in names else None
        self.count = count if set(names) - {"loss"} else 0
        self._drawn = images[drawn_for_statistics(len(labels), self.count, seed).to(images.device)]

    def facts(self) -> dict:
        """What decides them beside model, data and seed, as JSON values."""
        return {"scores": self.names, "decay": self.average and self.average.decay, "count": self.count}

    def compute(self, names: list[str]) -> dict[str, Float[ndarray, " n"]]:
        """Score -> its value for each example, as the model is now, of these scores."""
        return {
            name: per_example_losses(self.model_of(name), self.images, self.labels, self.precision) for name in names
        }

    def model_of(self, name: str) -> nn.Module:
        """The model, as it is now, whose losses are the score of that name."""
        if name == "loss":
            return self.model
        model = self.average.model(self.model) if name == "averaged" else self.model
        return with_fresh_statistics(model, self._drawn, self.precision)


def joined(trajectories: Trajectories, scores: dict[str, Float[ndarray, " n"]]) -> Trajectories:
    """The trajectories with one more epoch."""
    rows = {name: value[None] for name, value in scores.items()}
    return {name: np.concatenate([trajectories[name], row]) if trajectories else row for name, row in rows.items()}


def ranked_by(name: str, trajectories: Trajectories) -> Float[ndarray, " n"] | None:
    """The score of that name after the last epoch, None where it is not among the trajectories."""
    if name == "median":
        return np.median(trajectories["loss"], axis=0)
    return trajectories[name][-1] if name in trajectories else None


def rounded(trajectories: Trajectories) -> Trajectories:
    """The same in half the memory, float16, as runs keep them."""
    largest = np.finfo(np.float16).max
    return {name: np.minimum(values, largest).astype(np.float16) for name, values in trajectories.items()}
