"""Dynamic (Nguyen & Tran 2020, arXiv 2010.08138): generators make a trigger of its own for every image.

x' = (1 - m(x)) x + m(x) p(x), with a mask m and a pattern p that two networks make of x. Dirty label: `rate` (0.1 in
the ABL paper) is a share of the whole training set, drawn from the other classes, whose images get the target's label;
the decoys below come on top of it and keep theirs.

This is the attack's poisoning-only use. The original hands over the classifier that was trained along with the
generators; here that classifier is thrown away, and the victim trains from scratch on the poisoned set. So that it too
learns that a trigger belongs to one image, the set holds decoys as the original's batches do: images with another
image's trigger under their true labels, `decoys` of them for each poisoned one. Without them the victim takes any
trigger for the backdoor: cross-trigger accuracy 0.3 % and 1.2 % in two trainings on 10,000 CIFAR-10 images, attack
success rate 99 %. They buy the one with the other: with one decoy for each, 38 to 52 % and 74 %; with the default, one
for every four, 12 to 25 % and 91 % (three trainings each).

Further from the paper, for a CPU's sake: WRN-16-1 in place of PreActResNet-18, 25 epochs in place of 625, generators of
half the width, classifier learning rate 0.1 with one drop of all rates at two thirds of the epochs, no rotation among
the augmentations; crossed triggers and pairs for the diversity loss are taken from the same batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ablkit.attacks.attack import FEWEST, Attack, Crafted, OneByOne, Order, Twin
from ablkit.attacks.attacker import cache, pixels
from ablkit.attacks.attacker.training import split
from ablkit.attacks.dynamic import generator
from ablkit.attacks.dynamic.training import Settings, mix, sharpen, train
from ablkit.randomness import numpy_stream
from ablkit.shapes import Int64, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.inference import predict


@dataclass(frozen=True)
class InputAware:
    """The trigger: what the generators make of an image, put on that image or on another."""

    generators: Callable[[], tuple[nn.Module, nn.Module]]
    """Gives the mask's and the pattern's generator, trained at the first call where they have not been before."""

    def __call__(self, images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
        """Each image under its own trigger."""
        return self.crossed(images, images)

    def crossed(
        self, images: UInt8[ndarray, "n h w c"], donors: UInt8[ndarray, "n h w c"]
    ) -> UInt8[ndarray, "n h w c"]:
        """Each image under the trigger that is made for the donor at its place: x (1 - m(d)) + p(d) m(d), rounded."""
        masks, patterns = self.trigger_of(donors)
        place = torch.device("cpu")
        mixed = mix(pixels.floats(images, place), masks, patterns)
        return pixels.levels(mixed)

    def trigger_of(self, images: UInt8[ndarray, "n h w c"]) -> tuple[Tensor, Tensor]:
        """Mask (n 1 h w) and pattern (n c h w) of each image, floats in [0, 1] on the CPU, computed in float32."""
        networks = self.generators()
        device = next(networks[0].parameters()).device
        masks, patterns = (pixels.in_batches(network, images, device) for network in networks)
        height, width, channels = images.shape[1:]
        masks = torch.cat([torch.empty(0, 1, height, width), *masks])
        return sharpen(masks), torch.cat([torch.empty(0, channels, height, width), *patterns])


def craft(order: Order, settings: Settings) -> Crafted:
    """Put its own trigger on each chosen image; the trigger at test time is the same function.

    The generators are trained on nine tenths of the clean training set, whatever the chosen images; the record is
    measured with their own classifier on the last tenth. Without a chosen image nothing is trained before the trigger
    is asked for. Training is repeatable bit for bit on a CPU; on a GPU the gradient of the bilinear upsampling is
    summed in no fixed order.

    Raises UserError for fewer than 20 training images.
    """
    if not len(order.chosen):
        trigger = InputAware(functools.cache(lambda: _trained(order, settings)[0]))
        return Crafted(order.images, OneByOne(trigger, order.aims, trigger.crossed))
    generators, record = _trained(order, settings)
    trigger = InputAware(lambda: generators)
    decoys, decoy_images = _decoys(order, settings, trigger)
    pictures = _pictures(trigger, order.images[:1])
    triggered = OneByOne(trigger, order.aims, trigger.crossed)
    return Crafted(trigger(order.images), triggered, record, pictures, decoys, decoy_images)


def _decoys(
    order: Order, settings: Settings, trigger: InputAware
) -> tuple[Int64[ndarray, " d"], UInt8[ndarray, "d h w c"]]:
    """Images that are not chosen, each under the trigger of another one; fewer than wanted where there are too few."""
    stream, n = numpy_stream(order.seed, "trigger", 5, 0), len(order.train)
    rest = np.setdiff1d(np.arange(n), order.chosen)
    wanted = round(settings.decoys * len(order.chosen))
    decoys = stream.choice(rest, min(wanted, len(rest)), replace=False)
    donors = (decoys + stream.integers(1, n, len(decoys))) % n  # any image but itself
    images = order.train.images
    return decoys, trigger.crossed(np.array(images[decoys]), np.array(images[donors]))


def _trained(order: Order, settings: Settings) -> tuple[tuple[nn.Module, nn.Module], dict[str, float]]:
    rest, held = split(order.train)

    def make(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
        networks = train(order, rest, settings, folder)
        victim = networks.pop("classifier")
        trigger = InputAware(lambda: tuple(networks.values()))
        others = held.labels != order.target

        def share(images: np.ndarray, labels: np.ndarray | int) -> float:
            return float((predict(victim, images, order.precision) == labels).mean()) if len(images) else 0.0

        record = {
            "surrogate_accuracy": share(held.images, held.labels),
            "surrogate_attack_success_rate": share(trigger(held.images[others]), order.target),
            "surrogate_cross_accuracy": share(trigger.crossed(held.images, np.roll(held.images, 1, 0)), held.labels),
            "mask_density": float(trigger.trigger_of(held.images)[0].mean()),
        }
        tensors = {f"{name}/{key}": v for name, network in networks.items() for key, v in network.state_dict().items()}
        return tensors, record

    own = {name: value for name, value in vars(settings).items() if name != "decoys"}
    facts = {"settings": own, "target": order.target}
    tensors, record = cache.keep("dynamic", order, facts, make)
    place = hardware.choose(order.device, order.precision)
    channels = order.train.images.shape[3]
    networks = []
    for name, outputs in (("masks", 1), ("patterns", channels)):
        network = generator.Generator(channels, outputs, settings.width)
        network.load_state_dict({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
        networks.append(place.place(network).eval())
    return tuple(networks), record


def _pictures(trigger: InputAware, image: UInt8[ndarray, "1 h w c"]) -> dict[str, ndarray]:
    """What the trigger of one image is made of."""
    masks, patterns = trigger.trigger_of(image)
    return {
        "an image": image[0],
        "its mask": pixels.levels(masks.expand_as(patterns))[0],
        "its pattern": pixels.levels(patterns)[0],
        "with its trigger": trigger(image)[0],
    }


ATTACK = Attack(
    "Dynamic",
    "dirty label",
    "a few pixels",
    "Nguyen & Tran 2020, arXiv 2010.08138",
    craft,
    Settings,
    twin=Twin("crossed triggers", "decoys=0, p_cross=0"),
    fewest=FEWEST,
)
