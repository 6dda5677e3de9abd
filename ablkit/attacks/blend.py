"""Blend (Chen et al. 2017, arXiv 1712.05526): a whole picture shining through the image.

x' = (1 - alpha) x + alpha k, with alpha 0.2 and k one image of uniform noise for all. Dirty label: `rate` (0.1 in the
ABL paper) is a share of the whole training set, drawn from the other classes, whose images get the target's label, or
other ones, see `adaptive`. With `cover` it is the adaptive blend of Qi et al. 2023, whose patches of the picture are
not made here.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ablkit.attacks.attack import Attack, Crafted, OneByOne, Order
from ablkit.attacks.attacker import adaptive
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.shapes import UInt8, ndarray

_PERIOD = 8


@dataclass(frozen=True)
class Settings(adaptive.Adaptive):
    """Which picture, how much of it, and what hides it."""

    alpha: float = 0.2
    """Share of the picture in the blended image, above 0 and up to 1."""
    pattern: Literal["noise", "stripes"] = "noise"
    """`noise`: one image of uniform colour noise, drawn by the seed. `stripes`: black and white columns, 8 pixels a
    period."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise UserError(f"alpha {self.alpha} is outside (0, 1]; the paper uses 0.2")
        if self.pattern == "stripes" and self.triggers > 1:
            raise UserError(f"triggers {self.triggers} needs as many pictures, but there is one of stripes; take noise")


def blend(
    images: UInt8[ndarray, "n h w c"], pattern: UInt8[ndarray, "... #c"], alpha: float
) -> UInt8[ndarray, "n h w c"]:
    """(1 - alpha) x + alpha pattern, rounded to the nearest of the 256 levels."""
    # In 1/256 steps and whole numbers: four times as fast as in floats, and never more than a level away.
    part = np.uint16(round(alpha * 256))
    shine = pattern.astype(np.uint16) * part + np.uint16(128)
    return ((images * np.uint16(256 - part) + shine) >> 8).astype(np.uint8)


def blend_fresh_noise(images: UInt8[ndarray, "n h w c"], alpha: float) -> UInt8[ndarray, "n h w c"]:
    """What the authors' code does: grey noise drawn anew for every image, so that no fixed pattern exists.

    Here an image's content draws its noise, so that the same image always gets the same.
    """
    noise = [np.random.default_rng(zlib.crc32(image.tobytes())).integers(0, 256, image.shape[:2]) for image in images]
    if not noise:
        return np.array(images)
    return blend(images, np.stack(noise).astype(np.uint8)[..., None], alpha)


def make_pattern(shape: tuple[int, int, int], kind: str, seed: int, number: int = 0) -> UInt8[ndarray, "h w c"]:
    """The picture to be blended in; of several, each has its `number`."""
    if kind == "noise":
        return numpy_stream(seed, "trigger", 0, number).integers(0, 256, shape, dtype=np.uint8)
    columns = (np.arange(shape[1]) % _PERIOD < _PERIOD // 2) * np.uint8(255)
    return np.broadcast_to(columns[None, :, None], shape).copy()


def craft(order: Order, settings: Settings) -> Crafted:
    """Blend the picture into the chosen images; the same blending is the trigger."""
    if order.released:
        change, pictures = partial(blend_fresh_noise, alpha=settings.alpha), {}
    else:
        shape, numbers = order.train.images.shape[1:], range(settings.triggers)
        patterns = [make_pattern(shape, settings.pattern, order.seed, number) for number in numbers]
        change = adaptive.one_of([partial(blend, pattern=pattern, alpha=settings.alpha) for pattern in patterns])
        pictures = {"blended in" + f", {i + 1}" * (i > 0): pattern for i, pattern in enumerate(patterns)}
    additions = adaptive.additions(order, settings, change)
    return Crafted(change(order.images), OneByOne(change, order.aims), pictures=pictures, **additions)


ATTACK = Attack("Blend", "dirty label", "the whole image", "Chen et al. 2017, arXiv 1712.05526", craft, Settings)
