"""The examples that ABL isolated, those that it kept, and how long and how fast a model trains on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ablkit.defenses.defense import Defense, Given, Repaired
from ablkit.defenses.training import Examples
from ablkit.errors import UserError
from ablkit.settings import at_least
from ablkit.training.inference import logits_of

_PAPER = "Li et al. 2021 (ABL), arXiv 2110.11571; details are our reading"


@dataclass(frozen=True)
class Settings:
    """How long and how fast a way trains."""

    epochs: int = 0
    """0 takes the recipe's `unlearn_epochs`."""
    learning_rate: float = 0.0
    """Constant; 0 takes the recipe's `unlearn_learning_rate`."""

    def __post_init__(self) -> None:
        at_least(self, epochs=0, learning_rate=0)


@dataclass(frozen=True)
class Changed(Settings):
    """Of a way that changes the isolated examples."""

    with_kept: bool = False
    """Train on the kept examples too, each once an epoch, unchanged. The table's "discard D_b: no", as recalled, may
    mean this; the default trains on what the ascent trains on."""


def isolated_examples(given: Given) -> Examples:
    """The isolated images and their labels, lowest loss first; raises UserError where there are none or other ones."""
    if not len(given.isolated):
        raise UserError("nothing was isolated, and this way trains on what was; give `isolated` of an ABL training")
    _check(given)
    return Examples(given.images[given.isolated], given.labels[given.isolated])


def kept_examples(given: Given) -> Examples:
    """All others, in the order of the training set; raises UserError where an isolated index is outside it."""
    _check(given)
    kept = np.setdiff1d(np.arange(len(given.labels)), given.isolated)
    return Examples(given.images[kept], given.labels[kept])


def with_kept(isolated: Examples, given: Given, settings: Changed) -> Examples:
    """The isolated examples first, then the kept ones where the settings ask for them."""
    if not settings.with_kept:
        return isolated
    kept = kept_examples(given)
    return Examples(np.concatenate([isolated.images, kept.images]), np.concatenate([isolated.labels, kept.labels]))


def classes_of(given: Given) -> int:
    """How many classes the given model tells apart."""
    return logits_of(given.model, given.images[:1], given.precision).shape[1]


def _check(given: Given) -> None:
    wrong = given.isolated[(given.isolated < 0) | (given.isolated >= len(given.labels))]
    if len(wrong):
        raise UserError(
            f"isolated index {wrong[0]} is outside the {len(given.labels)} training images; give the set that was"
            " isolated from"
        )


def way(title: str, repair: Callable[..., Repaired], settings: type, paper: str = _PAPER) -> Defense:
    """A defence that uses the isolated examples."""
    return Defense(title, paper, "isolated data", repair, settings)
