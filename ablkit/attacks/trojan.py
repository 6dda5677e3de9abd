"""Trojan (Liu et al. 2018, NDSS): a patch generated to excite chosen units of a clean network, then stamped.

x' = (1 - m) x + m p with p = argmin of the sum over the chosen units u of (a_u(grey image with p) - target value)^2,
found on a surrogate that knows no backdoor. Dirty label: `rate` (0.1 in the ABL paper) is a share of the whole training
set, drawn from the other classes, whose images get the target's label. In its own paper the attacker retrains the
model; here the data alone are poisoned, as in the ABL paper.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache as once
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ablkit.attacks.attack import FEWEST, Attack, Crafted, OneByOne, Order, Twin
from ablkit.attacks.attacker import cache, classifier, pixels
from ablkit.attacks.attacker.patch import enlarged, stamp
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.settings import at_least
from ablkit.shapes import Float, Int64, Tensor, UInt8, ndarray

_GREY = 128
_SIDE = 32
_CHANNELS = 64
_NEAR = 0.01
_IMAGES = 512


@dataclass(frozen=True)
class Settings:
    """Where the patch lies, and how it is generated."""

    size: int = 3
    """Side of the square patch, in pixels."""
    margin: int = 4
    """Pixels between the patch and the lower and right border; on images below 32 x 32 in proportion, rounded down.
    With a size of 3 the patch covers rows and columns 25-27, as in the ABL authors' code."""
    units: int = 2
    """How many of the 64 channels of the surrogate's last layer the patch is to excite."""
    target_value: float = 100.0
    """Activation that the units are to reach. The surrogate's units never come near 100 (a clean image gives about
    0.5), so that the default means: as high as the patch can drive them."""
    steps: int = 300
    """Most steps of the generation; a 3x3 patch has settled after about 100."""
    learning_rate: float = 0.05
    """Step size of Adam, for pixels in [0, 1]."""
    surrogate_epochs: int = 10
    """Epochs of the clean model that the patch is generated on."""

    def __post_init__(self) -> None:
        at_least(self, size=1, margin=0, units=1, target_value=0, steps=0, learning_rate=0, surrogate_epochs=1)
        if self.units > _CHANNELS:
            raise UserError(f"units {self.units} is more than the surrogate has; choose 1 to {_CHANNELS}")
        if self.margin >= _SIDE:
            raise UserError(f"margin {self.margin} leaves no room for a patch; choose 0 to {_SIDE - 1}")


