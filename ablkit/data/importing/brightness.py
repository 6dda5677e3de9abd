"""Images that are nearly black by mistake: of 16 bits of which few are used, or with small numbers in place of grey."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from ablkit.data.importing.source import Source
from ablkit.data.pictures import BLACK, DARK
from ablkit.errors import UserError, shown
from ablkit.shapes import UInt8, ndarray

_NAMED = 3
_SMALL = 16
"""Highest value of images that hold numbers, such as masks of 0 and 1, or scikit-learn's digits of 0 to 16."""
_SAVED = "save them as 8 bits, scaled to 0 to 255"


@dataclass
class Brightness:
    """The highest values of what is read, by split and label."""

    highest: dict[tuple[str, int], int] = field(default_factory=dict)
    deep: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Images of 16 bits."""
    black: dict[tuple[str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    """Those of them that are nearly black, by name."""
    dark: list[str] = field(default_factory=list)

    def add(self, split: str, label: int, name: str, pixels: UInt8[ndarray, "h w 3"], done: list[str]) -> None:
        """Count an image that was read, and what had to be done to it."""
        key = split, label
        self.highest[key] = max(self.highest.get(key, 0), int(pixels.max()))
        self.deep[key] += "16 bits" in done
        if "nearly black" in done:
            self.black[key].append(name)
        if "dark" in done:
            self.dark.append(name)

    def check(self, found: Source) -> None:
        """Raise UserError where a split, or what has 16 bits of a class, is nearly black as a whole; hint at others."""
        for (split, label), names in self.black.items():
            if len(names) == self.deep[split, label]:
                raise UserError(
                    f"{found.where}: all {len(names)} images of 16 bits of class {shown(found.classes[label])}, such as"
                    f" {shown(names[0])}, have no value above {256 * BLACK - 1:,} of 65,535, and the upper 8 bits are"
                    f" taken, which leaves at most {BLACK} of 256 grey levels; {_SAVED}"
                )
        for split in dict.fromkeys(split for split, _ in self.highest):
            self._check_small(found, split)
        for names, most, way_out in (
            ([name for of_class in self.black.values() for name in of_class], BLACK, _SAVED),
            (self.dark, DARK, f"if their range ends there, {_SAVED}"),
        ):
            if names:
                found.tally.hints.append(
                    f"images of 16 bits without a value above {256 * most - 1:,} of 65,535, which are dark"
                    f" ({len(names)}): {_first(names)}; {way_out}, and import them again"
                )

    def _check_small(self, found: Source, split: str) -> None:
        own = {label: most for (one, label), most in self.highest.items() if one == split and not self.deep[one, label]}
        if own and len(own) == sum(one == split for one, _ in self.highest) and 0 < max(own.values()) <= _SMALL:
            raise UserError(
                f"{found.where}: no {split} image has a value above {max(own.values())} of 255, so all are nearly"
                " black; scale them to 0 to 255"
            )
        for label, most in own.items():
            if 0 < most <= _SMALL:
                found.tally.hints.append(
                    f"no {split} image of class {shown(found.classes[label])} has a value above {most} of 255: if they"
                    " are not to be nearly black, scale them to 0 to 255 and import them again"
                )


def check_deep(path: object, images: ndarray, labels: ndarray, hints: list[str]) -> None:
    """Raise UserError where arrays of 16 bits, or those of one class, are nearly black; hint at other dark ones."""
    has_alpha = images.ndim == 4 and images.shape[3] in (2, 4)
    colours = images[..., :-1] if has_alpha else images
    of_each = colours.max(axis=tuple(range(1, colours.ndim)))
    highest = int(of_each.max())
    if 0 < highest < 256 * BLACK:
        levels = "make all of them black" if highest < 256 else f"leave at most {BLACK} of 256 grey levels"
        shift = max(0, highest.bit_length() - 8)
        raise UserError(
            f"{path}: images are {images.dtype} with no value above {highest:,}, and of 16 bits the upper 8 are taken,"
            f" which would {levels}; give {f'(images >> {shift})' if shift else 'images'}.astype(numpy.uint8)"
        )
    for label in np.unique(labels):
        most = int(of_each[labels == label].max())
        if 0 < most < 256 * BLACK:
            raise UserError(
                f"{path}: images are {images.dtype}, and those with label {shown(label.item())} have no value above"
                f" {most:,} of 65,535, so that they would be nearly black, as the upper 8 bits are taken; scale them as"
                " the others are"
            )
    if images.ndim == 4 and images.shape[3] != 1:
        hints.append("the arrays have 16 bits: the upper 8 were taken")
    if highest < 256 * DARK:
        hints.append(
            f"the highest value of an array is {highest:,} of 65,535, so its images are dark: if their range ends"
            " there, scale them and import them again"
        )


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(shown, names[:_NAMED])) + more
