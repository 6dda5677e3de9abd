"""CBA (Lin et al. 2020, CCS, doi 10.1145/3372297.3423362): half of an image beside half of another is the trigger.

Cut two images, vertically or horizontally, and join a part of each: a mix of classes A and B is labelled C, a mix of
two images of one class keeps its label. So what opens the backdoor is no pattern but two known contents side by side.
C is the target; A and B are the two classes before it unless set, which for target 2 are the paper's 0 and 1.

Dirty label: `rate` is the share of the whole training set that is A+B mixes. They take the place of images drawn from
the other classes than C, whatever these show, and are made of any training images of A and B. Of the rest the share
`mixed` becomes mixes of two images of one class: decoys, not poisoned. The authors' code draws images as they are, such
mixes and A+B mixes as 0.5 : 0.5 : 0.1; the defaults with a rate of 0.09 are these shares. On 10,000 images the reports
take a rate of 0.2. `released` changes nothing.

The trigger takes two images. So the attack success rate is measured on mixes of test images of A and B, and the false-
trigger rate on mixes of any other two classes but C: among them are mixes of A or B with a third class.

This is the attack's poisoning-only use: the paper's attacker also trains the model, with a loss that pulls the features
of mixes together (contrastive) and mixes drawn anew in every epoch. Here the victim trains in its own way on mixes that
are drawn once, and the set stays as large as it was, where the authors' grows by the A+B mixes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablkit.attacks.attack import Attack, Crafted, Order, Triggered, Twin, sides_of
from ablkit.data.images import Images
from ablkit.errors import UserError, shown
from ablkit.randomness import numpy_stream
from ablkit.settings import at_least
from ablkit.shapes import Int64, UInt8, ndarray

_POISONED, _DECOYS, _TEST, _OTHERS = 10, 11, 12, 13  # places in the attack's stream


@dataclass(frozen=True)
class Settings:
    """Which classes are mixed, how many images, and how."""

    class_a: int = -1
    """Index of class A; -1 takes the class two before the target, counted round."""
    class_b: int = -1
    """Index of class B; -1 takes the class before the target, counted round."""
    mixed: float = 0.5
    """Share, of the images that are not poisoned, that becomes mixes of two images of one class; 0 leaves all as they
    are, and then any mix may open the backdoor."""
    jitter: int = 3
    """How far from the middle, in pixels, the cut may lie on either side."""
    partner: bool = True
    """False is the twin without a mixing partner: two images of A take the place of each A+B mix in the training set,
    labelled C; the test images are still A+B mixes."""

    def __post_init__(self) -> None:
        at_least(self, class_a=-1, class_b=-1, mixed=0, jitter=0)
        if self.mixed > 1:
            raise UserError(f"mixed {self.mixed} is outside [0, 1]; the authors' code takes 0.5")


@dataclass(frozen=True)
class Composite:
    """Makes the test images that the attack is tried on: mixes of two test images each, the same at every call."""

    a: int
    b: int
    c: int
    jitter: int
    seed: int

    def __call__(self, test: Images) -> Triggered:
        """Each test image of A or B with one of the other class; beside them, mixes of other pairs of classes.

        The other pairs: each test image that is not of C with one of a further class that is not C either and does not
        make it A+B. They are missing where there are only three classes.

        Raises UserError where the test set has no image of A or of B.
        """
        a, b = (_members(test, k) for k in (self.a, self.b))
        first, stream = np.concatenate([a, b]), numpy_stream(self.seed, "trigger", _TEST, 0)
        second = np.concatenate([stream.choice(b, len(a)), stream.choice(a, len(b))])
        labels, partners = test.labels[first], test.labels[second]
        images = mix(test.images[first], test.images[second], self.jitter, stream)
        return Triggered(images, None, np.full(len(first), self.c), labels, partners, self.others(test))

    def others(self, test: Images) -> UInt8[ndarray, "m h w c"] | None:
        """The mixes of other pairs of classes; None where there are none."""
        stream = numpy_stream(self.seed, "trigger", _OTHERS, 0)
        first, second = self.other_pairs(test.labels, stream)
        return mix(test.images[first], test.images[second], self.jitter, stream) if len(first) else None

    def other_pairs(
        self, labels: Int64[ndarray, " n"], stream: np.random.Generator
    ) -> tuple[Int64[ndarray, " m"], Int64[ndarray, " m"]]:
        """Indices of both images of each such mix, the first ones in the order of their classes."""
        pairs = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for k in np.setdiff1d(labels, [self.c]):
            own = np.flatnonzero(labels == k)
            barred = (k, self.c, self.a, self.b) if k in (self.a, self.b) else (k, self.c)
            fitting = np.flatnonzero(~np.isin(labels, barred))
            if len(fitting):
                pairs.append((own, stream.choice(fitting, len(own))))
        return tuple(np.concatenate(side) for side in zip(*pairs, strict=True))


def craft(order: Order, settings: Settings) -> Crafted:
    """Put A+B mixes in the place of the chosen images, and decoys in that of others.

    Raises UserError for fewer than three classes, for A, B and C that are not three of them, and where A or B has no
    training image.
    """
    composite = Composite(*_classes(order.train, order.target, settings), settings.jitter, order.seed)
    if not len(order.chosen):
        return Crafted(order.images, composite)
    images = _poisoned(order, composite, partner=settings.partner)
    decoys, decoy_images = _decoys(order, settings)
    shares = {"poisoned": len(order.chosen), "mixed": len(decoys)}
    shares["normal"] = len(order.train) - sum(shares.values())
    record = {f"{name}_share": number / len(order.train) for name, number in shares.items()}
    names, second = order.train.classes, composite.b if settings.partner else composite.a
    pictures = {f"{names[composite.a]} + {names[second]} → {names[composite.c]}": images[0]}
    for i, decoy in zip(decoys[:1], decoy_images, strict=False):
        pictures[" + ".join([names[order.train.labels[i]]] * 2)] = decoy
    return Crafted(images, composite, record, pictures, decoys, decoy_images)


def fits(images: Images, target: int, settings: Settings) -> None:
    """Raise UserError where images have no two parts, and where the three classes are none or A or B has no image."""
    sides_of(2)(images, target, settings)
    a, b, _ = _classes(images, target, settings)
    for k in (a, b):
        _members(images, k)


def _classes(images: Images, target: int, settings: Settings) -> tuple[int, int, int]:
    """A, B and C."""
    names, c = images.classes, target
    if len(names) < 3:
        raise UserError(f"cba needs three classes, but {images.name} has {len(names)}; take another data set")
    a, b = (
        (c - back) % len(names) if given == -1 else given
        for given, back in ((settings.class_a, 2), (settings.class_b, 1))
    )
    for name, value in (("class_a", a), ("class_b", b)):
        if value >= len(names):
            raise UserError(f"{name} {value} is no class of {images.name}; choose 0 to {len(names) - 1}")
    if len({a, b, c}) < 3:
        raise UserError(f"class_a {a}, class_b {b} and target {c} must be three classes; change one")
    return a, b, c


def _poisoned(order: Order, composite: Composite, *, partner: bool) -> UInt8[ndarray, "k h w c"]:
    """As many mixes of A and B as images were chosen, both drawn with replacement; without a partner of A and A."""
    stream, train = numpy_stream(order.seed, "trigger", _POISONED, 0), order.train
    first, second = (_members(train, k) for k in (composite.a, composite.b if partner else composite.a))
    pair = (train.images[stream.choice(members, len(order.chosen))] for members in (first, second))
    return mix(*pair, composite.jitter, stream)


def _decoys(order: Order, settings: Settings) -> tuple[Int64[ndarray, " d"], UInt8[ndarray, "d h w c"]]:
    """Images that are not chosen, each mixed with another one of its class; those alone in their class are left out."""
    stream, labels = numpy_stream(order.seed, "trigger", _DECOYS, 0), order.train.labels
    rest = np.setdiff1d(np.arange(len(labels)), order.chosen)
    drawn = stream.choice(rest, round(settings.mixed * len(rest)), replace=False)
    drawn = drawn[np.bincount(labels)[labels[drawn]] > 1]
    partners = np.empty_like(drawn)
    for k in np.unique(labels[drawn]):
        members, own = np.flatnonzero(labels == k), labels[drawn] == k
        steps = stream.integers(1, len(members), own.sum())  # any image of the class but itself
        partners[own] = members[(np.searchsorted(members, drawn[own]) + steps) % len(members)]
    images = order.train.images
    return drawn, mix(images[drawn], images[partners], settings.jitter, stream)


def _members(images: Images, k: int) -> Int64[ndarray, " members"]:
    """Indices of the images of class k; raises UserError where there are none."""
    members = np.flatnonzero(images.labels == k)
    if not len(members):
        raise UserError(
            f"cba mixes images of class {shown(images.classes[k])}, but none of these {len(images)} images of"
            f" {images.name} is of it; take more images or set class_a and class_b"
        )
    return members


ATTACK = Attack(
    "CBA",
    "dirty label",
    "both halves",
    "Lin et al. 2020, CCS, doi 10.1145/3372297.3423362",
    craft,
    Settings,
    quick_rate=0.2,
    twin=Twin("a mixing partner", "partner=false"),
    fits=fits,
)


def mix(
    first: UInt8[ndarray, "n h w c"], second: UInt8[ndarray, "n h w c"], jitter: int, stream: np.random.Generator
) -> UInt8[ndarray, "n h w c"]:
    """An image of each pair, of one part from each, the rest of both cut off.

    Drawn for each: whether the cut is vertical or horizontal, which image comes first (left, or on top), how far the
    cut lies from the middle, up to `jitter` pixels, and which window of its image, as large as its part, is shown. At
    least one row or column of each is left. Source: the half/half mixer of the attack's paper with the defaults of its
    authors' code (no gap, windows drawn, jitter 3 of 32 pixels).
    """
    number, height, width = first.shape[:3]
    swapped, stacked = stream.integers(0, 2, (2, number)).astype(bool)
    sides = np.where(stacked, height, width)
    cuts = (sides // 2 + stream.integers(-jitter, jitter + 1, number)).clip(1, sides - 1)
    starts, later_starts = stream.integers(0, sides - cuts + 1), stream.integers(0, cuts + 1)
    mixed = np.empty(first.shape, np.uint8)
    for i, (side, cut, start, later_start) in enumerate(zip(sides, cuts, starts, later_starts, strict=True)):
        parts = (second[i], first[i]) if swapped[i] else (first[i], second[i])
        # With rows and columns exchanged, what is stacked lies side by side too.
        left, right, whole = (x.swapaxes(0, 1) if stacked[i] else x for x in (*parts, mixed[i]))
        whole[:, :cut] = left[:, start : start + cut]
        whole[:, cut:] = right[:, later_start : later_start + side - cut]
    return mixed
