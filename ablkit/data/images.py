"""Images and their labels: what every source gives and every attack takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ablkit.errors import UserError
from ablkit.shapes import Int, Int64, UInt8, ndarray


@dataclass(frozen=True)
class Images:
    """Labelled images of one split; the arrays may be read-only memory maps, so copy before writing.

    Raises UserError where a dtype or a length is wrong or a label lies outside the classes.
    """

    images: UInt8[ndarray, "n h w c"]
    """Pixels, 0 to 255."""
    labels: Int64[ndarray, "n"]
    """Indices into `classes`."""
    classes: tuple[str, ...]
    name: str
    """The data set's name, for messages and records."""

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(
                f"{self.name}: images are {images.dtype} of shape {images.shape}; "
                "give uint8 of shape (number, height, width, channels)"
            )
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise UserError(
                f"{self.name}: labels are {labels.dtype} of shape {labels.shape}; give int64 of shape (number,)"
            )
        if len(images) != len(labels):
            raise UserError(f"{self.name}: {len(images)} images but {len(labels)} labels; give one label an image")
        outside = labels[(labels < 0) | (labels >= len(self.classes))]
        if len(outside):
            raise UserError(
                f"{self.name}: label {outside[0]} is outside the {len(self.classes)} classes; "
                f"give labels from 0 to {len(self.classes) - 1}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Int[ndarray, "k"]) -> Images:
        """The images at `indices`, in that order, as copies in memory."""
        return Images(self.images[indices], self.labels[indices], self.classes, self.name)
