"""How the input-aware attack's two generators are trained: masks first, then patterns together with a classifier."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ablkit import models
from ablkit.attacks.attack import Order
from ablkit.attacks.attacker import classifier, training
from ablkit.attacks.dynamic import generator
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream, torch_stream
from ablkit.settings import at_least
from ablkit.shapes import Float, Tensor
from ablkit.training import hardware
from ablkit.training.augmentation import augment
from ablkit.training.epoch import one_set
from ablkit.training.hardware import Hardware
from ablkit.training.recipe import Recipe, recipe

BATCH_SIZE = 64
_GENERATOR_RATE = 0.01
_CLASSIFIER_RATE = 0.1
_AUGMENTATION = recipe("quick", cutout_length=0)
_NEVER_ZERO = 1e-7

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Settings:
    """The generators and how they are trained; where not said otherwise, defaults are the attack's authors'."""

    p_attack: float = 0.1
    """Share of a batch that gets its own trigger and the target's label, above 0."""
    p_cross: float = 0.1
    """Share of a batch that gets another image's trigger and keeps its label."""
    decoys: float = 0.25
    """Images under another image's trigger and their own labels in the poisoned set, for each poisoned one; 0 leaves
    them out. See `dynamic` for what they cost and buy."""
    mask_density: float = 0.032
    """Level above which the values of a mask are penalised."""
    lambda_div: float = 1.0
    """Weight of the diversity loss, of masks and of patterns."""
    lambda_norm: float = 100.0
    """Weight of the penalty on masks above their density."""
    mask_epochs: int = 5
    """Epochs of the mask generator alone; the authors take 25."""
    epochs: int = 20
    """Epochs of pattern generator and classifier; the authors take 600."""
    width: int = 16
    """Channels of the generators' first convolutions; the authors' have 32."""

    def __post_init__(self) -> None:
        at_least(
            self, p_cross=0, decoys=0, mask_density=0, lambda_div=0, lambda_norm=0, mask_epochs=1, epochs=1, width=1
        )
        if not 0 < self.p_attack < 1 - self.p_cross:
            raise UserError(
                f"p_attack {self.p_attack} must be above 0 and together with p_cross {self.p_cross} below 1; the paper"
                " uses 0.1 for both"
            )


