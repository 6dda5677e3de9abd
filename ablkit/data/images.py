"""Images and their labels: what every source gives and every attack takes."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace

import numpy as np

from ablkit.data.checks import BIDIRECTIONAL
from ablkit.errors import UserError, shown
from ablkit.shapes import Int, Int64, UInt8, ndarray

_WAYS_TO_RGB = {
    1: "grey: give numpy.repeat(images, 3, axis=3)",
    2: "grey with alpha: give numpy.repeat(images[..., :1], 3, axis=3)",
    4: "RGB with alpha: give images[..., :3]",
}
_BREAKS = ("Cc", "Zl", "Zp", "Cs")
"""Unicode's categories of what breaks a line, moves a terminal's cursor or cannot be written as UTF-8."""


@dataclass(frozen=True)
class Images:
    """Labelled images of one split; the arrays may be read-only memory maps, so copy before writing.

    Raises UserError where a dtype, a shape or a length is wrong, a label lies outside the classes, or these are not two
    or more different names.
    """

    images: UInt8[ndarray, "n h w c"]
    """RGB pixels, 0 to 255."""
    labels: Int64[ndarray, " n"]
    """Indices into `classes`."""
    classes: tuple[str, ...]
    name: str
    """The data set's name, for messages and records."""
    groups: Int64[ndarray, " n"] | None = None
    """Equal for images that are nearly the same, such as the frames of one film; draws and splits never part them."""
    mirrors: bool = True
    """Whether an image mirrored left to right is still one of its class. Where it is not, no training mirrors."""

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        for what, array in (("images", images), ("labels", labels), ("groups", self.groups)):
            if not isinstance(array, np.ndarray) and not (what == "groups" and array is None):
                raise UserError(f"{self.name}: {what} are a {type(array).__name__}; give a numpy array")
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(
                f"{self.name}: images are {images.dtype!s:.80} of shape {images.shape}; "
                "give uint8 of shape (number, height, width, channels)"
            )
        check_shape(images.shape[1:], self.name)
        if labels.dtype != np.int64 or labels.ndim != 1:
            raise UserError(
                f"{self.name}: labels are {labels.dtype!s:.80} of shape {labels.shape}; give int64 of shape (number,)"
            )
        if len(images) != len(labels):
            raise UserError(f"{self.name}: {len(images)} images but {len(labels)} labels; give one label an image")
        if self.groups is not None and (self.groups.dtype != np.int64 or self.groups.shape != labels.shape):
            raise UserError(
                f"{self.name}: groups are {self.groups.dtype!s:.80} of shape {self.groups.shape}; "
                f"give int64 of shape ({len(labels)},), one number an image"
            )
        check_classes(self.classes, self.name, may_turn=True)  # pages show such names escaped; none is stored
        if not isinstance(self.mirrors, bool | np.bool_):
            raise UserError(f"{self.name}: mirrors {shown(self.mirrors)} is neither true nor false; give one of them")
        outside = labels[(labels < 0) | (labels >= len(self.classes))]
        if len(outside):
            raise UserError(
                f"{self.name}: label {outside[0]} is outside the {len(self.classes)} classes; "
                f"give labels from 0 to {len(self.classes) - 1}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Int[ndarray, " k"]) -> Images:
        """The images at `indices`, in that order, as copies in memory."""
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, images=self.images[indices], labels=self.labels[indices], groups=groups)


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Raise UserError, in the name of a data set, where (height, width, channels) is no shape of an RGB image."""
    height, width, channels = shape
    if channels not in (1, 2, 3, 4) and height in (1, 3, 4):
        raise UserError(
            f"{name}: images of shape (n, {height}, {width}, {channels}) look like (n, c, h, w): "
            "give images.transpose(0, 2, 3, 1)"
        )
    if channels != 3:
        way_out = _WAYS_TO_RGB.get(channels, "give RGB, which has 3")
        raise UserError(f"{name}: images have {channels} channel{'s' * (channels != 1)} in place of 3; {way_out}")
    if not height or not width:
        raise UserError(f"{name}: images of {height} x {width} have no pixels; give larger ones")


def check_classes(classes: object, name: str, *, may_turn: bool = False) -> None:
    """Raise UserError, in the name of a data set, where `classes` are not two or more different names of one line.

    Args:
        may_turn: whether a name may have signs that turn the direction of what is printed.
    """
    refused = () if may_turn else BIDIRECTIONAL
    if not isinstance(classes, list | tuple) or not all(isinstance(one, str) for one in classes):
        raise UserError(f"{name}: classes are {shown(classes)}; give a list of names, each a text")
    if len(classes) < 2:
        number = f"{len(classes)} class{'es' * (len(classes) != 1)}"
        raise UserError(f"{name} has {number}, which leaves nothing to tell apart; give two or more")
    seen = set()
    for one in classes:
        if not one.strip() or any(unicodedata.category(sign) in _BREAKS or sign in refused for sign in one):
            raise UserError(f"{name}: class name {shown(one)} is empty or has a line break or control sign; change it")
        if one in seen:
            raise UserError(f"{name}: class name {shown(one)} comes twice; give every class a name of its own")
        seen.add(one)
