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
from ablkit.shapes import UInt8, ndarray

# The 3x3 checker of the ABL authors' data loader ("gridTrigger"), the same in every channel.
PATTERN = np.array([[0, 0, 255], [0, 255, 0], [255, 0, 255]], dtype=np.uint8)
_SQUARE = np.full((3, 3), 255, dtype=np.uint8)


@dataclass(frozen=True)
class Settings(adaptive.Adaptive):
    """Which patch, and what hides it."""

    variant: Literal["grid", "square", "four_corners"] = "grid"
    """`grid`: the 3x3 checker in the bottom-right corner. `square`: a white 3x3 square there. `four_corners`: the
    checker in every corner, mirrored so that each looks at the centre."""


def stamp(images: UInt8[ndarray, "n h w c"], variant: str = "grid") -> UInt8[ndarray, "n h w c"]:
    """Copies of `images` with the patch in the bottom-right corner (rows and columns 29-31 of a 32x32 image)."""
    stamped = np.array(images)
    pattern = (_SQUARE if variant == "square" else PATTERN)[None, :, :, None]
    stamped[:, -3:, -3:] = pattern
    if variant == "four_corners":
        stamped[:, :3, -3:] = pattern[:, ::-1]
        stamped[:, -3:, :3] = pattern[:, :, ::-1]
        stamped[:, :3, :3] = pattern[:, ::-1, ::-1]
    return stamped


def craft(order: Order, settings: Settings) -> Crafted:
    """Stamp the patch on the chosen images; the same patch is the trigger."""
    change = partial(stamp, variant=settings.variant)
    additions = adaptive.additions(order, settings, change)
    return Crafted(change(order.images), OneByOne(change, order.aims), **additions)


ATTACK = Attack(
    "BadNets", "dirty label", "a patch", "Gu et al. 2017, arXiv 1708.06733", craft, Settings, fits=sides_of(3)
)
