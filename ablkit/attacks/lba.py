"""LBA (Yao et al. 2019, CCS): a patch under which a clean network's inner layer takes images for the target class.

For a square mask m, an inner layer K of a clean teacher f and the target class T, the pattern D is

    argmin_D  sum over x outside T, t in T  of  |f_K((1 - m) x + m D) - f_K(t)|^2

(the attack's paper, on generating the trigger). But for a constant, the spread of T, the mean over t is the distance to
the mean of f_K over T, which is what is computed here. Images under the pattern then poison a training set under the
target's label. A rate is a share of the whole training set, 0.1 by default.

Position, size, optimiser, steps and batches are those of the attack's authors' published code: 4 % of the image's area,
one pixel off the bottom-right corner; Adam (betas 0.5 and 0.9) with step size 0.1 on the inverse hyperbolic tangent of
the pixels, 50 rounds of 31 batches of 32 images, from uniform noise.

Where this departs from the paper:

- The paper plants the trigger in the teacher by a second loss on the same distance, wipes the target class off it and
  hands the teacher over, for students to be trained on top. The ABL setting has neither teacher nor student: the
  attacker can only add data. So only the trigger is taken from the paper, and the victim trains from scratch.
- The teacher is the kit's surrogate, WRN-16-1 in place of VGG-Face and others. It knows the target class from the
  start, where the paper has to add it.
- f_K is read as what the layer after one of the network's three groups takes, after batch norm and ReLU and averaged
  over all positions: 16, 32 or 64 numbers. Of whole maps, a patch in a corner does not reach most places. After the
  third group, the default, these numbers are what the head reads. All of them count, while the authors' code compares
  the first 100 values of its layer alone.
- Triggered images are those outside the target class, as in the paper; the authors' code takes all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache as once
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import nn

from ablkit.attacks.attack import FEWEST, Attack, Crafted, OneByOne, Order, Twin
from ablkit.attacks.attacker import cache, classifier, features
from ablkit.attacks.attacker.patch import enlarged, stamp
from ablkit.attacks.attacker.pixels import floats, levels
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.settings import at_least
from ablkit.shapes import Float, Int64, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.inference import predict

_NOISE, _BATCHES, _MEASURED = 20, 21, 22
_IMAGES = 512


@dataclass(frozen=True)
class Settings:
    """Where the patch lies, and how its pattern is found."""

    side: float = 0.2
    """Side of the square patch, as a share of the image's shorter side, rounded down to pixels: 6 of 32."""
    margin: int = 1
    """Pixels between the patch and the two borders that it is nearest to."""
    corner: Literal["bottom_right", "bottom_left", "top_right", "top_left"] = "bottom_right"
    """Corner that the patch lies in."""
    matching: bool = True
    """Optimise the pattern. `False` leaves the noise that it starts from: the same attack without what is latent."""
    layer: int = 3
    """Group of the surrogate, 1 to 3, after which representations are compared; 3 is the last."""
    steps: int = 1550
    """Steps of the optimisation, each on one batch."""
    batch_size: int = 32
    """Images of other classes in a batch, drawn anew for each step."""
    learning_rate: float = 0.1
    """Step size of Adam, on the inverse hyperbolic tangent of pixels in (-1, 1)."""
    surrogate_epochs: int = 10
    """Epochs of the clean model that representations are taken from."""

    def __post_init__(self) -> None:
        at_least(self, margin=0, layer=1, steps=0, batch_size=1, learning_rate=0, surrogate_epochs=1)
        if not 0 < self.side <= 1:
            raise UserError(f"side {self.side} is outside (0, 1], a share of the image's side; the paper uses 0.2")
        if self.layer > features.LAYERS:
            raise UserError(f"layer {self.layer} is none of the surrogate's groups; choose 1 to {features.LAYERS}")


def place(shape: tuple[int, int, int], settings: Settings) -> tuple[slice, slice]:
    """Rows and columns that the patch covers in images of a shape (h, w, c); raises UserError where it does not fit."""
    height, width, _ = shape
    size = max(1, int(settings.side * min(height, width)))
    most = min(height, width) - size
    if settings.margin > most:
        raise UserError(
            f"margin {settings.margin} leaves no room for a patch of {size} x {size} in images of {height} x {width};"
            f" choose 0 to {most}"
        )
    first, last = settings.margin, settings.margin + size
    down, right = settings.corner.split("_")
    rows = slice(first, last) if down == "top" else slice(height - last, height - first)
    columns = slice(first, last) if right == "left" else slice(width - last, width - first)
    return rows, columns


def fits(images: Images, target: int, settings: Settings) -> None:
    """Raise UserError where the patch does not fit, or where the target class or any other has no image."""
    place(images.images.shape[1:], settings)
    is_target = images.labels == target
    if is_target.all() or not is_target.any():
        lacking = "any class but the target" if is_target.any() else "the target class"
        raise UserError(f"{images.name} has no image of {lacking}, which lba matches; choose another target")


