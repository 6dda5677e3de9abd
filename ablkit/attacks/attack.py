"""What every attack is made of: an order, the function that carries it out, and what that leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.shapes import Bool, Int64, UInt8, ndarray

Change = Callable[[ndarray], ndarray]
"""What an attacker does to images: uint8 (n h w c) -> changed copies. It treats each on its own."""
Kind = Literal["dirty label", "clean label"]
FEWEST = 20
"""Fewest images on which an attacker trains a network."""
Fits = Callable[[Images, int, object], object]
"""Images, target and settings -> nothing; raises UserError where the attack cannot be carried out on such images."""


def any_images(images: Images, target: int, settings: object) -> None:
    """The check of an attack that takes whatever images there are."""


def sides_of(smallest: int) -> Fits:
    """A check that both sides of the images have that many pixels."""

    def check(images: Images, target: int, settings: object) -> None:
        height, width = images.images.shape[1:3]
        if min(height, width) < smallest:
            raise UserError(
                f"images of {height} x {width} have no room for the trigger; give at least {smallest} x {smallest},"
                " or take the attack blend"
            )

    return check


@dataclass(frozen=True)
class Order:
    """What an attack is asked for."""

    train: Images
    """The whole clean training set, as the attacker knows it."""
    chosen: Int64[ndarray, " k"]
    """Indices of the images to be poisoned."""
    target: int
    aims: Int64[ndarray, " classes"]
    """For each class, the one that its triggered images are to be taken for: the target, or others by the setting
    `labels` of an attack."""
    seed: int
    released: bool
    """Do what the authors' code really does where that differs from the attack's paper."""
    device: str = "auto"
    precision: str = "auto"

    @property
    def images(self) -> UInt8[ndarray, "k h w c"]:
        """Copies of the chosen images."""
        return np.array(self.train.images[self.chosen])


@dataclass(frozen=True)
class Triggered:
    """The test images that the attack is tried on: those which it wants to be taken for another class."""

    images: UInt8[ndarray, "n h w c"]
    """Each with its trigger."""
    crossed: UInt8[ndarray, "n h w c"] | None
    """Each with the trigger made for the image before it, where triggers belong to one image; else None."""
    aims: Int64[ndarray, " n"]
    """The classes that they are to be taken for."""
    labels: Int64[ndarray, " n"]
    """Their true classes."""
    partners: Int64[ndarray, " n"] | None = None
    """Where each is made of two images, the true class of the second one."""
    others: UInt8[ndarray, "m h w c"] | None = None
    """Images that resemble triggered ones but are not to open the backdoor; None where the attack has no such."""


Trigger = Callable[[Images], Triggered]
"""A clean test set -> the images that the attack is tried on."""


@dataclass(frozen=True)
class OneByOne:
    """A trigger that is put on each test image that the attack wants to be taken for another class."""

    change: Change
    aims: Int64[ndarray, " classes"]
    """For each class, the one that its triggered images are to be taken for."""
    crossed: Callable[[ndarray, ndarray], ndarray] | None = None
    """Images, others -> each image with the trigger made for the other at its place, where it belongs to one image."""
    lookalike: Callable[[ndarray, ndarray], ndarray] | None = None
    """Clean images, the same triggered -> images that resemble these but are not to open the backdoor."""

    def __call__(self, test: Images) -> Triggered:
        """The test images of the other classes under the trigger."""
        aims = self.aims[test.labels]
        attacked = aims != test.labels
        clean = test.images[attacked]
        images = self.change(clean)
        return Triggered(
            images,
            None if self.crossed is None else self.crossed(clean, np.roll(clean, 1, axis=0)),
            aims[attacked],
            test.labels[attacked],
            others=None if self.lookalike is None else self.lookalike(clean, images),
        )


@dataclass(frozen=True)
class Crafted:
    """What an attack makes of an order."""

    images: UInt8[ndarray, "k h w c"]
    """The chosen images as the attacker leaves them."""
    triggered: Trigger
    record: dict[str, float] = field(default_factory=dict)
    """What the attack measured on the way, such as its surrogate's accuracy; names say the unit."""
    pictures: dict[str, UInt8[ndarray, "h w c"]] = field(default_factory=dict)
    """Caption -> picture that explains the attack, such as a generated trigger."""
    decoys: Int64[ndarray, " d"] = field(default_factory=lambda: np.empty(0, np.int64))
    """Indices of further training images that the attack changes and leaves under their labels: not poisoned ones, as
    nothing is to be learned from them but when the backdoor is to stay shut. Every metric counts them as clean."""
    decoy_images: UInt8[ndarray, "d h w c"] | None = None
    labels: Int64[ndarray, " k"] | None = None
    """Labels of the chosen images; None gives those of a dirty-label attack the class that it aims at. Whatever label
    they get, the chosen images count as poisoned."""


@dataclass(frozen=True)
class Twin:
    """An attack with its idea off: the difference between the two is what the idea does."""

    without: str
    """What is left out, in a few words."""
    settings: str
    """The settings that leave it out."""
    rate: float = 1.0
    """Highest poisoning rate at which the two are compared, where at higher ones the rest of the attack suffices."""


@dataclass(frozen=True)
class Attack:
    """An attack by name; see `ablkit.attacks.ATTACKS`."""

    title: str
    kind: Kind
    """`dirty label`: images of other classes get the target's label. `clean label`: images of the target class keep
    theirs. It also decides what a rate is a share of: the training set, or the target class."""
    changes: str
    """What it changes, in two or three words."""
    paper: str
    craft: Callable[[Order, object], Crafted]
    settings: type
    """Frozen dataclass of the attack's own settings; its defaults are those of `paper`."""
    quick_rate: float = 0.1
    """Rate of the reports on 10,000 images; where it is not 0.1 it was chosen on seed 100, cl's on seeds 100 to 102."""

    twin: Twin | None = None
    """None where nothing can be left out: a formula alone."""

    fits: Fits = any_images
    """Called for the training and the test set, before anything is made."""
    fewest: int = 1
    """Fewest training images: `FEWEST` where the attacker trains networks on them."""

    @property
    def rate_of(self) -> str:
        """What a poisoning rate is a share of."""
        return "training set" if self.kind == "dirty label" else "target class"


@dataclass(frozen=True)
class Poisoned:
    """A poisoned training set and, for the metrics alone, the truth about it."""

    data: Images
    """All that a victim sees, and all that a training takes."""
    attack: str
    target: int
    triggered: Trigger = field(repr=False)
    is_poisoned: Bool[ndarray, " n"]
    true_labels: Int64[ndarray, " n"]
    """Before the attack; for an attack that replaces images (cba) those of the images that gave way."""
    aims: Int64[ndarray, " classes"]
    """As in `Order`."""
    is_decoy: Bool[ndarray, " n"]
    """Changed by the attack and left under their true labels; not poisoned."""
    record: dict[str, float] = field(default_factory=dict)
    """What the attack measured while it was made."""
    pictures: dict[str, ndarray] = field(default_factory=dict, repr=False)
    """Caption -> picture that explains the attack."""

    def __len__(self) -> int:
        return len(self.data)
