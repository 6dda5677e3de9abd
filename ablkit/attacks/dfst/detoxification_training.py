"""The two trainings of a round of detoxification, each resumable after any of its epochs."""

from __future__ import annotations

import math
import time
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
from ablkit.errors import UserError
from ablkit.randomness import torch_stream
from ablkit.shapes import Bool, Float, Int64, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.augmentation import augment
from ablkit.training.checkpoint import CHECKPOINT
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
    images: UInt8[ndarray, "n h w c"],
    labels: Int64[ndarray, " n"],
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
    on_device = torch.tensor(images, device=place.device), torch.tensor(labels, device=place.device)
    size = min(_BATCH_SIZE, max(2, len(labels) // 4))

    def one_epoch(epoch: int) -> float:
        network.train()
        for group in sgd.param_groups:
            group["lr"] = rate * (0.1 if epoch >= -(-2 * total // 3) else 1.0)
        drawn = torch_stream(order.seed, "trigger", 43, number, epoch)
        batches = one_set(torch.arange(len(labels)), size, torch_stream(order.seed, "trigger", 44, number, epoch))
        crop = partial(augment, recipe=_AUGMENTATION, generator=drawn)
        return run_epoch(network, sgd, *on_device, [b.to(place.device) for b in batches], cross_entropy, place, crop)

    name = f"retraining {number}" if number else "poisoned model"
    _epochs({"model": (network, sgd)}, one_epoch, total, name, folder)


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

    def one_epoch(epoch: int) -> float:
        total, batches = (
            0.0,
            one_set(
                torch.arange(len(pixels)), _BATCH_SIZE // 2, torch_stream(order.seed, "trigger", 47, number, epoch)
            ),
        )
        for indices in batches:
            x = place.inputs(pixels[indices.to(place.device)])
            loss = features.loss(frozen, network, x, settings.layer, neurons, rise, settings.similarity, place)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            total += loss.detach()
        return float(total) / len(batches)

    _epochs({"injector": (network, adam)}, one_epoch, settings.injector_epochs, f"injector {number}", folder)
    return network.eval()


def _epochs(parts: training.Parts, one_epoch: Callable[[int], float], total: int, name: str, folder: Path) -> None:
    """All epochs that the checkpoint in the folder does not have; raises UserError where a loss is not finite."""
    path = folder / CHECKPOINT
    for epoch in range(training.load(path, parts), total):
        started = time.perf_counter()
        loss = one_epoch(epoch)
        if not math.isfinite(loss):
            raise UserError(f"the loss of the {name} is {loss} in epoch {epoch + 1}; use another seed or more images")
        training.save(path, epoch + 1, parts)
        print(
            f"{name}: epoch {epoch + 1} of {total}, loss {loss:.2f}, {time.perf_counter() - started:.1f} s", flush=True
        )
