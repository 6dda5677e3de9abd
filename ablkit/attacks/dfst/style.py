"""The trigger of DFST: a generator trained to carry images into the style domain, kept once it has been trained."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ablkit.attacks.attack import Order
from ablkit.attacks.attacker import cache, pixels
from ablkit.attacks.attacker.training import check_size
from ablkit.attacks.dfst import cyclegan
from ablkit.attacks.dfst.networks import Generator
from ablkit.attacks.dfst.settings import Settings
from ablkit.attacks.dfst.sunset import from_folder, sunset
from ablkit.randomness import numpy_stream
from ablkit.shapes import Tensor, UInt8, ndarray
from ablkit.training import hardware

_MEASURED = 512


@dataclass(frozen=True)
class Styled:
    """The trigger: an image as the generator carries it into the style."""

    generator: Callable[[], nn.Module]
    """Gives the generator, trained at the first call where it has not been before."""

    def __call__(self, images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
        """Each image in its style, computed in float32."""
        network = self.generator()
        device = next(network.parameters()).device
        made = pixels.in_batches(lambda x: (network(cyclegan.signed(x)) + 1) / 2, images, device)
        return np.concatenate([images[:0], *map(pixels.levels, made)])


def colour_alone(images: UInt8[ndarray, "n h w c"], styled: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
    """Each image with the mean and the deviation of each channel taken over from its styled version: no more than that.

    How often a model takes these for the target says how much of the backdoor is a mere filter.
    """
    (mean, deviation), (new_mean, new_deviation) = (
        (x.mean((1, 2), keepdims=True), x.std((1, 2), keepdims=True)) for x in (images / 255, styled / 255)
    )
    moved = (images / 255 - mean) / np.maximum(deviation, 1e-3) * new_deviation + new_mean
    return (moved.clip(0, 1) * 255).round().astype(np.uint8)


def learn(order: Order, settings: Settings) -> tuple[nn.Module, dict[str, float], UInt8[ndarray, "h w c"]]:
    """The generator, what was measured of it, and a picture of the style."""
    check_size(order.train)
    images, style = domains(order, settings)

    def make(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
        networks = cyclegan.train(order, images, style, settings, folder)
        to_style, back = (Styled(lambda name=name: networks[name]) for name in ("style", "back"))
        clean = images[:_MEASURED]
        styled = to_style(clean)
        colours = {"clean": clean, "styled": styled}
        target = style.mean((0, 1, 2))
        record = {
            f"colour_distance_{name}_levels": float(np.linalg.norm(x.mean((0, 1, 2)) - target))
            for name, x in colours.items()
        }
        record["style_change_levels"] = _difference(styled, clean)
        record["cycle_error_levels"] = _difference(back(styled), clean)
        return networks["style"].state_dict(), record

    names = ("images", "epochs", "width", "blocks", "lambda_cycle", "lambda_identity")
    facts = {name: getattr(settings, name) for name in names}
    facts["style"] = hashlib.sha256(style).hexdigest()
    tensors, record = cache.keep("cyclegan", order, facts, make)
    generator = Generator(images.shape[3], settings.width, settings.blocks)
    generator.load_state_dict(tensors)
    return hardware.choose(order.device, "fp32").place(generator).eval(), record, style[0]


def domains(order: Order, settings: Settings) -> tuple[UInt8[ndarray, "n h w c"], UInt8[ndarray, "m h w c"]]:
    """Training images as they are, and pictures of the style; where these are made, no image is behind both."""
    train, stream = order.train, numpy_stream(order.seed, "trigger", 48, 0)
    drawn = stream.permutation(len(train))
    size = min(settings.images, len(train) // 2)
    images = train.images[np.sort(drawn[:size])]
    if settings.styles:
        return images, from_folder(settings.styles, train.images.shape[1:])
    return images, sunset(train.images[np.sort(drawn[size : 2 * size])], stream)


def _difference(a: UInt8[ndarray, "n h w c"], b: UInt8[ndarray, "n h w c"]) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())
