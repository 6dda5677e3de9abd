"""What an attacker who knows the defence adds: three aims, cover images, inconsistent labels, several triggers.

The defences here look for images that are learned faster than others, in one class, where they lie close together. Each
addition works against that: the poison is spread over three classes, the trigger alone does not tell the label, it
tells it only now and then, or there are several triggers with few images each.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ablkit.attacks.attack import Change, Order
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.shapes import Int64, UInt8, ndarray

_COVER, _LABELS = 30, 31  # places in the attack's stream
_FEWEST_CLASSES = 4
_MOST_TRIGGERS = 5


@dataclass(frozen=True)
class Adaptive:
    """The additions, none by default."""

    labels: Literal["all2one", "all2all", "all2three"] = "all2one"
    """Class that a triggered image of class y is to be taken for. `all2one`: the target. `all2all`: y + 1, the last
    one's being 0. `all2three`: target + (y mod 3), counted round, so that the poison is spread over three classes."""
    cover: float = 0.0
    """Share of the training set whose images get the trigger and keep their true label: the cover images of Qi et al.
    2023 (ICLR, "Revisiting the Assumption of Latent Separability for Backdoor Defenses"). They come on top of the
    poisoned images and are drawn from the classes that the attack does not aim at. There are none where no image is
    poisoned."""
    consistency: float = 1.0
    """Share of the poisoned images, above 0, that get the label aimed at. Each of the others gets a class that is drawn
    from all but its own and that one, so that the trigger is learned late (an attack of this kit)."""
    triggers: int = 1
    """How many triggers there are, 1 to 5. Each image gets one of them, which one its pixels decide, so that an image
    always gets the same; the attack success is the mean over test images with one each."""

    def __post_init__(self) -> None:
        if not 0 <= self.cover < 1:
            raise UserError(f"cover {self.cover} is outside [0, 1); it is a share of the training set, such as 0.1")
        if not 0 < self.consistency <= 1:
            raise UserError(f"consistency {self.consistency} is outside (0, 1]; 1 gives every image the label aimed at")
        if not 1 <= self.triggers <= _MOST_TRIGGERS:
            raise UserError(f"triggers {self.triggers} is outside 1 to {_MOST_TRIGGERS}; 1 is the attack as published")


def aims(images: Images, labels: str, target: int) -> Int64[ndarray, " classes"]:
    """For each class, the one that its triggered images are to be taken for; see `Adaptive.labels`.

    Raises UserError where all2three finds too few classes for three aims.
    """
    count = len(images.classes)
    classes = np.arange(count)
    if labels == "all2all":
        return np.roll(classes, -1)
    if labels != "all2three":
        return np.full(count, target)
    found = (target + classes % 3) % count
    if count < _FEWEST_CLASSES or len(np.unique(found[found != classes])) < 3:
        raise UserError(
            f"labels all2three needs {_FEWEST_CLASSES} classes, with target 0 six, but {images.name} has {count} and"
            f" the target is {target}; take another target or labels=all2one"
        )
    return found


def check(
    train: Images,
    chosen: Int64[ndarray, " k"],
    aims: Int64[ndarray, " classes"],
    settings: Adaptive,
    *,
    released: bool,
) -> None:
    """Raise UserError for what cannot be had of these images or of the authors' code.

    That is a cover for which too few images are left, inconsistent labels of too few classes, or several triggers of
    code that has one.
    """
    if released and settings.triggers > 1:
        raise UserError(
            f"triggers {settings.triggers} is of this kit, the authors' code has one; leave out one of the two"
        )
    wanted, left = round(settings.cover * len(train)), len(_not_aimed_at(train, chosen, aims))
    if wanted > left:
        raise UserError(
            f"cover {settings.cover} asks for {wanted} images, but only {left} are neither poisoned nor of a class that"
            f" the attack aims at; lower it{'' if left else ' to 0, or take other labels'}"
        )
    if settings.consistency < 1 and len(train.classes) < 3:
        raise UserError(
            f"consistency {settings.consistency} needs a third class for the other labels, but {train.name} has"
            f" {len(train.classes)}; leave it at 1"
        )


def one_of(changes: Sequence[Change]) -> Change:
    """Give each image one of these changes; see `Adaptive.triggers`."""
    return changes[0] if len(changes) == 1 else partial(_changed_in_turn, changes=changes)


def _changed_in_turn(images: UInt8[ndarray, "n h w c"], changes: Sequence[Change]) -> UInt8[ndarray, "n h w c"]:
    number = np.array([zlib.crc32(image.tobytes()) % len(changes) for image in images], int)
    changed = np.array(images)
    for i, change in enumerate(changes):
        changed[number == i] = change(images[number == i])
    return changed


def additions(order: Order, settings: Adaptive, change: Change) -> dict:
    """What joins `Crafted`: the cover images as decoys, and the labels of the chosen images where they are others.

    Args:
        change: puts the trigger on images.
    """
    found = {}
    if settings.consistency < 1:
        found["labels"] = _inconsistent(order, settings.consistency)
    count = round(settings.cover * len(order.train)) if len(order.chosen) else 0
    if count:
        left = _not_aimed_at(order.train, order.chosen, order.aims)
        decoys = numpy_stream(order.seed, "trigger", _COVER, 0).choice(left, count, replace=False)
        found |= {"decoys": decoys, "decoy_images": change(np.array(order.train.images[decoys]))}
    return found


def _not_aimed_at(
    train: Images, chosen: Int64[ndarray, " k"], aims: Int64[ndarray, " classes"]
) -> Int64[ndarray, " m"]:
    return np.setdiff1d(np.flatnonzero(~np.isin(train.labels, aims)), chosen)


def _inconsistent(order: Order, consistency: float) -> Int64[ndarray, " k"]:
    """The labels of the chosen images: of the share `consistency` the aim, of the others neither it nor their own."""
    stream, own = numpy_stream(order.seed, "trigger", _LABELS, 0), order.train.labels[order.chosen]
    labels, classes = order.aims[own], np.arange(len(order.train.classes))
    for i in stream.permutation(len(labels))[round(consistency * len(labels)) :]:
        labels[i] = stream.choice(np.setdiff1d(classes, [own[i], labels[i]]))
    return labels
