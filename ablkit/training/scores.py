"""What training examples are ranked by in phase 1: their loss, under a model that swings less than the last weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from torch import nn

from ablkit.errors import unknown
from ablkit.shapes import Float, Int64, Tensor, ndarray
from ablkit.training.averaging import Average, drawn_for_statistics, with_fresh_statistics
from ablkit.training.inference import per_example_losses
from ablkit.training.otsu import best_split

Score = Literal["loss", "fresh_statistics", "averaged"]
"""The loss of each example under the model as it is (the paper's), with its batch norm statistics re-estimated, and
with averaged weights and re-estimated statistics."""
IsolationScore = Literal["loss", "fresh_statistics", "averaged", "median", "last_three"]
"""One of these after the last epoch; or the `median` of the loss over all epochs of phase 1, or its geometric mean over
the last three of them, which is the mean of the log-loss."""
LOWEST_LOSS = 1e-7
"""Losses below it count as it where logarithms are taken: float32 does not tell them apart."""
Trajectories = dict[str, ndarray]
"""Score -> its value for each example (columns) after the epochs of phase 1 (rows): after each, or after the last alone
where nothing asks for more."""


def _logarithm(losses: ndarray) -> ndarray:
    return np.log(np.maximum(losses, LOWEST_LOSS))


_OVER_EPOCHS: dict[str, Callable[[ndarray], ndarray]] = {
    "median": lambda losses: np.median(losses, axis=0),
    "last_three": lambda losses: np.exp(_logarithm(losses[-3:]).mean(axis=0)),
}
"""Isolation score -> how it comes from the losses of all epochs."""


def named(text: str) -> list[str]:
    """The scores that a text such as "loss averaged" names, in the order of `Score`; raises UserError for others."""
    names = text.split()
    for name in names:
        if name not in get_args(Score):
            raise unknown("score", name, get_args(Score))
    return [name for name in get_args(Score) if name in names]


def needed(trajectories: str, isolation_score: str) -> list[str]:
    """The scores to be computed in phase 1: those that are kept, and what isolation needs.

    For the paper's that is none: isolation computes it once, itself.
    """
    own = {"loss": "", **dict.fromkeys(_OVER_EPOCHS, "loss")}.get(isolation_score, isolation_score)
    return named(f"{trajectories} {own}")


def followed(trajectories: str, isolation_score: str) -> list[str]:
    """Those of them to be computed after each epoch; of the others that after the last epoch is all that counts."""
    return named(f"{trajectories} loss" if isolation_score in _OVER_EPOCHS else trajectories)


class Scores:
    """Computes the scores of a training set under the model that is trained on it.

    Args:
        names: which; see `needed`.
        each: those of them that are computed after each epoch; see `followed`.
        decay: of the average of the weights.
        count: images that batch norm statistics are re-estimated on, drawn with `seed`.
    """

    def __init__(
        self,
        names: list[str],
        each: list[str],
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        precision: str,
        *,
        decay: float,
        count: int,
        seed: int,
    ) -> None:
        self.names, self.each, self.model, self.precision = names, each, model, precision
        self.images, self.labels = images, labels
        self.average = Average(model, decay) if "averaged" in names else None
        self.count = count if set(names) - {"loss"} else 0
        self._drawn = images[drawn_for_statistics(len(labels), self.count, seed).to(images.device)]

    def facts(self) -> dict:
        """What decides them beside model, data and seed, as JSON values."""
        return {
            "scores": self.names,
            "each": self.each,
            "decay": self.average and self.average.decay,
            "count": self.count,
        }

    def due(self, *, is_last: bool) -> list[str]:
        """The scores to be computed after an epoch of phase 1."""
        return self.names if is_last else self.each

    def shapes(self, epoch: int, epochs: int) -> dict[str, tuple[int, int]]:
        """Score -> the shape of its trajectory after so many of all epochs."""
        rows = {name: epoch if name in self.each else int(epoch == epochs) for name in self.names}
        return {name: (number, len(self.labels)) for name, number in rows.items() if number}

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
    return {
        name: np.concatenate([trajectories[name], row]) if name in trajectories else row for name, row in rows.items()
    }


def up_to(trajectories: Trajectories, epoch: int, epochs: int) -> Trajectories:
    """What was known of trajectories up to the end of an epoch.

    Args:
        epoch: counted from 1.
        epochs: after which the last rows stand.
    """
    known = {name: values[: max(0, len(values) - (epochs - epoch))] for name, values in trajectories.items()}
    return {name: values for name, values in known.items() if len(values)}


def ranked_by(name: str, trajectories: Trajectories) -> Float[ndarray, " n"] | None:
    """The isolation score of that name after the last epoch, None where what it comes from is not kept."""
    kept = trajectories.get("loss" if name in _OVER_EPOCHS else name)
    return None if kept is None else _OVER_EPOCHS.get(name, lambda values: values[-1])(kept)


def class_first(trajectories: Trajectories, labels: Int64[ndarray, " n"]) -> Float[ndarray, " n"] | None:
    """Rank, from 0, of each example by its loss after the last epoch, those of the class that looks poisoned first.

    That is the class whose averaged log-losses are split in two best, by the share of their variance that Otsu's split
    explains. Whether a ranking needs the other classes at all is what it is compared for. None where one of the scores
    `loss` and `averaged` is not kept.
    """
    if not {"loss", "averaged"} <= trajectories.keys():
        return None
    values = _logarithm(trajectories["averaged"][-1]).astype(np.float64)
    shares = [best_split(values[labels == k]).share for k in range(labels.max() + 1)]
    chosen = np.argmax(np.nan_to_num(shares, nan=-1.0))
    ranks = np.empty(len(labels), np.float32)
    ranks[np.lexsort((trajectories["loss"][-1], labels != chosen))] = np.arange(len(labels))
    return ranks


def all_of(trajectories: Trajectories, labels: Int64[ndarray, " n"]) -> dict[str, Float[ndarray, " n"]]:
    """Name -> every score after the last epoch that these trajectories give."""
    found = {name: ranked_by(name, trajectories) for name in get_args(IsolationScore)}
    found["class_first"] = class_first(trajectories, labels)
    return {name: values for name, values in found.items() if values is not None}


def rounded(trajectories: Trajectories) -> Trajectories:
    """The same in half the memory, float16, as runs keep them."""
    largest = np.finfo(np.float16).max
    return {name: np.minimum(values, largest).astype(np.float16) for name, values in trajectories.items()}
