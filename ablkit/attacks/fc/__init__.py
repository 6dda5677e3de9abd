"""FC (Shafahi et al. 2018, "Poison Frogs!", arXiv 1804.00792): target-class images made to collide with triggered ones.

Each chosen image b of the target class is paired with an image t of another class that carries the trigger, BadNets'
patch. b gets t as a faint watermark, gamma t + (1 - gamma) b (section 4.2), and is then moved, within `eps` of that,
until a clean surrogate sees in it what it sees in t: min ||f(x) - f(t)||^2 + beta ||x - b||^2 by forward-backward
splitting (Algorithm 1, see `collision`). Labels stay, so the rate is a share of the target class. Under the target's
label a victim then finds what looks like the content of other classes; what these images share is the patch.

The paper attacks one known test image, with no trigger. What differs here, and why:
- t is a triggered image, another one for each b, so that any image can be attacked at test time by the patch alone.
- The poisoned images carry the patch: the watermark is opaque there (`patch_opacity`). A victim that is trained from
  scratch does not keep the surrogate's features, so that what it cannot see it does not learn. `patch_opacity=0` is
  the paper's way for a network that is only fine-tuned: nothing of the patch is in the poisoned images.
- The patch is in all four corners, as the victim trains with crops and flips.
- The watermark elsewhere is fainter than the paper's 0.3, and the change of every value after it is bounded by `eps`,
  beside the pull of beta.
- Every image finds its own learning rate.
- The surrogate is a WRN-16-1 that the kit trains on the clean set; the paper's attacker has the victim's own weights.
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
from ablkit.attacks.attacker import cache, classifier
from ablkit.attacks.badnets import stamp
from ablkit.attacks.fc import collision
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.settings import at_least
from ablkit.shapes import Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.inference import predict


@dataclass(frozen=True)
class Settings:
    """The collision, the watermark that it starts from, and the surrogate that it happens in."""

    eps: float = 16.0
    """Largest distance of any value from the watermarked base image, in levels of 255; of a fraction the whole levels
    are used."""
    beta: float = 0.00001
    """Pull back to the watermarked base image: the paper's beta, for images in levels. Its rule, 0.25 (d_f / d_x)^2 for
    d_f features of d_x values, would give 0.0001 for the 64 features of a 32 x 32 image; a tenth of it lets features
    come nearer, as `eps` bounds the change already."""
    learning_rate: float = 500.0
    """First step size of the forward step, for images in levels; every image then finds its own."""
    steps: int = 100
    """Forward-backward steps; each costs a forward and a backward pass over the chosen images. 0 leaves the collision
    out: the poisoned images are then the base images under their watermark."""
    layer: collision.Layer = "penultimate"
    """Where features collide: the channel means that the head reads (the paper's choice), or all values of the maps
    of a group of the surrogate."""
    opacity: float = 0.2
    """Share gamma of the triggered image in the watermark, in [0, 1); 0 leaves it out. The paper goes up to 0.3."""
    patch_opacity: float = 1.0
    """The same under the patch, in [0, 1]: 1 puts the patch on as it is at test time, the value of `opacity` makes the
    watermark one piece, 0 leaves the patch out."""
    patch: Literal["corner", "four_corners"] = "four_corners"
    """The 3x3 checker in the bottom-right corner, or mirrored in all four."""
    surrogate_epochs: int = 10
    """Epochs of the surrogate's training."""

    def __post_init__(self) -> None:
        at_least(self, eps=0, beta=0, learning_rate=0, steps=0, opacity=0, patch_opacity=0, surrogate_epochs=1)
        if self.opacity >= 1:
            raise UserError(f"opacity {self.opacity} leaves nothing of the base image; the paper takes up to 0.3")
        if self.patch_opacity > 1:
            raise UserError(f"patch_opacity {self.patch_opacity} is outside [0, 1]; 1 puts the patch on as it is")


def watermark(
    bases: UInt8[ndarray, "n h w c"], targets: UInt8[ndarray, "n h w c"], settings: Settings
) -> UInt8[ndarray, "n h w c"]:
    """gamma t + (1 - gamma) b, rounded (section 4.2): gamma is `patch_opacity` under the patch, else `opacity`."""
    # The patch covers what it changes in a black or in a white image.
    plain = np.stack([np.full(bases.shape[1:], level, np.uint8) for level in (0, 255)])
    covered = (stamp(plain, _VARIANTS[settings.patch]) != plain).any(axis=0)
    gamma = np.where(covered, settings.patch_opacity, settings.opacity)
    return np.rint(gamma * targets + (1 - gamma) * bases).astype(np.uint8)


def draw_targets(order: Order, settings: Settings) -> UInt8[ndarray, "k h w c"]:
    """A triggered image of another class for each chosen one, no image twice where there are enough.

    Raises UserError where all images are of the target class.
    """
    others = np.flatnonzero(order.train.labels != order.target)
    if not len(others):
        raise UserError("fc collides with images of other classes than the target, but there is none; give some")
    shuffled = numpy_stream(order.seed, "trigger", 6, 0).permutation(others)
    return stamp(np.array(order.train.images[np.resize(shuffled, len(order.chosen))]), _VARIANTS[settings.patch])


def craft(order: Order, settings: Settings) -> Crafted:
    """Watermark the chosen images and let them collide; the trigger is the opaque patch. `released` changes nothing.

    Nothing is trained where no image is chosen. The record has means over the poisoned images of the distance between
    their features and those of their triggered images (Euclidean): `feature_distance_base` of the untouched images,
    `feature_distance_before` of the watermarked and `feature_distance_after` of the collided ones; largest and mean
    distance of their values from the watermarked image (`largest_image_distance_levels`) and from the untouched one
    (`largest_change_levels`); the surrogate's accuracy on held-out images, on the untouched and on the collided ones.
    """
    triggered = OneByOne(partial(stamp, variant=_VARIANTS[settings.patch]), order.aims)
    if not len(order.chosen):
        return Crafted(order.images, triggered)
    targets = draw_targets(order, settings)
    marked = watermark(order.images, targets, settings)
    images, record = _collided(order, marked, targets, settings)
    pictures = {
        "an image of the target class": order.images[0],
        "a triggered image of another": targets[0],
        "the first, watermarked with it": marked[0],
        "after the collision": images[0],
    }
    return Crafted(images, triggered, record, pictures)


_VARIANTS = {"corner": "grid", "four_corners": "four_corners"}


def _collided(
    order: Order, marked: UInt8[ndarray, "k h w c"], targets: UInt8[ndarray, "k h w c"], settings: Settings
) -> tuple[UInt8[ndarray, "k h w c"], dict[str, float]]:
    """The watermarked images after all steps, from the cache where they have been made before."""
    model, accuracy = classifier.trained(order, settings.surrogate_epochs)
    model = hardware.choose(order.device, "fp32").place(model)

    def make(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
        own = {name: getattr(settings, name) for name in ("layer", "beta", "eps", "learning_rate", "steps")}
        images = collision.collide(model, marked, targets, **own)
        seen = {"base": order.images, "before": marked, "after": images}
        record = {
            f"feature_distance_{name}": float(collision.distances(model, x, targets, settings.layer).mean())
            for name, x in seen.items()
        }
        for name, start in (("image_distance", marked), ("change", order.images)):
            moved = np.abs(images.astype(np.int16) - start)
            record |= {f"largest_{name}_levels": float(moved.max()), f"mean_{name}_levels": float(moved.mean())}
        for name, x in (("chosen", order.images), ("collided", images)):
            right = predict(model, x, "fp32") == order.target
            record[f"surrogate_accuracy_on_{name}"] = float(right.mean())
        return {"images": torch.tensor(images)}, record

    facts = vars(settings) | {"chosen": hashlib.sha256(np.ascontiguousarray(order.chosen)).hexdigest()}
    tensors, record = cache.keep("collided", order, facts, make)
    return tensors["images"].numpy(), accuracy | record


ATTACK = Attack(
    "FC",
    "clean label",
    "noise, and a patch",
    "Shafahi et al. 2018, arXiv 1804.00792",
    craft,
    Settings,
    quick_rate=0.5,
    twin=Twin("the collision", "steps=0"),
    fits=sides_of(3),
    fewest=FEWEST,
)
