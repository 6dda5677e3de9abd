"""Handwritten digits that scikit-learn ships: a data set that needs no download."""

from __future__ import annotations

import numpy as np

from ablkit.data.cards import Card
from ablkit.data.images import Images

CLASSES = tuple("0123456789")
SOURCE = "UCI handwritten digits as shipped by scikit-learn, 8x8 repeated to 32x32"
CARD = Card("digits", "digits", *(1_437, 360, 10, 32), licence="CC BY 4.0 (UCI)")


def fetch() -> tuple[Images, Images, str]:
    """(train, test, source): 1,437 and 360 grey digits as 32x32 RGB; every fifth image is a test image."""
    from sklearn.datasets import load_digits  # takes a second to import, and is needed once

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # 0..16 in the original
    large = grey.repeat(4, axis=1).repeat(4, axis=2)  # nearest neighbour, 8x8 to 32x32
    images = np.repeat(large[..., np.newaxis], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    is_test = np.arange(len(labels)) % 5 == 0
    train = Images(images[~is_test], labels[~is_test], CLASSES, "digits")
    test = Images(images[is_test], labels[is_test], CLASSES, "digits")
    return train, test, SOURCE