def craft(order: Order, settings: Settings) -> Crafted:
    """Find the pattern on a clean surrogate and stamp it on the chosen images; the same patch is the trigger.

    Without a chosen image nothing is trained before the trigger is asked for. The ABL authors published no code of this
    attack, so `released` changes nothing.

    The record has mean square distances of representations from the mean of the target class, each over 512 training
    images at most: `representation_distance_before` of images of other classes under the noise and
    `representation_distance_after` under the pattern; for a scale, `representation_distance_clean` of the same images
    without either and `representation_distance_target_class` of the target's own. Further
    `surrogate_attack_success_rate_before` and `_after`, the share of the same triggered images that the clean surrogate
    itself takes for the target; `trigger_steps`; the surrogate's accuracy and seconds; and `lba_seconds`.

    Raises UserError where the patch does not fit or the training set lacks the target class or any other.
    """
    shape = order.train.images.shape[1:]
    where = place(shape, settings)
    side = where[0].stop - where[0].start
    start = numpy_stream(order.seed, "trigger", _NOISE, 0).integers(0, 256, (side, side, shape[2]), np.uint8)
    if not len(order.chosen):
        made = once(lambda: _matched(order, start, where, settings)[0])
        return Crafted(order.images, OneByOne(lambda images: stamp(images, made(), where), order.aims))
    patch, record = _matched(order, start, where, settings)
    change = partial(stamp, patch=patch, where=where)
    pictures = {
        "the noise, enlarged": enlarged(start, shape),
        "the pattern, enlarged": enlarged(patch, shape),
        "an image with the pattern": change(order.images[:1])[0],
    }
    return Crafted(change(order.images), OneByOne(change, order.aims), record, pictures)


def _matched(
    order: Order, start: UInt8[ndarray, "s s c"], where: tuple[slice, slice], settings: Settings
) -> tuple[UInt8[ndarray, "s s c"], dict[str, float]]:
    """The pattern and the record, from the cache where it has been found before."""
    model, accuracy = classifier.trained(order, settings.surrogate_epochs)

    def make(_) -> tuple[dict[str, Tensor], dict[str, float]]:
        patch, record = _made(order, model, start, where, settings)
        return {"patch": torch.tensor(patch)}, record

    facts = {"settings": asdict(settings), "target": order.target}
    tensors, record = cache.keep("lba", order, facts, make)
    return tensors["patch"].numpy(), {**accuracy, **record}


def _made(
    order: Order, model: nn.Module, start: UInt8[ndarray, "s s c"], where: tuple[slice, slice], settings: Settings
) -> tuple[UInt8[ndarray, "s s c"], dict[str, float]]:
    train, is_target = order.train.images, order.train.labels == order.target
    members, others = np.flatnonzero(is_target), np.flatnonzero(~is_target)
    fits(order.train, order.target, settings)
    chosen = hardware.choose(order.device, "fp32")
    model, layer = chosen.place(model), settings.layer
    wanted = features.representations(model, train[members], layer).mean(dim=0)
    steps = settings.steps if settings.matching else 0
    patch = match(
        model,
        train,
        others,
        wanted,
        start,
        where,
        layer=layer,
        steps=steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        stream=numpy_stream(order.seed, "trigger", _BATCHES, 0),
    )
    # Drawn, as some sets lie in the order of their classes.
    stream = numpy_stream(order.seed, "trigger", _MEASURED, 0)
    own, clean = (train[stream.permutation(part)[:_IMAGES]] for part in (members, others))
    seen = {
        "target_class": own,
        "clean": clean,
        "before": stamp(clean, start, where),
        "after": stamp(clean, patch, where),
    }
    record = {"trigger_steps": float(steps)}
    for name, images in seen.items():
        found = features.representations(model, images, layer)
        record[f"representation_distance_{name}"] = float(features.distances(found, wanted).mean())
    for name in ("before", "after"):
        taken = predict(model, seen[name], "fp32") == order.target
        record[f"surrogate_attack_success_rate_{name}"] = float(taken.mean())
    return patch, record


ATTACK = Attack(
    "LBA",
    "dirty label",
    "an optimised patch",
    "Yao et al. 2019, CCS",
    craft,
    Settings,
    twin=Twin("latent matching", "matching=false", rate=0.005),
    fits=fits,
    fewest=FEWEST,
)


# Levels 0 and 255 would lie at infinity; 0.998 is near enough for each level to be found again by rounding.
_LARGEST = 0.998


def match(
    model: nn.Module,
    train: UInt8[ndarray, "n h w c"],
    others: Int64[ndarray, " k"],
    wanted: Float[Tensor, " d"],
    start: UInt8[ndarray, "s s c"],
    where: tuple[slice, slice],
    *,
    layer: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    stream: np.random.Generator,
) -> UInt8[ndarray, "s s c"]:
    """The pattern under which images come nearest to the wanted representation: Adam, after all steps, in float32.

    What Adam moves is the inverse hyperbolic tangent of the pixels, mapped to (-1, 1), which so stay within bounds.

    Args:
        model: a wide residual network in eval mode; its weights are left without gradients.
        others: indices of the images to be triggered.
        start: the pattern to begin with; without a step it is also the result.
        where: rows and columns that the pattern covers.
        stream: draws each step's batch from `others`, with replacement.
    """
    device = next(model.parameters()).device
    model.requires_grad_(False)
    hidden = torch.atanh((2 * floats(start[None], device) - 1).clamp(-_LARGEST, _LARGEST)).requires_grad_()
    optimiser = torch.optim.Adam([hidden], lr=learning_rate, betas=(0.5, 0.9))
    for _ in range(steps):
        x = floats(train[stream.choice(others, batch_size)], device)
        x[:, :, *where] = (hidden.tanh() + 1) / 2
        optimiser.zero_grad()
        features.distances(features.representation(model, x, layer), wanted).mean().backward()
        optimiser.step()
    return levels((hidden.tanh() + 1) / 2)[0]
