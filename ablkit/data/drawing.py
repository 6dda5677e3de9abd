"""Which training images a run gets, and which are held out as clean: drawn by seed, no group on both sides."""

from __future__ import annotations

import numpy as np

from ablkit.data import checks
from ablkit.data.images import Images
from ablkit.errors import UserError, shown
from ablkit.randomness import numpy_stream
from ablkit.shapes import Int64, ndarray


def check(train_size: object, seed: object, held_out: object) -> None:
    """Raise UserError where one of them is no number that any set could be drawn by."""
    checks.whole("train_size", train_size, "give how many training images, or 0 for all")
    checks.whole("seed", seed, "use 0, 1, 2, ...", least=0)
    checks.number("held_out", held_out, "give a share of 1, such as 0.05")


def kept(train: Images, *, train_size: int, seed: int, held_out: float) -> Images:
    """The images that are trained on; see `ablkit.data.load`."""
    check_classes(train, train_size=train_size, seed=seed)
    chosen = kept_indices(train, train_size=train_size, seed=seed, held_out=held_out)
    return train if len(chosen) == len(train) else train.take(chosen)


def check_classes(train: Images, *, train_size: int, seed: int) -> None:
    """Raise UserError where the drawn images lack a class of the set: a model would be asked for what it never saw."""
    if not 0 < train_size < len(train):
        return
    order = _order(train, seed)
    there, first = np.unique(train.labels[order], return_index=True)
    lacking = there[first >= train_size]
    if len(lacking):
        raise UserError(
            f"train_size {train_size} leaves {len(lacking)} of {len(there)} classes of {train.name} without an image,"
            f" such as {shown(train.classes[lacking[0]])}; with seed {seed} give {first.max() + 1} or more, or 0 for"
            " all"
        )


def kept_indices(train: Images, *, train_size: int, seed: int, held_out: float) -> Int64[ndarray, " k"]:
    """The indices of the images that are trained on, in their original order."""
    order = _order(train, seed)
    count, _, _ = _counts(train, order, train_size, held_out)
    return np.sort(order[:count])


def held(train: Images, *, train_size: int, seed: int, held_out: float) -> Images:
    """The images that are held out; see `ablkit.data.clean_images`."""
    order = _order(train, seed)
    _, border, further = _counts(train, order, train_size, held_out)
    left = order[border:]
    if train.groups is not None:
        # Of all groups that are left, as frames of a few tracks would show a few signs.
        left = numpy_stream(seed, "subset").spawn(1)[0].permutation(left)
    return train if further == len(train) else train.take(np.sort(left[:further]))


def _order(train: Images, seed: int) -> Int64[ndarray, " n"]:
    """Indices of all images in a drawn order, of which every draw is a beginning.

    Groups stay together, in their own order. Their order spreads those of each class evenly, from a drawn start: of
    GTSRB's classes the smallest have seven tracks, and a fourth of the set would lack some of them by chance.
    """
    stream = numpy_stream(seed, "subset")
    if train.groups is None:
        return stream.permutation(len(train))
    _, first, group = np.unique(train.groups, return_index=True, return_inverse=True)
    classes, places = train.labels[first], np.empty(len(first))
    for one in np.unique(classes):
        own = np.flatnonzero(classes == one)
        places[own] = (stream.permutation(len(own)) + stream.random()) / len(own)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(places, kind="stable")] = np.arange(len(first))
    return np.argsort(rank[group], kind="stable")


def _counts(train: Images, order: Int64[ndarray, " n"], train_size: int, held_out: float) -> tuple[int, int, int]:
    """How many images of the order are trained on, from which on others may be held out, and how many of them are.

    A group that `train_size` cuts has its rest on neither side. Without `train_size` none is cut: the training gets the
    rest of the one at the border.
    """
    images, name = len(train), train.name
    if not 0 <= held_out < 1:
        raise UserError(f"held_out {held_out} is outside [0, 1); the paper holds out 0.05")
    if not 0 <= train_size <= images:
        raise UserError(
            f"train_size {train_size} is not possible: {name} has {images} training images; "
            f"give 1 to {images}, or 0 for all"
        )
    further = round(held_out * (train_size or images))
    border = _next_group(train, order, train_size or images - further)
    if train_size and border + further > images:
        raise UserError(
            f"train_size {train_size} leaves no room for held_out {held_out}: {name} has {images} training images;"
            " lower one of them, or set train_size 0 to train on all the others"
        )
    return train_size or border, border, min(further, images - border)


def _next_group(train: Images, order: Int64[ndarray, " n"], place: int) -> int:
    """The first place from `place` on at which a group begins; without groups that is every place."""
    if train.groups is None:
        return place
    groups = train.groups[order]
    begins = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    return int(min(begins[begins >= place], default=len(order))) if place else 0