def sharpen(masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Push the values of masks, in (0, 1), towards 0 and 1: (tanh(20 m - 10) + 1) / 2."""
    return (20 * masks - 10).tanh() / 2 + 0.5


def mix(
    x: Float[Tensor, "n c h w"], masks: Float[Tensor, "n 1 h w"], patterns: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n c h w"]:
    """x (1 - m) + p m, the paper's equation for a triggered image."""
    return x * (1 - masks) + patterns * masks


def diversity(x: Float[Tensor, "n c h w"], made: Float[Tensor, "n d h w"]) -> Float[Tensor, ""]:
    """L_div: distance of two images through the distance of what was made of them, mean over a ring of pairs.

    Distances are root mean squares over an image. Each image is paired with the one before it in the batch.
    """
    return (_distance(x, x.roll(1, 0)) / (_distance(made, made.roll(1, 0)) + _NEVER_ZERO)).mean()


def excess(masks: Float[Tensor, "n 1 h w"], density: float) -> Float[Tensor, ""]:
    """L_norm: how far a mask's values lie above the density, mean over all pixels."""
    return F.relu(masks - density).mean()


def build(order: Order, width: int, place: Hardware) -> dict[str, nn.Module]:
    """The two generators, freshly initialised, and the classifier that is trained along."""
    channels = order.train.images.shape[3]
    # Not the seed itself, which draws the victim's weights: the attacker does not know those.
    own_seed = int(numpy_stream(order.seed, "trigger", 2, 0).integers(2**31))
    networks = {
        "masks": generator.build(channels, 1, width, order.seed, 0),
        "patterns": generator.build(channels, channels, width, order.seed, 1),
        "classifier": models.build(classifier.MODEL, len(order.train.classes), seed=own_seed),
    }
    return {name: place.place(network) for name, network in networks.items()}


def train(order: Order, images: Images, settings: Settings, folder: Path) -> dict[str, nn.Module]:
    """The three networks after all epochs, in eval mode; goes on from the checkpoint in `folder`.

    Args:
        images: the clean images to train on.

    Raises UserError where a loss is not finite.
    """
    place = hardware.choose(order.device, order.precision)
    networks = build(order, settings.width, place)
    adam = partial(torch.optim.Adam, lr=_GENERATOR_RATE, betas=(0.5, 0.9))
    sgd = partial(torch.optim.SGD, lr=_CLASSIFIER_RATE, momentum=0.9, weight_decay=5e-4)
    makers = {"masks": adam, "patterns": adam, "classifier": sgd}
    parts = {name: (network, makers[name](network.parameters())) for name, network in networks.items()}
    pixels = torch.tensor(images.images, device=place.device)
    labels = torch.tensor(images.labels, device=place.device)
    deviation, first = float(pixels.float().std()) / 255, settings.mask_epochs
    augmentation = _AUGMENTATION.fitting(images)

    def one_epoch(epoch: int) -> dict[str, float]:
        batches = _batches(pixels, labels, augmentation, order.seed, epoch, place)
        if epoch < first:
            return _train_masks(parts, batches, settings, deviation, place)
        return _train_patterns(parts, batches, settings, order.target, place)

    def factor(epoch: int) -> float:
        return training.dropped(epoch, first) if epoch < first else training.dropped(epoch - first, settings.epochs)

    way_out = "lower lambda_div or lambda_norm"
    training.run(folder, "dynamic attack", parts, first + settings.epochs, one_epoch, factor, way_out)
    return {name: network.eval() for name, network in networks.items()}


def _train_masks(
    parts: training.Parts, batches: Batches, settings: Settings, deviation: float, place: Hardware
) -> dict[str, float]:
    network, optimiser = parts["masks"]
    network.train()
    seen = []
    for x, _ in batches:
        with place.autocast():
            masks = network(x)
        masks = sharpen(masks)
        loss = settings.lambda_norm * excess(masks, settings.mask_density)
        # The authors' images are standardised, their masks are not; the two weights are made for that.
        loss = loss + settings.lambda_div * diversity(x / deviation, masks)
        training.step(loss, optimiser)
        seen.append({"loss": loss, "density": masks.mean()})
    return training.means(seen)


def _train_patterns(
    parts: training.Parts, batches: Batches, settings: Settings, target: int, place: Hardware
) -> dict[str, float]:
    (masks, _), (patterns, first), (classifier, second) = (parts[n] for n in ("masks", "patterns", "classifier"))
    masks.eval()
    patterns.train()
    classifier.train()
    seen = []
    for x, labels in batches:
        attacked = max(1, int(settings.p_attack * len(x)))
        crossed = int(settings.p_cross * len(x))
        # Batch norm needs two. One trigger serves twice: on its own image and on another, which keeps its label.
        donors = x[: max(attacked, crossed, 2)]
        with place.autocast():
            with torch.no_grad():
                m = sharpen(masks(donors))
            p = patterns(donors)
            both = slice(attacked, attacked + crossed)
            mixed = [mix(x[:attacked], m[:attacked], p[:attacked]), mix(x[both], m[:crossed], p[:crossed])]
            logits = classifier(torch.cat([*mixed, x[attacked + crossed :]]))
        wanted = torch.cat([torch.full_like(labels[:attacked], target), labels[attacked:]])
        loss = F.cross_entropy(logits.float(), wanted) + settings.lambda_div * diversity(donors, p)
        training.step(loss, first, second)
        hit = (logits.argmax(1) == wanted).float()
        shares = {"attack": hit[:attacked], "cross": hit[both], "clean": hit[attacked + crossed :]}
        seen.append({"loss": loss} | {name: share.mean() for name, share in shares.items()})
    return training.means(seen)


def _batches(pixels: Tensor, labels: Tensor, augmentation: Recipe, seed: int, epoch: int, place: Hardware) -> Batches:
    """Full batches in a drawn order, cropped and flipped: floats in [0, 1] and labels."""
    drawn = torch_stream(seed, "trigger", 3, epoch)
    size = min(BATCH_SIZE, len(labels))
    for members in one_set(torch.arange(len(labels)), size, torch_stream(seed, "trigger", 4, epoch)):
        if len(members) == size:
            indices = members.to(place.device)
            yield place.inputs(augment(pixels[indices], augmentation, drawn)), labels[indices]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    # Not the root of a mean: a norm has a gradient at 0 too.
    return torch.linalg.vector_norm((a - b).flatten(1), dim=1) / math.sqrt(a[0].numel())
