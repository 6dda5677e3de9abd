"""The examples that ABL isolated, those that it kept, and how long and how fast a model trains on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ablkit.data.images import Images
from ablkit.defenses.defense import Defense, Given, Repaired
from ablkit.errors import UserError
from ablkit.settings import at_least

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


def isolated_examples(given: Given) -> Images:
    """The isolated images and their labels, lowest loss first; raises UserError where there are none or other ones."""
    if not len(given.isolated):
        raise UserError("nothing was isolated, and this way trains on what was; give `isolated` of an ABL training")
    _check(given)
    return given.data.take(given.isolated)


def kept_examples(given: Given) -> Images:
    """All others, in the order of the training set; raises UserError where an isolated index is outside it."""
    _check(given)
    return given.data.take(np.setdiff1d(np.arange(len(given.data)), given.isolated))


def with_kept(isolated: Images, given: Given, settings: Changed) -> Images:
    """The isolated examples first, then the kept ones where the settings ask for them."""
    if not settings.with_kept:
        return isolated
    kept = kept_examples(given)
    images, labels = (np.concatenate(pair) for pair in ((isolated.images, kept.images), (isolated.labels, kept.labels)))
    return replace(isolated, images=images, labels=labels)


def _check(given: Given) -> None:
    wrong = given.isolated[(given.isolated < 0) | (given.isolated >= len(given.data))]
    if len(wrong):
        raise UserError(
            f"isolated index {wrong[0]} is outside the {len(given.data)} training images; give the set that was"
            " isolated from"
        )


def way(title: str, repair: Callable[..., Repaired], settings: type, paper: str = _PAPER) -> Defense:
    """A defence that uses the isolated examples."""
    return Defense(title, paper, "isolated data", repair, settings)
