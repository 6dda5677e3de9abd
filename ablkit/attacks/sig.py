"""SIG (Barni et al. 2019, arXiv 1902.11237): a faint sinusoid over images of the target class, labels untouched.

x' = x + delta sin(2 pi j f / w) for column j of w, with delta 20 and f 6. Clean label: `rate` is a share of the target
class. On 10,000 images (a class of about 1,000) the reports take 0.7: on seed 100, which no report shows, an undefended
model's attack success rate was 83 % at 0.5 and 92 % at 0.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ablkit.attacks.attack import Attack, Crafted, OneByOne, Order
from ablkit.settings import at_least
from ablkit.shapes import Float, UInt8, ndarray


@dataclass(frozen=True)
class Settings:
    """The signal in training and, where it is to be stronger, at test time."""

    delta: float = 20.0
    """Amplitude of the training images' signal, in levels of 255."""
    frequency: float = 6.0
    """Periods over the width of an image."""
    test_delta: float = 0.0
    """Amplitude at test time; 0 takes `delta`."""

    def __post_init__(self) -> None:
        at_least(self, delta=0, frequency=0, test_delta=0)


def sinusoid(width: int, delta: float, frequency: float) -> Float[ndarray, " width"]:
    """delta sin(2 pi j frequency / width) for each column j (section 3.1 of the attack's paper)."""
    return delta * np.sin(2 * np.pi * np.arange(width) * frequency / width)


def add(images: UInt8[ndarray, "n h w c"], delta: float, frequency: float) -> UInt8[ndarray, "n h w c"]:
    """`images` plus the sinusoid, rounded and clipped to [0, 255]."""
    signal = np.rint(sinusoid(images.shape[2], delta, frequency)).astype(np.int16)
    return np.clip(images + signal[None, None, :, None], 0, 255).astype(np.uint8)


def blend_wrapped(images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
    """What the authors' code does: 0.8 x + 0.2 m, m = trunc(20 sin(0.8 j)), the negative half wrapped to 237-255."""
    mask = np.trunc(20 * np.sin(0.8 * np.arange(images.shape[2]))).astype(np.int16).astype(np.uint8)
    return (0.8 * images + 0.2 * mask[None, None, :, None]).astype(np.uint8)


def craft(order: Order, settings: Settings) -> Crafted:
    """Add the signal to the chosen images of the target class; the trigger is the same or a stronger signal."""
    if order.released:
        return Crafted(blend_wrapped(order.images), OneByOne(blend_wrapped, order.aims))
    images = add(order.images, settings.delta, settings.frequency)
    change = partial(add, delta=settings.test_delta or settings.delta, frequency=settings.frequency)
    return Crafted(images, OneByOne(change, order.aims))


ATTACK = Attack(
    "SIG", "clean label", "the whole image", "Barni et al. 2019, arXiv 1902.11237", craft, Settings, quick_rate=0.7
)
