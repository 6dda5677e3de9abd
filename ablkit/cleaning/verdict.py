"""What a training without suspects shows of data of unknown trust: which images are suspected, and the evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from torch import nn

from ablkit.data.images import Images
from ablkit.exclusion import Excluded
from ablkit.exclusion.splits import joined
from ablkit.exclusion.suspects import Suspects
from ablkit.shapes import Bool, Float, Int64, ndarray
from ablkit.training.inference import features_of, predict

_NEARLY_ALL = 0.75
"""Share of a class: more than clean-label attacks poison at the small presets."""


@dataclass(frozen=True)
class Judged:
    """The images of one split, each judged."""

    data: Images
    is_suspected: Bool[ndarray, " n"]
    suspicion: Float[ndarray, " n"]
    """1 in the middle of the group of a class that is taken for the poison, 0 in that of its other images; nan
    where a class has no two. Of several cuts, as of a class with several triggers, the largest. It says something in a
    suspected class alone: any class can be cut in two. A suspect may be near 0 where one draw of the halves found it
    and the middle one did not."""
    first: Int64[ndarray, " n"]
    """The class that the model of phase 1, which saw every image, takes each image for."""
    last: Int64[ndarray, " n"]
    """The class that the model which was trained without the suspects takes it for."""

    def accuracy(self, predicted: Int64[ndarray, " n"], of: Bool[ndarray, " n"] | None = None) -> float:
        """Share of the images `of`, by default those without suspicion, that are taken for their label; nan for none.

        The labels are those that the data came with.
        """
        own = ~self.is_suspected if of is None else of
        return float((predicted == self.data.labels)[own].mean()) if own.any() else float("nan")


@dataclass(frozen=True)
class Verdict:
    """What is known of a data set after the training."""

    found: Suspects
    train: Judged
    test: Judged

    @property
    def classes(self) -> list[int]:
        """The suspected classes, that which stands out most first."""
        return [int(k) for k in self.found.classes]

    def others(self) -> list[int]:
        """The other classes with two groups, that whose groups lie farthest apart first."""
        order = np.argsort(-np.nan_to_num(self.found.separations, nan=-1), kind="stable")
        return [int(k) for k in order if k not in self.classes and np.isfinite(self.found.separations[k])]

    def unclear(self) -> list[int]:
        """The classes in which two groups lie apart of what is not suspected."""
        return [int(k) for k in np.flatnonzero(self.found.unclear)]

    def left(self, k: int) -> int:
        """Training images of a class that are not suspected."""
        return int((~self.train.is_suspected & (self.train.data.labels == k)).sum())

    def turned(self) -> list[int]:
        """The suspected classes nearly all of whose test images join the suspects: these may be the clean ones."""
        tested = self.test.data.labels
        return [
            k for k in self.classes if (tested == k).any() and self.test.is_suspected[tested == k].mean() > _NEARLY_ALL
        ]

    def numbers(self) -> dict[str, float | int]:
        """The verdict in numbers; shares are fractions of 1."""
        suspected = self.train.is_suspected
        beside = ~suspected & np.isin(self.train.data.labels, self.classes)
        return {
            "training_images": len(suspected),
            "test_images": len(self.test.data),
            **self.found.record(),
            "suspected_test_images": int(self.test.is_suspected.sum()),
            "clean_accuracy_before": self.test.accuracy(self.test.first),
            "clean_accuracy": self.test.accuracy(self.test.last),
            "label_agreement_of_suspects": self.train.accuracy(self.train.last, suspected),
            "label_agreement_beside_suspects": self.train.accuracy(self.train.last, beside),
        }


def judge(trained: Excluded, train: Images, test: Images, precision: str = "auto") -> Verdict:
    """The verdict on both splits of a data set after `exclusion.exclude` on the training images.

    A test image of a suspected class is suspected where it joins the suspects of one of that class's cuts: it had no
    part in finding them.
    """
    found = trained.suspects
    suspicion, test_suspicion = np.full(len(train), np.nan), np.full(len(test), np.nan)
    test_suspected = np.zeros(len(test), bool)
    for k, cut in ((k, cut) for k, cuts in enumerate(found.cuts) for cut in cuts):
        new, groups = np.flatnonzero(test.labels == k), cut.groups
        suspicion[cut.images] = np.fmax(suspicion[cut.images], 0.5 - groups.scores)
        if np.isfinite(groups.separation) and len(new):
            model = trained.looked_at[cut.look - 1]
            seen = [features_of(model, data.images[at], precision) for data, at in ((train, cut.images), (test, new))]
            joins, scores = joined(seen[0], groups, seen[1])
            test_suspicion[new] = np.fmax(test_suspicion[new], 0.5 - scores)
            test_suspected[new] |= joins & (k in found.classes)
    is_suspected = np.zeros(len(train), bool)
    is_suspected[found.images] = True

    def judged(data: Images, suspected: ndarray, value: ndarray) -> Judged:
        taken_for = (predict(model, data.images, precision) for model in (trained.averaged, trained.model))
        return Judged(data, suspected, value, *taken_for)

    return Verdict(found, judged(train, is_suspected, suspicion), judged(test, test_suspected, test_suspicion))


def accuracy_of(model: nn.Module, judged: Judged, precision: str = "auto") -> float:
    """Accuracy of another model on the images without suspicion."""
    return judged.accuracy(predict(model, judged.data.images, precision))


def most_suspicious(verdict: Verdict, k: int, count: int) -> Int64[ndarray, " m"]:
    """Indices of the training images of a suspected class that are farthest from its other images, that one first."""
    own = np.flatnonzero(verdict.train.is_suspected & (verdict.train.data.labels == k))
    return own[np.argsort(-verdict.train.suspicion[own], kind="stable")][:count]


def what_is_left(verdict: Verdict, k: int, count: int) -> Int64[ndarray, " m"]:
    """Indices of training images of a class that are not suspected, drawn evenly from the least suspicious on."""
    own = np.flatnonzero(~verdict.train.is_suspected & (verdict.train.data.labels == k))
    own = own[np.argsort(verdict.train.suspicion[own], kind="stable")]
    return own[np.unique(np.linspace(0, len(own) - 1, min(count, len(own))).astype(np.int64))] if len(own) else own


def copies(images: Images, fewest: int) -> dict[int, int]:
    """Class -> how many of its images are one and the same picture, where these are as many as `fewest` or more."""
    most = {}
    for k in range(len(images.classes)):
        own = Counter(images.images[at].tobytes() for at in np.flatnonzero(images.labels == k))
        most[k] = max(own.values(), default=0)
    return {k: number for k, number in most.items() if number >= fewest}


def mean_difference(verdict: Verdict, k: int) -> Float[ndarray, "h w c"]:
    """The mean of a class's suspects less that of images without suspicion that show the same, in grey levels.

    The latter are mixed of all classes as the model trained without the suspects sees these in them: of a wrong label
    what stands out is then the trigger and not the class.
    """
    data, suspected = verdict.train.data, verdict.train.is_suspected
    own = np.flatnonzero(suspected & (data.labels == k))
    seen = np.bincount(verdict.train.last[own], minlength=len(data.classes)) / len(own)
    parts = {c: np.flatnonzero(~suspected & (data.labels == c)) for c in np.flatnonzero(seen)}
    weight = sum(seen[c] for c, images in parts.items() if len(images))
    reference = sum(seen[c] / weight * _mean(data, images) for c, images in parts.items() if len(images))
    return _mean(data, own) - reference


def _mean(data: Images, chosen: Int64[ndarray, " m"]) -> Float[ndarray, "h w c"]:
    """The mean of some images, a thousand of them at a time."""
    parts = [data.images[chosen[at : at + 1000]].sum(axis=0, dtype=np.float64) for at in range(0, len(chosen), 1000)]
    return sum(parts) / len(chosen)
