"""Which images are excluded as poisoned: those of a class that form a group of their own in what its layers see.

Images of a class that carry a trigger make two groups with the clean ones beside them, in what the layers of a model
see: mostly already in an early one of averaged weights. Mostly they are learned faster, so the images of the lowest
losses are where to start; an attacker can see to it that they are not, so the first principal components of the
features are, too, and clusters in these. A linear discriminant then tells the two groups apart. Of a clean class it
makes one group, however it is cut, but for films and the like. Of two groups the one is excluded whose images look like
those of other classes, as most attackers take them from there. Where the look does not tell, it is the one that lies
farther from the images of all other classes, as these are mostly clean. What is left of the class is cut again, as each
trigger may make a group. Neither the target class, the poisoning rate nor any other truth about the attack is used.

That poisoned images form a group in feature space is known: spectral signatures (Tran et al. 2018), activation
clustering (Chen et al. 2018), and SCAn (Tang et al. 2021), which also uses a linear discriminant. Those start from the
features of a finished model; SCAn and others need clean images. What is added here are the early, averaged model and
its losses as further starts, that an image is judged by a discriminant fitted on the other half of the images, where
none looks like it by its thumbnail, and how it is told which of two groups is the poison. The scale of the features and
the starts are of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from ablkit.errors import UserError
from ablkit.exclusion import lookalikes
from ablkit.exclusion.rule import RULE, Settings
from ablkit.exclusion.splits import Groups, two_groups
from ablkit.randomness import numpy_stream
from ablkit.shapes import Bool, Float, Int64, ndarray

_LEAST_OWN = 0.03
"""How often, above chance, images look like their class: as often as this or less is no more than by chance, and the
look tells something where one of the groups does so more often."""
_AGREES = 0.9
"""Share of a class that two draws put into the same group, from which they have found the same."""


class Cut(NamedTuple):
    """One division of images of a class into two groups."""

    images: Int64[ndarray, " m"]
    """Indices of those that had a part in it."""
    groups: Groups
    """As the middle draw has them: an excluded image that other draws found may be of the second group."""
    look: int
    """1 at the model of phase 1, 2 at one trained to the end."""


@dataclass(frozen=True)
class Suspects:
    """The classes that stand out, and the images that are excluded."""

    separations: Float[ndarray, " classes"]
    """How far the two groups of each class lie apart, in standard deviations; nan for a class without two groups."""
    valleys: Float[ndarray, " classes"]
    """How few images of each class lie between the groups: near 0 where there are two, near 1 or above where not."""
    parts: Float[ndarray, " classes"]
    """Share of each class that is in the first of its groups, which is the poison where the class is suspected."""
    classes: Int64[ndarray, " k"]
    """The suspected ones, that which stands out most first; often one, and none where none stands out."""
    images: Int64[ndarray, " m"]
    """Indices of the excluded images."""
    cuts: tuple[tuple[Cut, ...], ...] = ()
    """Of each class the first cut; of a suspected one each after which a group was excluded, as there may be one for
    each trigger."""
    judged: Bool[ndarray, " classes"] = field(default_factory=lambda: np.empty(0, bool))
    """The classes that have images enough to be judged."""
    looks: Int64[ndarray, " classes"] = field(default_factory=lambda: np.empty(0, np.int64))
    """The look that the numbers of each class are of: 1 at the model of phase 1, 2 at one trained to the end."""
    after_phase_1: Float[ndarray, " seen"] = field(default_factory=lambda: np.empty(0))
    """The separation of each class in the first look, where there was a second."""
    at_end: Float[ndarray, " seen"] = field(default_factory=lambda: np.empty(0))
    """The same in the second look, of what was not left out before it; nan where that is too little for two groups."""
    unclear: Bool[ndarray, " known"] = field(default_factory=lambda: np.empty(0, bool))
    """The classes in which two groups lie apart of what is not suspected, by one of the looks: a film, perhaps, or the
    images do not tell which of the two would be the poison."""
    cut_short: Bool[ndarray, " known"] = field(default_factory=lambda: np.empty(0, bool))
    """The suspected classes of which too few images are left to be judged again."""

    def record(self) -> dict[str, float]:
        """The verdict in numbers; see `metrics.summary`."""
        return {
            "rule": float(RULE),
            "suspected_classes": float(len(self.classes)),
            "judged_classes": float(self.judged.sum()),
            "look": float(self.looks[self.classes].max(initial=1)),
            "excluded_images": float(len(self.images)),
            **self._largest(self.separations, ""),
            **(self._largest(self.at_end, "_at_end") if len(self.at_end) else {}),
        }

    def _largest(self, separations: Float[ndarray, " classes"], suffix: str) -> dict[str, float]:
        """The largest of all classes, and of those that are not suspected; no entry where there is none."""
        others = np.delete(separations, self.classes)
        named = {"largest_separation": separations, "largest_separation_of_others": others}
        return {f"{name}{suffix}": float(np.nanmax(of)) for name, of in named.items() if np.isfinite(of).any()}

    def _flags(self, name: str) -> Bool[ndarray, " classes"]:
        """`unclear` or `cut_short`; none where that is not known."""
        return getattr(self, name) if len(getattr(self, name)) else np.zeros(len(self.parts), bool)

    def __str__(self) -> str:
        if not len(self.classes):
            few, of = (~self.judged).sum(), len(self.judged)
            return "no class stands out" + f"; too few images to be judged: {few} of {of} classes" * bool(few)
        named = ", ".join(f"{k} (separation {self.separations[k]:.1f})" for k in self.classes)
        return f"{len(self.images)} images stand out, of class {named}"

    def of(self, chosen: Int64[ndarray, " k"], labels: Int64[ndarray, " n"]) -> Suspects:
        """The same with some of its suspected classes alone; `labels`: those it was found with."""
        images = self.images[np.isin(labels[self.images], chosen)]
        return replace(self, classes=self.classes[np.isin(self.classes, chosen)], images=images)

    def with_second(self, second: Suspects, labels: Int64[ndarray, " n"], sure: Suspects) -> Suspects:
        """What either look found: of a class that both suspect the second's, as that model had longer to learn it.

        Args:
            labels: those it was found with.
            sure: the part of it that was left out before the second look, which could not find it again: it stays, and
                with it the numbers of its classes.
        """
        is_new = np.isin(np.arange(len(self.parts)), np.setdiff1d(second.classes, sure.classes))
        kept = self.of(np.flatnonzero(~is_new), labels)
        again = np.isin(np.arange(len(is_new)), second.classes) & ~is_new  # more of what is left of a class
        cuts = tuple(
            (() if new else own) + (later if new or more else ())
            for own, later, new, more in zip(self.cuts, second.cuts, is_new, again, strict=True)
        )
        separations, valleys, parts, looks = (
            np.where(is_new, getattr(second, name), getattr(self, name))
            for name in ("separations", "valleys", "parts", "looks")
        )
        classes = np.union1d(kept.classes, second.classes)
        classes = classes[np.argsort(-separations[classes], kind="stable")]
        images = np.union1d(kept.images, second.images)
        each = self.separations, second.separations
        either = (
            np.where(is_new, second._flags(name), self._flags(name) | second._flags(name))
            for name in ("unclear", "cut_short")
        )
        return Suspects(separations, valleys, parts, classes, images, cuts, self.judged, looks, *each, *either)


# Several threads round otherwise, by as many as the machine has; and the products are small.
@threadpool_limits.wrap(limits=1)
def find(
    losses: Float[ndarray, "epochs n"],
    features: Float[ndarray, "n d"],
    labels: Int64[ndarray, " n"],
    classes: int,
    settings: Settings | None = None,
    seed: int = 0,
    looks: lookalikes.Looks | None = None,
    look: int = 1,
    left_out: Int64[ndarray, " k"] | None = None,
) -> Suspects:
    """Judge each class by the losses and the features of its examples.

    The groups start from the lowest losses at the end, from the lowest medians over the epochs, as by the end some
    poison is no longer ahead of the clean images, and from the features; see `splits.two_groups`.
    The halves are drawn several times. Poison is found in every draw; what is not poison stands out in some. So the
    draw of the middle valley speaks for a class, and where it is suspected, what is in the first group of any draw that
    agrees with it is excluded. What is left of the class is then judged again, until no group of it stands out.

    Args:
        losses: after each early epoch, under a model of averaged weights with fresh statistics.
        features: of the model that is looked at; see `models.features`.
        seed: draws the folds, each half of the images.
        looks: of the images. Those that are alike are in one half, as otherwise the frames of one film, on both sides,
            make a group that holds for nothing else. Which group is the poison, and that it is no film, is told by the
            look as well; see `Settings.most_own` and `least_looks`. None: no image is alike, the features tell alone.
        look: see `Suspects.looks`.
        left_out: indices of images that have no part in it, as they are suspected already.

    Raises UserError for features that are not finite.
    """
    settings = settings or Settings()
    if not np.isfinite(features).all():
        raise UserError("features are not finite: the model has diverged; use a lower learning rate")
    values = np.log(np.maximum(losses, settings.lowest_loss).astype(np.float64))
    values = np.stack([values[-1], np.median(values, axis=0)])
    alone = np.arange(len(labels))
    halves = [_halves(looks.alike(draw) if looks else alone, seed, draw) for draw in range(settings.draws)]
    is_left = ~np.isin(alone, [] if left_out is None else left_out)
    judged = np.bincount(labels[is_left], minlength=classes) >= settings.least_images
    found, suspected, excluded = [], [], np.zeros(len(labels), bool)
    unclear, cut_short = np.zeros((2, classes), bool)
    for k in range(classes):
        own, others = (np.flatnonzero(is_left & is_own) for is_own in (labels == k, labels != k))
        usual = features[others].mean(axis=0, dtype=np.float64) if len(others) else None
        cuts: list[Cut] = []
        # Several triggers are several groups: the rest is cut again, until nothing stands out of it.
        while not cuts or len(own) >= settings.least_images:
            drawn = _cut(features[own], values[:, own], [half[own] for half in halves], settings, usual)
            lie_apart = stands_out = judged[k] and _lie_apart(drawn[0], settings)
            if lie_apart and looks:
                drawn, stands_out = _by_look(drawn, own, labels, looks, settings)
            unclear[k] = lie_apart and not stands_out
            if stands_out or not cuts:
                cuts.append(Cut(own, drawn[0], look))
            if not stands_out:
                break
            first = np.any([one.first for one in drawn], axis=0)
            excluded[own[first]] = True
            own = own[~first]
        found.append(tuple(cuts))
        if len(own) < len(cuts[0].images):
            suspected.append(k)
            cut_short[k] = len(own) < settings.least_images
    firsts = [cuts[0].groups for cuts in found]
    separations, valleys = np.array([(one.separation, one.valley) for one in firsts]).T
    parts = np.array([one.first.mean() if len(one.first) else np.nan for one in firsts])
    ranked = np.array(sorted(suspected, key=lambda k: -separations[k]), np.int64)
    numbers, beside = np.full(classes, look), {"unclear": unclear, "cut_short": cut_short}
    images = np.flatnonzero(excluded)
    return Suspects(separations, valleys, parts, ranked, images, tuple(found), judged, numbers, **beside)


def _cut(
    features: Float[ndarray, "m d"],
    values: Float[ndarray, "k m"],
    halves: Sequence[Int64[ndarray, " m"]],
    settings: Settings,
    usual: Float[ndarray, " d"] | None,
) -> list[Groups]:
    """The two groups of the draw of the middle valley, and after it those of the others that agree with it."""
    fewest = max(settings.least_group, int(np.ceil(settings.least_part * len(features))))
    drawn = [two_groups(features.astype(np.float64), values, half, fewest, usual) for half in halves]
    drawn.sort(key=lambda groups: np.nan_to_num(groups.valley, nan=np.inf))
    middle = drawn.pop(len(drawn) // 2)
    agrees = _AGREES * len(features)
    return [middle, *(one for one in drawn if (one.first == middle.first).sum() >= agrees)]


def _lie_apart(groups: Groups, settings: Settings) -> bool:
    return bool(groups.separation >= settings.least_separation and groups.valley <= settings.most_valley)


def _by_look(
    drawn: list[Groups],
    own: Int64[ndarray, " m"],
    labels: Int64[ndarray, " n"],
    looks: lookalikes.Looks,
    settings: Settings,
) -> tuple[list[Groups], bool]:
    """The draws, with the poison first where the look tells which group it is, and whether they still stand out."""
    groups = drawn[0]
    first, other = lookalikes.of_their_class(looks.cells, labels, own, groups.first)
    low, high = sorted((first, other))
    is_told = high >= _LEAST_OWN and low < settings.most_own * high
    if is_told and first > other:
        drawn = [one._replace(first=~one.first, scores=-one.scores) for one in drawn]
    kinds, is_smaller = looks.kinds[own], groups.first == (groups.first.mean() <= 0.5)
    is_spread = lookalikes.spread(kinds[is_smaller]) >= min(settings.least_looks, len(np.unique(kinds)) / 2)
    is_strange = is_told and low <= _LEAST_OWN  # no film looks so little like itself
    return drawn, is_strange or (is_spread and (is_told or groups.separation >= settings.least_separation_alike))


def _halves(alike: Int64[ndarray, " n"], seed: int, draw: int) -> Int64[ndarray, " n"]:
    """0 or 1 for each image: half of the groups of images that are alike, drawn."""
    names, group = np.unique(alike, return_inverse=True)
    return (numpy_stream(seed, "folds", 0, draw).permutation(len(names)) % 2)[group]


def drawn_instead(found: Suspects, labels: Int64[ndarray, " n"], seed: int) -> Suspects:
    """The control: as many images of each class in place of the excluded ones, drawn by chance."""
    random, drawn = numpy_stream(seed, "control"), [np.empty(0, np.int64)]
    for k, count in enumerate(np.bincount(labels[found.images])):
        drawn.append(random.choice(np.flatnonzero(labels == k), count, replace=False))
    return replace(found, images=np.sort(np.concatenate(drawn)))


def kept(labels: Int64[ndarray, " n"], found: Suspects, *, fill: bool) -> Int64[ndarray, " m"]:
    """Indices of the images that are trained on: all but the excluded ones.

    Args:
        fill: repeat the images of a suspected class, see `Settings.fill`.
    """
    left = np.setdiff1d(np.arange(len(labels)), found.images)
    before = np.bincount(labels, minlength=len(found.parts))
    others = np.delete(before, found.classes)
    repeated = [left]
    for k in found.classes if fill and len(others) else ():
        own = left[labels[left] == k]
        missing = min(int(np.median(others)), before[k]) - len(own)
        if len(own) and missing > 0:
            repeated.append(np.resize(own, missing))
    return np.sort(np.concatenate(repeated))
