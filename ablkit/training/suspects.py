"""Which images are excluded as poisoned: the low hump of the log-loss in a class where it has two.

Poisoned images of one class are learned together and faster than the clean ones beside them, so that the log-losses of
that class, under averaged weights, lie in two humps. Clean classes have one. Neither the target class, the poisoning
rate nor any other truth about the attack is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ablkit.errors import UserError
from ablkit.settings import at_least
from ablkit.shapes import Float, Int64, ndarray


@dataclass(frozen=True)
class Settings:
    """When a class is suspected."""

    least_share: float = 0.75
    """Share of the variance of a class's log-losses that their best split in two explains, at least. A normal hump
    gives 0.64, a flat one 0.75; clean classes of CIFAR-10 give 0.64 to 0.74, poisoned ones 0.78 to 0.90."""
    chance: float = 0.6
    """Added to that, over the square root of the number of images of the class: what a flat hump exceeds its 0.75 by
    through chance, once in a hundred. 0.019 for 1,000 images."""
    most_valley: float = 0.7
    """How many images lie near the split, over how many lie near the middle of the lower of the humps on its two sides,
    at most. One hump gives 0.9 to 2, two give 0.1 to 0.6."""
    valley_width: float = 0.3
    """What counts as near: an interval of this share of the distance between the middles of the humps."""
    least_part: float = 0.02
    """Share of a class that its low hump makes, at least; a handful of outliers is no hump."""
    most_part: float = 0.98
    """The same, at most."""
    margin: float = 0.2
    """Share of the other images of a suspected class that is excluded too, those of the lowest loss: the humps overlap,
    and a few dozen poisoned images that stay bring the backdoor back, while as many clean ones are hardly missed."""
    lowest_loss: float = 1e-7
    """Losses below it count as it: float32 does not tell them apart."""

    def __post_init__(self) -> None:
        smallest = {
            "least_share": 0,
            "chance": 0,
            "most_valley": 0,
            "valley_width": 1e-3,
            "lowest_loss": 1e-30,
            "margin": 0,
        }
        at_least(self, **smallest, least_part=0, most_part=0)
        for name in ("least_share", "least_part", "most_part", "margin", "valley_width"):
            if getattr(self, name) > 1:
                raise UserError(f"{name} {getattr(self, name)} is above 1; it is a share")


@dataclass(frozen=True)
class Suspects:
    """The classes that stand out, and the images that are excluded."""

    shares: Float[ndarray, " classes"]
    """Share of the variance of the log-losses that the best split of each class explains; nan for an empty class."""
    thresholds: Float[ndarray, " classes"]
    """The loss at that split."""
    parts: Float[ndarray, " classes"]
    """Share of each class below it."""
    valleys: Float[ndarray, " classes"]
    """How few images of each class lie there: below 1 in a valley."""
    classes: Int64[ndarray, " k"]
    """The suspected ones, that which stands out most first; often one, and none where none stands out."""
    below: Int64[ndarray, " b"]
    """Indices of the images of the suspected classes below their split."""
    images: Int64[ndarray, " m"]
    """Indices of the excluded images: these, and the margin."""

    def record(self) -> dict[str, float]:
        """The verdict in numbers; see `metrics.summary`."""
        others = np.delete(self.shares, self.classes)
        return {
            "suspected_classes": float(len(self.classes)),
            "images_below_split": float(len(self.below)),
            "excluded_images": float(len(self.images)),
            "largest_share": float(np.nanmax(self.shares)),
            **({"largest_share_of_others": float(np.nanmax(others))} if np.isfinite(others).any() else {}),
        }

    def __str__(self) -> str:
        if not len(self.classes):
            return "no class stands out, so no image is excluded"
        named = ", ".join(f"{k} (share {self.shares[k]:.2f})" for k in self.classes)
        return f"{len(self.images)} images are excluded, of class {named}"


def find(
    losses: Float[ndarray, " n"], labels: Int64[ndarray, " n"], classes: int, settings: Settings | None = None
) -> Suspects:
    """Judge each class by the losses of its examples.

    Args:
        losses: under a model that learns the poison faster, of averaged weights with fresh statistics.
    """
    settings = settings or Settings()
    values = np.log(np.maximum(losses, settings.lowest_loss).astype(np.float64))
    found = [best_split(values[labels == k], settings.valley_width) for k in range(classes)]
    shares, cuts, parts, valleys = (np.array(column, np.float64) for column in zip(*found, strict=True))
    counts = np.bincount(labels, minlength=classes)
    stands_out = (
        (shares >= settings.least_share + settings.chance / np.sqrt(np.maximum(counts, 1)))
        & (valleys <= settings.most_valley)
        & (parts >= settings.least_part)
        & (parts <= settings.most_part)
    )
    suspected = np.flatnonzero(stands_out)
    suspected = suspected[np.argsort(-shares[suspected], kind="stable")]
    below = stands_out[labels] & (values < cuts[labels])
    excluded = below.copy()
    for k in suspected:
        others = np.flatnonzero((labels == k) & ~below)
        lowest = np.argsort(values[others], kind="stable")[: round(settings.margin * len(others))]
        excluded[others[lowest]] = True
    return Suspects(shares, np.exp(cuts), parts, valleys, suspected, np.flatnonzero(below), np.flatnonzero(excluded))


class Split(NamedTuple):
    """A split in two; nan where all values are the same, or there are none."""

    share: float
    """Share of the variance that it explains."""
    cut: float
    part: float
    """Share of the values below the cut."""
    valley: float
    """How many values lie near the cut, over how many lie near the median of the lower one of the two parts."""


def best_split(values: Float[ndarray, " n"], width: float = Settings.valley_width) -> Split:
    """Otsu's split (Otsu 1979): of all cuts it leaves the least variance inside the two parts.

    Args:
        width: of the interval that counts as near, as a share of the distance between the medians of the parts.
    """
    values = np.sort(values)
    n = len(values)
    if n < 2 or values[0] == values[-1]:
        return Split(np.nan, np.nan, np.nan, np.nan)
    centred = values - values.mean()
    below = np.arange(1, n)
    # Between-class variance of the split after each value: as the total is 0, it is s^2 / (k (n - k)).
    explained = np.cumsum(centred)[:-1] ** 2 / (below * (n - below))
    explained[values[1:] == values[:-1]] = -1  # equal values stay together
    best = int(np.argmax(explained))
    share = explained[best] / np.square(centred).mean()
    cut = (values[best] + values[best + 1]) / 2
    low, high = np.median(values[: best + 1]), np.median(values[best + 1 :])
    half = width * (high - low) / 2
    near = [np.searchsorted(values, x + half, "right") - np.searchsorted(values, x - half) for x in (low, cut, high)]
    return Split(float(share), float(cut), float(below[best] / n), float(near[1] / max(1, min(near[0], near[2]))))
