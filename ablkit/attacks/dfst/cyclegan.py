"""CycleGAN (Zhu et al. 2017, arXiv 1703.10593): two generators that carry images from one domain into another and back.

G goes from the training images to the style, F back. Both discriminators tell real images of their domain from
generated ones by least squares. The generators descend on

    (D_style(G(x)) - 1)^2 + (D_images(F(y)) - 1)^2
    + lambda_cycle (|F(G(x)) - x| + |G(F(y)) - y|) + lambda_identity (|G(y) - y| + |F(x) - x|)

with means over positions, images in [-1, 1], x a training image and y one of the style. Weights of the losses are the
DFST authors' (see `settings`), the networks the kit's own (see `networks`). The rest is as in that paper but for what a
CPU cannot afford: the size of the networks, fewer and larger steps (batches of 16, learning rate 5e-4 that falls
linearly to 0 over the second half), and no store of older generated images for the discriminators.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ablkit.attacks.attack import Order
from ablkit.attacks.attacker import pixels, training
from ablkit.attacks.dfst.networks import Discriminator, Generator, build
from ablkit.attacks.dfst.settings import Settings
from ablkit.randomness import torch_stream
from ablkit.shapes import Float, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.hardware import Hardware

_BATCH_SIZE = 16
_LEARNING_RATE = 5e-4


def signed(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """From [0, 1] to [-1, 1]."""
    return 2 * x - 1


def train(
    order: Order,
    images: UInt8[ndarray, "n h w c"],
    style: UInt8[ndarray, "m h w c"],
    settings: Settings,
    folder: Path,
) -> dict[str, nn.Module]:
    """The generators `style` (G) and `back` (F), in eval mode; goes on from the checkpoint in `folder`.

    Raises UserError where a loss is not finite.
    """
    place = hardware.choose(order.device, order.precision)
    channels = images.shape[3]
    generator = partial(Generator, channels, settings.width, settings.blocks)
    discriminator = partial(Discriminator, channels, settings.width)
    makers = {"style": generator, "back": generator, "judge_style": discriminator, "judge_images": discriminator}
    parts = {}
    for counter, (name, make) in enumerate(makers.items()):
        network = place.place(build(make, order.seed, 40, counter))
        parts[name] = network, torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, betas=(0.5, 0.999))

    def one_epoch(epoch: int) -> dict[str, float]:
        return _epoch(parts, _batches(images, style, order.seed, epoch, place), settings, place)

    def factor(epoch: int) -> float:
        return min(1.0, 2 * (settings.epochs - epoch) / (settings.epochs + 1))

    way_out = "lower lambda_cycle or lambda_identity"
    training.run(folder, "CycleGAN", parts, settings.epochs, one_epoch, factor, way_out)
    return {name: parts[name][0].eval() for name in ("style", "back")}


def _epoch(
    parts: training.Parts, batches: Iterator[tuple[Tensor, Tensor]], settings: Settings, place: Hardware
) -> dict[str, float]:
    (style, first), (back, second) = parts["style"], parts["back"]
    (judge_style, third), (judge_images, fourth) = parts["judge_style"], parts["judge_images"]
    seen = []
    for x, y in batches:
        with place.autocast():
            to_style, to_images = style(x), back(y)
            cycle = F.l1_loss(back(to_style), x) + F.l1_loss(style(to_images), y)
            identity = F.l1_loss(style(y), y) + F.l1_loss(back(x), x)
            fooled = _missed(judge_style(to_style), 1) + _missed(judge_images(to_images), 1)
        loss = fooled + settings.lambda_cycle * cycle + settings.lambda_identity * identity
        training.step(loss, first, second)
        with place.autocast():
            judged = _missed(judge_style(y), 1) + _missed(judge_style(to_style.detach()), 0)
            judged = judged + _missed(judge_images(x), 1) + _missed(judge_images(to_images.detach()), 0)
        training.step(judged / 2, third, fourth)
        seen.append({"loss": loss + judged / 2, "adversarial": fooled, "cycle": cycle, "identity": identity})
    return training.means(seen)


def _missed(judged: Tensor, wanted: int) -> Tensor:
    return ((judged - wanted) ** 2).mean()


def _batches(
    images: UInt8[ndarray, "n h w c"], style: UInt8[ndarray, "m h w c"], seed: int, epoch: int, place: Hardware
) -> Iterator[tuple[Tensor, Tensor]]:
    """Each training image once, beside as many pictures of the style, which start anew where they run out."""
    drawn = torch_stream(seed, "trigger", 41, epoch)
    members = torch.randperm(len(images), generator=drawn)
    others = torch.cat([torch.randperm(len(style), generator=drawn) for _ in range(-(-len(images) // len(style)))])
    for first, second in zip(members.split(_BATCH_SIZE), others[: len(images)].split(_BATCH_SIZE), strict=True):
        x, y = (
            pixels.floats(images[first.numpy()], place.device),
            pixels.floats(style[second.numpy()], place.device),
        )
        yield signed(x), signed(y)