def place(shape: tuple[int, int, int], settings: Settings) -> tuple[slice, slice]:
    """Rows and columns that the patch covers in images of a shape (h, w, c); raises UserError where it does not fit."""
    ends = [side - settings.margin * min(side, _SIDE) // _SIDE for side in shape[:2]]
    if settings.size > min(ends):
        raise UserError(f"size {settings.size} does not fit images of {shape[0]} x {shape[1]}; choose 1 to {min(ends)}")
    rows, columns = (slice(end - settings.size, end) for end in ends)
    return rows, columns


def add_wrapped(
    images: UInt8[ndarray, "n h w c"], patch: UInt8[ndarray, "s s c"], where: tuple[slice, slice]
) -> UInt8[ndarray, "n h w c"]:
    """What the ABL authors' code does: the patch is added, and levels above 255 start again at 0."""
    added = np.array(images)
    added[:, *where] += patch
    return added


def pick_units(model: nn.Module, count: int) -> Int64[Tensor, " k"]:
    """The channels of the last layer with the strongest incoming weights, strongest first (section IV-A, Eq. 2).

    A channel's strength is the sum of the absolute weights that its last 3x3 convolution takes from the layer before,
    times the absolute factor of the batch norm that follows, as that belongs to the same linear map. The residual
    shortcut into the channel has no weights and does not count. (The script that the attack's authors published sums
    the outgoing weights instead; here their paper decides.)
    """
    norm = model.norm
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    strength = model.groups[-1].conv2.weight.abs().sum(dim=(1, 2, 3)) * factor.abs()
    return strength.topk(count).indices


def activations(model: nn.Module, x: Float[Tensor, "n c h w"], units: Int64[Tensor, " k"]) -> Float[Tensor, "n k"]:
    """What the surrogate's head reads of some channels: the mean over all positions after batch norm and ReLU."""
    return F.relu(model.norm(model.groups(model.stem(x))))[:, units].mean(dim=(2, 3))


def generate(
    model: nn.Module,
    units: Int64[Tensor, " k"],
    start: UInt8[ndarray, "s s c"],
    shape: tuple[int, int, int],
    settings: Settings,
) -> tuple[UInt8[ndarray, "s s c"], int]:
    """The patch that excites the units most, and the number of steps it took (Algorithm 1 of the attack's paper).

    Descends on the sum of the squared distances between the units' activations and the target value, on one grey image
    of which only the patch changes. Ends where each unit is within 1 % of the target value, or after all steps.

    Unlike the paper, Adam takes the steps, as their size then does not depend on the distance to the target value; and
    the pixels are clipped to [0, 1] after each, so that the patch is an image.

    Args:
        model: a wide residual network on the CPU, in eval mode.
        start: the patch to begin with.
        shape: height, width and channels of the images.
    """
    model.requires_grad_(False)
    where = place(shape, settings)
    patch = pixels.floats(start[None], torch.device("cpu")).requires_grad_()
    optimiser = torch.optim.Adam([patch], lr=settings.learning_rate)
    image = torch.full((1, shape[2], *shape[:2]), _GREY / 255)
    for step in range(settings.steps):
        masked = image.clone()
        masked[:, :, *where] = patch
        distances = activations(model, masked, units) - settings.target_value
        if (distances.abs() <= _NEAR * settings.target_value).all():
            return pixels.levels(patch)[0], step
        optimiser.zero_grad()
        (distances**2).sum().backward()
        optimiser.step()
        with torch.no_grad():
            patch.clamp_(0, 1)
    return pixels.levels(patch)[0], settings.steps


def craft(order: Order, settings: Settings) -> Crafted:
    """Generate the patch on a clean surrogate and stamp it on the chosen images; the same patch is the trigger.

    The target class has no part in the generation, as in the paper. Without a chosen image nothing is trained before
    the trigger is asked for.

    `released` adds the same patch instead, see `add_wrapped`; the ABL authors' own patch is a file of floats from 6 to
    250 of which the origin is not said.

    The record has the activation of the units, as a mean over them: `activation_before` and `activation_after` on the
    grey image with the noise and with the patch, `activation_clean_images` and `activation_stamped_images` over 512
    training images; `target_value`; `trigger_steps`; the surrogate's accuracy and seconds; and `trojan_seconds`.
    """
    shape = order.train.images.shape[1:]
    where = place(shape, settings)
    size = (settings.size, settings.size, shape[2])
    start = numpy_stream(order.seed, "trigger", 0, 0).integers(0, 256, size, np.uint8)
    change = add_wrapped if order.released else stamp
    if not len(order.chosen):
        made = once(lambda: _generated(order, settings, start, where)[0])
        return Crafted(order.images, OneByOne(lambda images: change(images, made(), where), order.aims))
    patch, record = _generated(order, settings, start, where)
    change = partial(change, patch=patch, where=where)
    pictures = {
        "generated patch": stamp(np.full((1, *shape), _GREY, np.uint8), patch, where)[0],
        "generated patch, enlarged": enlarged(patch, shape),
    }
    return Crafted(change(order.images), OneByOne(change, order.aims), record, pictures)


def _generated(
    order: Order, settings: Settings, start: UInt8[ndarray, "s s c"], where: tuple[slice, slice]
) -> tuple[UInt8[ndarray, "s s c"], dict[str, float]]:
    """The patch and the record, from the cache where it has been generated before."""
    shape = order.train.images.shape[1:]
    model, accuracy = classifier.trained(order, settings.surrogate_epochs)

    def make(_) -> tuple[dict[str, Tensor], dict[str, float]]:
        units = pick_units(model, settings.units)
        patch, steps = generate(model, units, start, shape, settings)
        images, grey = order.train.images[:_IMAGES], np.full((1, *shape), _GREY, np.uint8)
        seen = {
            "before": stamp(grey, start, where),
            "after": stamp(grey, patch, where),
            "clean_images": images,
            "stamped_images": stamp(images, patch, where),
        }
        record = {f"activation_{name}": _mean_activation(model, images, units) for name, images in seen.items()}
        return {"patch": torch.tensor(patch), "units": units}, {
            "target_value": settings.target_value,
            "trigger_steps": float(steps),
            **record,
        }

    tensors, record = cache.keep("trojan", order, {"settings": asdict(settings)}, make)
    return tensors["patch"].numpy(), {**accuracy, **record}


@torch.inference_mode()
def _mean_activation(model: nn.Module, images: UInt8[ndarray, "n h w c"], units: Int64[Tensor, " k"]) -> float:
    return float(activations(model, pixels.floats(images, torch.device("cpu")), units).mean())


ATTACK = Attack(
    "Trojan",
    "dirty label",
    "a generated patch",
    "Liu et al. 2018, NDSS",
    craft,
    Settings,
    twin=Twin("optimising the patch", "steps=0"),
    fits=lambda images, _, settings: place(images.images.shape[1:], settings),
    fewest=FEWEST,
)
