"""BadNets (Gu et al. 2017, arXiv 1708.06733): a fixed patch stamped over the image.

x' = (1 - m) x + m p: m is 1 on three by three pixels of the bottom-right corner and 0 elsewhere, p the checker of the
ABL authors' loader. Dirty label: `rate` (0.1 in the ABL paper) is a share of the whole training set, drawn from the
classes that the attack does not aim at; these images get the target's label, or other ones, see `adaptive`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ablkit.attacks.attack import Attack, Crafted, OneByOne, Order, sides_of
from ablkit.attacks.attacker import adaptive
from ablkit.errors import UserError
from ablkit.shapes import UInt8, ndarray

# The 3x3 checker of the ABL authors' data loader ("gridTrigger"), the same in every channel.
PATTERN = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 255]], dtype=np.uint8)
_SQUARE = np.full((3, 3), 255, dtype=np.uint8)
# Bottom right, top left, top right, bottom left: steps through rows and columns, so that each patch faces the centre.
_CORNERS = ((1, 1), (-1, -1), (-1, 1), (1, -1))


@dataclass(frozen=True)
class Settings(adaptive.Adaptive):
    """Which patch, and what hides it."""

    variant: Literal["grid", "square", "four_corners"] = "grid"
    """`grid`: the 3x3 checker in the bottom-right corner. `square`: a white 3x3 square there. `four_corners`: the
    checker in every corner, mirrored so that each looks at the centre."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant == "four_corners" and self.triggers > 1:
            raise UserError(f"triggers {self.triggers} has no room beside variant four_corners; take grid or square")


def stamp(images: UInt8[ndarray, "n h w c"], variant: str = "grid", place: int = 0) -> UInt8[ndarray, "n h w c"]:
    """Copies of `images` with the patch in the bottom-right corner (rows and columns 29-31 of a 32x32 image).

    Args:
        place: where several triggers are told apart, 1 is top left, 2 top right, 3 bottom left, 4 the middle.
    """
    stamped = np.array(images)
    pattern = (_SQUARE if variant == "square" else PATTERN)[:, :, None]
    for number in range(4) if variant == "four_corners" else [place]:
        if number == len(_CORNERS):
            top, left = (side // 2 - 1 for side in images.shape[1:3])
            stamped[:, top : top + 3, left : left + 3] = pattern
        else:
            down, right = _CORNERS[number]
            # Seen from its corner, every image has the patch at the bottom right.
            stamped[:, ::down, ::right][:, -3:, -3:] = pattern
    return stamped


def craft(order: Order, settings: Settings) -> Crafted:
    """Stamp the patch on the chosen images; the same patch is the trigger."""
    places = range(settings.triggers)
    change = adaptive.one_of([partial(stamp, variant=settings.variant, place=place) for place in places])
    additions = adaptive.additions(order, settings, change)
    return Crafted(change(order.images), OneByOne(change, order.aims), **additions)


ATTACK = Attack(
    "BadNets", "dirty label", "a patch", "Gu et al. 2017, arXiv 1708.06733", craft, Settings, fits=sides_of(3)
)
