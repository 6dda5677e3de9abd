"""Images that come from two groups, told apart by their features without being told how large the groups are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ablkit.exclusion.clusters import k_means
from ablkit.shapes import Bool, Float, Int64, ndarray
from ablkit.training.otsu import best_split

_ROUNDS = 10
_NEAR = 0.3
"""What counts as near a value: an interval of this share of the distance between the middles of the groups."""
_RIDGE = 0.1
"""Added to the variances, which are about 1, so that a direction in which a few images hardly differ weighs little."""
_COMPONENTS = 3
"""First principal components that groups start from."""
_CLUSTERED = 5
"""First principal components that images are clustered in."""
_CLUSTERS = 3
"""Clusters that groups start from: clean images and two triggers."""
_FARTHEST = 10.0
"""Deviations that a feature of other images may lie from these at most."""
_FEWEST = 5
"""Images of a group in a fold, of which a mean and a variance can be taken."""


class Groups(NamedTuple):
    """Two groups of images; the measures are nan where there are not two."""

    first: Bool[ndarray, " n"]
    separation: float
    """Distance of their means along the direction that tells them apart, in standard deviations inside the groups."""
    valley: float
    """How many images lie near the middle between the groups, over how many lie near the median of one of them, of the
    one that has fewer there."""
    scores: Float[ndarray, " n"]
    """Where each image lies along that direction: about -1/2 in the first group, about 1/2 in the other."""


def two_groups(
    features: Float[ndarray, "n d"],
    values: Float[ndarray, "k n"],
    fold: Int64[ndarray, " n"],
    fewest: int = _FEWEST,
    usual: Float[ndarray, " d"] | None = None,
) -> Groups:
    """Find the two groups in which images differ most, of those that the starts lead to.

    Fisher's linear discriminant (Fisher 1936) of two groups says anew which image is in which, until none moves. Each
    image is judged by the discriminant of the other fold, so that it is not told apart by what makes it itself. The
    first groups are the images of the lowest values, those at either end of the first principal components of the
    features, and the clusters in these. Of all starts that which ends with the fewest images between the groups is
    taken.

    Args:
        features: of each image.
        values: k of each image.
        fold: 0 or 1 for each image.
        fewest: images of the smaller group.
        usual: the mean features of images that are like those of the second group, such as all of other classes; the
            first group is then the one that lies farther from it along the discriminant. Without it either may be.
    """
    count = len(features)
    nothing = Groups(np.zeros(count, bool), np.nan, np.nan, np.full(count, np.nan))
    if not count:
        return nothing
    # A feature that is the same everywhere tells nothing.
    middle, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    scaled = (features - middle) / spread
    inverses = [_inverse_spread(scaled[fold != one]) for one in (0, 1)]
    components = _components(scaled)
    ends = components[:_COMPONENTS]
    starts = [start for each in (*values, *ends, *-ends) for start in _starts(each)]
    starts += _clusters(components.T)
    found = [_settled(scaled, start, fold, inverses) for start in starts]
    settled = [groups for groups in found if groups and fewest <= groups.first.sum() <= count - fewest]
    best = min(settled, key=lambda groups: (groups.valley, -groups.separation), default=None)
    if best is None:
        return nothing
    if usual is not None:
        # A feature that is nearly silent in these images, and not in others, would else outvote all others.
        beside = np.clip((usual - middle) / spread, -_FARTHEST, _FARTHEST)
        discriminant = _discriminant(scaled[best.first], scaled[~best.first], _inverse_spread(scaled))
        if discriminant(beside) < 0:
            return best._replace(first=~best.first, scores=-best.scores)
    return best


def _starts(values: Float[ndarray, " n"]) -> Iterator[Bool[ndarray, " n"]]:
    """The images below Otsu's cut, and those of the lowest values: 5 and 20 %, as Otsu's cut halves what is not two."""
    yield values < best_split(values).cut
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    for share in (0.05, 0.2):
        yield ranks < share * len(values)


def _components(features: Float[ndarray, "n d"]) -> Float[ndarray, "k n"]:
    """Where each image lies along the first principal components, five where there are so many."""
    _, directions = np.linalg.eigh(features.T @ features)
    return (features @ directions[:, : -_CLUSTERED - 1 : -1]).T


def _clusters(components: Float[ndarray, "n k"]) -> list[Bool[ndarray, " n"]]:
    """Each cluster of k-means: several triggers are several clusters, of which no component tells all from the rest."""
    if not components.size or len(components) < _CLUSTERS:
        return []
    cluster = k_means(components, _CLUSTERS, starts=5, seed=0)
    return [cluster == one for one in range(_CLUSTERS)]


def _settled(
    features: Float[ndarray, "n d"],
    first: Bool[ndarray, " n"],
    fold: Int64[ndarray, " n"],
    inverses: list[Float[ndarray, "d d"]],
) -> Groups | None:
    """The groups in which no image moves any more, or those after ten rounds; None where one of them is lost.

    Args:
        inverses: `_inverse_spread` of the images that are not in fold 0, and of those not in fold 1.
    """
    for _ in range(_ROUNDS):
        scores = _scores(features, first, fold, inverses)
        if scores is None:
            return None
        first, before = scores < _cut(scores, first), first
        if min(first.sum(), (~first).sum()) < _FEWEST:
            return None
        if np.array_equal(first, before):
            break
    return Groups(first, *_measured(scores, first), scores)


def joined(
    features: Float[ndarray, "n d"], groups: Groups, others: Float[ndarray, "m d"]
) -> tuple[Bool[ndarray, " m"], Float[ndarray, " m"]]:
    """Which of other images join the first group, and the score of each, by the discriminant of all that are in one.

    Args:
        features: of the images that the groups were found in.
        others: of images that had no part in that.
    """
    middle, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    own, new = (features - middle) / spread, (others - middle) / spread
    discriminant = _discriminant(own[groups.first], own[~groups.first], _inverse_spread(own))
    scores = discriminant(new)
    return scores < _cut(groups.scores, groups.first), scores


def _cut(scores: Float[ndarray, " n"], first: Bool[ndarray, " n"]) -> float:
    """Where an image is as likely of one group as of the other, of two normal humps of one deviation and these sizes.

    The middle would let a large group flood a small one beside it.
    """
    low, high = scores[first], scores[~first]
    distance = high.mean() - low.mean()
    if distance <= 0:
        return -np.inf
    inside = (low.var() * len(low) + high.var() * len(high)) / len(scores)
    return (low.mean() + high.mean()) / 2 + inside / distance * np.log(len(low) / len(high))


def _scores(
    features: Float[ndarray, "n d"],
    first: Bool[ndarray, " n"],
    fold: Int64[ndarray, " n"],
    inverses: list[Float[ndarray, "d d"]],
) -> Float[ndarray, " n"] | None:
    """Where each image lies along the discriminant of the other fold: about -1/2 in the first group, else about 1/2."""
    scores = np.empty(len(features))
    for one in (0, 1):
        known = fold != one
        parts = features[known & first], features[known & ~first]
        if min(len(part) for part in parts) < _FEWEST:
            return None
        scores[~known] = _discriminant(*parts, inverses[one])(features[~known])
    return scores


def _inverse_spread(features: Float[ndarray, "n d"]) -> Float[ndarray, "d d"]:
    """The inverse of the covariance of all images, with the ridge.

    Fisher's discriminant takes that inside the groups. Both give the same direction, as they differ by a multiple of
    the outer product of the distance of the means with itself; and this one is the same for all groups of the images.
    """
    count, size = features.shape
    centred = features - features.mean(axis=0) if count else features
    return np.linalg.inv(centred.T @ centred / max(count, 1) + _RIDGE * np.eye(size))


def _discriminant(
    first: Float[ndarray, "k d"], others: Float[ndarray, "m d"], inverse: Float[ndarray, "d d"]
) -> Callable[[Float[ndarray, "n d"]], Float[ndarray, " n"]]:
    """What gives features their scores, from those of two groups and the inverse spread of both together."""
    means = first.mean(axis=0), others.mean(axis=0)
    direction = inverse @ (means[1] - means[0])
    length = max(direction @ (means[1] - means[0]), 1e-9)
    return lambda features: ((features - (means[0] + means[1]) / 2) @ direction) / length


def _measured(scores: Float[ndarray, " n"], first: Bool[ndarray, " n"]) -> tuple[float, float]:
    """Separation and valley."""
    parts = scores[first], scores[~first]
    inside = sum(part.var() * len(part) for part in parts) / len(scores)
    separation = (parts[1].mean() - parts[0].mean()) / np.sqrt(max(inside, 1e-12))
    low, high = (np.median(part) for part in parts)
    half = _NEAR * (high - low) / 2
    near = [np.count_nonzero(np.abs(scores - place) <= half) for place in (low, (low + high) / 2, high)]
    return float(separation), near[1] / max(1, min(near[0], near[2]))
