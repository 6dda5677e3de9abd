"""The two trainings of a round of detoxification, each resumable after any of its epochs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from ablkit.attacks.attack import Order
from ablkit.attacks.attacker import training
from ablkit.attacks.dfst import injector as features
from ablkit.attacks.dfst.networks import Injector, build
from ablkit.attacks.dfst.settings import Settings
from ablkit.data.images import Images
from ablkit.randomness import torch_stream
from ablkit.shapes import Bool, Float, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.augmentation import augment
from ablkit.training.epoch import one_set, run_epoch
from ablkit.training.losses import cross_entropy
from ablkit.training.recipe import recipe

Make = Callable[[Path], tuple[dict[str, Tensor], dict[str, float]]]

_FIRST_RATE = 0.1
_RETRAIN_RATE = 0.02
_INJECTOR_RATE = 1e-3
_BATCH_SIZE = 64
_AUGMENTATION = recipe("quick", cutout_length=0)


def model(
    network: nn.Module,
    order: Order,
    data: Images,
    settings: Settings,
    number: int,
    folder: Path,
) -> None:
    """Train a model in place with crop and flip: `model_epochs` in round 0, `retrain_epochs` after.

    SGD with momentum 0.9 and weight decay 5e-4; learning rate 0.1 in round 0 and 0.02 after, a tenth of it in the last
    third of the epochs.
    """
    place = hardware.of(network, order.precision)
    total, rate = (settings.retrain_epochs, _RETRAIN_RATE) if number else (settings.model_epochs, _FIRST_RATE)
    sgd = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    images, labels = (torch.tensor(part, device=place.device) for part in (data.images, data.labels))
    size = min(_BATCH_SIZE, max(2, len(data) // 4))

    def one_epoch(epoch: int) -> dict[str, float]:
        network.train()
        drawn = torch_stream(order.seed, "trigger", 43, number, epoch)
        batches = one_set(torch.arange(len(data)), size, torch_stream(order.seed, "trigger", 44, number, epoch))
        crop = partial(augment, recipe=_AUGMENTATION.fitting(data), generator=drawn)
        on_place = [batch.to(place.device) for batch in batches]
        return {"loss": run_epoch(network, sgd, images, labels, on_place, cross_entropy, place, crop)}

    name = f"retraining {number}" if number else "poisoned model"
    training.run(folder, name, {"model": (network, sgd)}, total, one_epoch, partial(training.dropped, epochs=total))


def injector(
    frozen: nn.Module,
    order: Order,
    images: UInt8[ndarray, "n h w c"],
    neurons: Bool[Tensor, " d"],
    rise: Float[Tensor, " d"],
    settings: Settings,
    number: int,
    folder: Path,
) -> nn.Module:
    """The feature injector of a round, in eval mode: Adam on `injector.loss` over at most `images` images."""
    place = hardware.of(frozen, order.precision)
    network = build(partial(Injector, images.shape[3], settings.width), order.seed, 45, number)
    network = place.place(network)
    adam = torch.optim.Adam(network.parameters(), lr=_INJECTOR_RATE)
    drawn = torch.randperm(len(images), generator=torch_stream(order.seed, "trigger", 46, number))
    pixels = torch.tensor(images[drawn[: settings.images].numpy()], device=place.device)

    def one_epoch(epoch: int) -> dict[str, float]:
        drawn, seen = torch_stream(order.seed, "trigger", 47, number, epoch), []
        for indices in one_set(torch.arange(len(pixels)), _BATCH_SIZE // 2, drawn):
            x = place.inputs(pixels[indices.to(place.device)])
            loss = features.loss(frozen, network, x, settings.layer, neurons, rise, settings.similarity, place)
            training.step(loss, adam)
            seen.append({"loss": loss})
        return training.means(seen)

    parts = {"injector": (network, adam)}
    training.run(folder, f"injector {number}", parts, settings.injector_epochs, one_epoch, lambda epoch: 1.0)
    return network.eval()
