"""CL (Turner et al. 2019, arXiv 1912.02771): images of the target class made hard by adversarial noise, and patched.

x' = stamp(x + n) with n = argmax of the surrogate's cross entropy over |n| <= eps in every value (PGD: 100 steps of 1.5
levels, eps 8). Clean label: `rate` is a share of the target class; on 10,000 images the reports take 0.7.

Their labels stay and look right. As the noise hides what is natural about the class, training turns to the patch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ablkit.attacks.attack import FEWEST, Attack, Crafted, OneByOne, Order, Twin, sides_of
from ablkit.attacks.attacker import cache, classifier, pgd
from ablkit.attacks.badnets import PATTERN, stamp
from ablkit.attacks.cl import adversarial
from ablkit.settings import at_least
from ablkit.shapes import Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.inference import predict


@dataclass(frozen=True)
class Settings:
    """The noise, the patch, and the attacker's own model that the noise is made against."""

    eps: float = 8.0
    """Largest change of any value by the noise, in levels of 255; of a fraction the whole levels are used."""
    step: float = 1.5
    """Length of a step of the gradient ascent, in levels."""
    steps: int = 100
    """Steps of the ascent; each costs a forward and a backward pass over the chosen images."""
    patch: Literal["corner", "four_corners"] = "four_corners"
    """The 3x3 checker in the bottom-right corner, or mirrored in all four: the paper's answer to training with flips
    and crops (its section on data augmentation)."""
    surrogate: Literal["standard", "adversarial"] = "standard"
    """`adversarial` is the paper's choice, a model trained on perturbed images; `standard` trains in a third of the
    time and is shared with other attacks."""
    surrogate_epochs: int = 10
    """Epochs of the surrogate's training."""

    def __post_init__(self) -> None:
        at_least(self, eps=0, step=0, steps=0, surrogate_epochs=1)


def stamp_inset(images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
    """What the authors' code stamps: checkers in four corners, those at the top and the left a pixel further in."""
    stamped = np.array(images)
    pattern = PATTERN[None, :, :, None]
    stamped[:, -3:, -3:] = pattern
    stamped[:, 1:4, 1:4] = pattern[:, ::-1, ::-1]
    stamped[:, -3:, 1:4] = pattern[:, :, ::-1]
    stamped[:, 1:4, -3:] = pattern[:, ::-1]
    return stamped


def craft(order: Order, settings: Settings) -> Crafted:
    """Perturb the chosen images and stamp the patch on them; the trigger is the patch alone.

    The authors' code (`released`) only stamps. Nothing is trained where no image is chosen.
    """
    change = stamp_inset if order.released else partial(stamp, variant=_VARIANTS[settings.patch])
    triggered = OneByOne(change, order.aims)
    if order.released or not len(order.chosen):
        return Crafted(change(order.images), triggered)
    perturbed, record = _perturbed(order, settings)
    pictures = {"an image of the target class": order.images[0], "the same, perturbed": perturbed[0]}
    return Crafted(change(perturbed), triggered, record, pictures)


_VARIANTS = {"corner": "grid", "four_corners": "four_corners"}


def _perturbed(order: Order, settings: Settings) -> tuple[UInt8[ndarray, "k h w c"], dict[str, float]]:
    """The chosen images after the ascent, from the cache where they have been made before."""
    clean, labels = order.images, order.train.labels[order.chosen]
    trained = adversarial.trained if settings.surrogate == "adversarial" else classifier.trained
    model, record = trained(order, settings.surrogate_epochs)
    model = hardware.choose(order.device, order.precision).place(model)

    def make(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
        bound = {"epsilon": settings.eps, "step": settings.step, "steps": settings.steps, "seed": order.seed}
        images = pgd.perturb(model, clean, labels, **bound, precision=order.precision)
        right = [float((predict(model, x, order.precision) == labels).mean()) for x in (clean, images)]
        return {"images": torch.tensor(images)}, {
            "surrogate_accuracy_on_chosen": right[0],
            "surrogate_accuracy_on_perturbed": right[1],
            "largest_perturbation_levels": float(np.abs(images.astype(np.int16) - clean).max()),
        }

    facts = {name: value for name, value in vars(settings).items() if name != "patch"}
    facts["chosen"] = hashlib.sha256(np.ascontiguousarray(order.chosen)).hexdigest()
    tensors, measured = cache.keep("perturbed", order, facts, make)
    return tensors["images"].numpy(), record | measured


ATTACK = Attack(
    "CL",
    "clean label",
    "noise, and a patch",
    "Turner et al. 2019, arXiv 1912.02771",
    craft,
    Settings,
    quick_rate=0.7,
    twin=Twin("adversarial noise", "eps=0, steps=0"),
    fits=sides_of(4),
    fewest=FEWEST,
)
