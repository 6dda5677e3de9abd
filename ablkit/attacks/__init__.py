"""The attacks by name, and how a clean training set becomes a poisoned one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ablkit.attacks import badnets
from ablkit.data.images import Images
from ablkit.errors import UserError, unknown
from ablkit.randomness import numpy_stream
from ablkit.shapes import Bool, Int64, UInt8, ndarray

ATTACKS: dict[str, Callable] = {"badnets": badnets.stamp}
"""Name -> trigger, a function from uint8 images (n h w c) to triggered copies of them."""


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set and, for the metrics alone, the truth about it.

    Training takes `images` and `labels`; only metrics may read `is_poisoned` and `true_labels`.
    """

    images: UInt8[ndarray, "n h w c"]
    labels: Int64[ndarray, " n"]
    classes: tuple[str, ...]
    target: int
    trigger: Callable = field(repr=False)
    """What the attacker does to an image at test time: uint8 (n h w c) -> uint8 (n h w c)."""
    is_poisoned: Bool[ndarray, " n"]
    true_labels: Int64[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.labels)


def poison(
    train: Images,
    attack: str = "badnets",
    *,
    rate: float = 0.1,
    target: int = 0,
    seed: int = 0,
    include_target: bool = False,
) -> Poisoned:
    """Stamp the trigger on a random share of the training images and label them as the target class.

    Args:
        rate: share of the whole training set that is poisoned, in [0, 1); 0 changes nothing.
        target: index of the class that a triggered image is to be taken for (all-to-one).
        seed: draws the poisoned images from their own stream.
        include_target: let images that are of the target class already be drawn too, as the authors' code does.

    Raises UserError for an unknown attack, a rate or target out of range, or fewer eligible images than asked for.
    """
    if attack not in ATTACKS:
        raise unknown("attack", attack, ATTACKS)
    if not 0 <= rate < 1:
        raise UserError(f"poison_rate {rate} is outside [0, 1); the paper uses 0.1")
    if not 0 <= target < len(train.classes):
        raise UserError(f"target {target} is no class of {train.name}; choose 0 to {len(train.classes) - 1}")
    count = round(rate * len(train))
    eligible = np.arange(len(train)) if include_target else np.flatnonzero(train.labels != target)
    if count > len(eligible):
        raise UserError(
            f"poison_rate {rate} asks for {count} poisoned images, but only {len(eligible)} may be poisoned"
            f" (not of the target class); lower it to {len(eligible) / len(train):.2f}"
        )
    chosen = numpy_stream(seed, "poison").choice(eligible, count, replace=False)
    trigger = ATTACKS[attack]
    images, labels = np.array(train.images), np.array(train.labels)
    images[chosen] = trigger(images[chosen])
    labels[chosen] = target
    is_poisoned = np.zeros(len(train), dtype=bool)
    is_poisoned[chosen] = True
    return Poisoned(images, labels, train.classes, target, trigger, is_poisoned, np.array(train.labels))
