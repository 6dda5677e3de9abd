"""Which images are excluded as poisoned: the low hump of the log-loss in a class where it has two.

Poisoned images of one class are learned together and faster than the clean ones beside them, so that the log-losses of
that class, under averaged weights, lie in two humps. Clean classes have one. Neither the target class, the poisoning
rate nor any other truth about the attack is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablkit.errors import UserError
from ablkit.settings import at_least
from ablkit.shapes import Float, Int64, ndarray


@dataclass(frozen=True)
class Settings:
    """When a class is suspected."""

    least_share: float = 0.76
    """Share of the variance of a class's log-losses that their best split in two explains, at least. One hump gives
    0.64 where it is a normal one and 0.67 to 0.74 on clean classes of CIFAR-10; poisoned classes give 0.78 to 0.90."""
    least_part: float = 0.02
    """Share of a class that its low hump makes, at least; a handful of outliers is no hump."""
    most_part: float = 0.98
    """The same, at most."""
    lowest_loss: float = 1e-7
    """Losses below it count as it: float32 does not tell them apart."""

    def __post_init__(self) -> None:
        at_least(self, least_share=0, least_part=0, most_part=0, lowest_loss=1e-30)
        for name in ("least_share", "least_part", "most_part"):
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
    classes: Int64[ndarray, " k"]
    """The suspected ones, that which stands out most first; often one, and none where none stands out."""
    images: Int64[ndarray, " m"]
    """Indices of the excluded images: those of the suspected classes below their split."""

    def record(self) -> dict[str, float]:
        """The verdict in numbers; see `measure.summary`."""
        others = np.delete(self.shares, self.classes)
        return {
            "suspected_classes": float(len(self.classes)),
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
    found = [best_split(values[labels == k]) for k in range(classes)]
    shares, cuts, parts = (np.array(column, np.float64) for column in zip(*found, strict=True))
    stands_out = (shares >= settings.least_share) & (parts >= settings.least_part) & (parts <= settings.most_part)
    suspected = np.flatnonzero(stands_out)
    suspected = suspected[np.argsort(-shares[suspected], kind="stable")]
    below = stands_out[labels] & (values < cuts[labels])
    return Suspects(shares, np.exp(cuts), parts, suspected, np.flatnonzero(below))


def best_split(values: Float[ndarray, " n"]) -> tuple[float, float, float]:
    """Otsu's split in two (Otsu 1979): the share of the variance that it explains, the cut, and the part below it.

    Of all cuts it leaves the least variance inside the two parts. Three times nan where all values are the same, or
    there are none.
    """
    values = np.sort(values)
    n = len(values)
    if n < 2 or values[0] == values[-1]:
        return np.nan, np.nan, np.nan
    centred = values - values.mean()
    below = np.arange(1, n)
    # Between-class variance of the split after each value: as the total is 0, it is s^2 / (k (n - k)).
    explained = np.cumsum(centred)[:-1] ** 2 / (below * (n - below))
    explained[values[1:] == values[:-1]] = -1  # equal values stay together
    best = int(np.argmax(explained))
    share = explained[best] / np.square(centred).mean()
    return float(share), float((values[best] + values[best + 1]) / 2), float(below[best] / n)
