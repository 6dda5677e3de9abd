"""Two attacks that the kit does not have, for `ablkit clean` to meet something that it was not made with.

Both are dirty label, and mark images with something plain, so that whoever reads this sees what ought to be found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablkit.data.images import Images
from ablkit.shapes import Bool, Int64, UInt8, ndarray


@dataclass(frozen=True)
class Set:
    """A training set that somebody has poisoned, or not, and what is known of it."""

    train: Images
    is_poisoned: Bool[ndarray, " n"]
    triggered: UInt8[ndarray, "m h w c"]
    """Test images with a trigger."""
    aims: Int64[ndarray, " m"]
    """The classes that they are to be taken for."""


def white_bar(train: Images, test: Images, rate: float, target: int, seed: int) -> Set:
    """A white bar across the middle, an eighth of the image high; its images get the target's label."""
    return _marked(train, test, rate, {target: _bar}, seed)


def two_triggers(train: Images, test: Images, rate: float, target: int, seed: int) -> Set:
    """Two triggers for two classes: a white bar for the target, a dark frame for the class after it."""
    return _marked(train, test, rate, {target: _bar, target + 1: _frame}, seed)


ATTACKS = {"white_bar": white_bar, "two_triggers": two_triggers}


def _bar(images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
    marked = np.array(images)
    height = images.shape[1]
    marked[:, height // 2 - height // 16 : height // 2 + height // 16] = 255
    return marked


def _frame(images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
    marked = np.full_like(images, 16)
    marked[:, 2:-2, 2:-2] = images[:, 2:-2, 2:-2]
    return marked


def _marked(train: Images, test: Images, rate: float, triggers: dict, seed: int) -> Set:
    """Each trigger on images of other classes than its own: as many for each, a share `rate` of all in sum."""
    images, labels = np.array(train.images), np.array(train.labels)
    is_poisoned = np.zeros(len(train), bool)
    stream = np.random.default_rng(seed)
    shown, aims = [], []
    for target, trigger in triggers.items():
        free = np.flatnonzero((train.labels != target) & ~is_poisoned)
        chosen = stream.choice(free, round(rate * len(train) / len(triggers)), replace=False)
        images[chosen], labels[chosen], is_poisoned[chosen] = trigger(train.images[chosen]), target, True
        attacked = test.images[test.labels != target]
        shown.append(trigger(attacked))
        aims.append(np.full(len(attacked), target))
    data = Images(images, labels, train.classes, train.name)
    return Set(data, is_poisoned, np.concatenate(shown), np.concatenate(aims))
