"""Passes over many images without gradients: the model in eval mode, nothing augmented, large batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ablkit import models
from ablkit.shapes import Float, Int64, Tensor, UInt8, ndarray
from ablkit.training import hardware


def predict(model: nn.Module, images: UInt8[ndarray, "n h w c"], precision: str = "auto") -> Int64[ndarray, " n"]:
    """The class that `model` takes each image for; there may be no image."""
    if not len(images):
        return np.empty(0, np.int64)
    return logits_of(model, images, precision).argmax(dim=1).cpu().numpy()


def per_example_losses(
    model: nn.Module,
    images: UInt8[ndarray, "n h w c"] | UInt8[Tensor, "n h w c"],
    labels: Int64[ndarray, " n"] | Int64[Tensor, " n"],
    precision: str = "auto",
) -> Float[ndarray, " n"]:
    """Plain cross entropy of each example, float32: what isolation ranks on."""
    logits = logits_of(model, images, precision)
    return F.cross_entropy(logits, _on(logits.device, labels), reduction="none").cpu().numpy()


def features_of(
    model: nn.Module, images: UInt8[ndarray, "n h w c"] | UInt8[Tensor, "n h w c"], precision: str = "auto"
) -> Float[ndarray, "n d"]:
    """What the layers of `model` say of each image, float32; see `models.features`."""
    return _passed(model, partial(models.features, model), images, precision).cpu().numpy()


def logits_of(
    model: nn.Module, images: UInt8[ndarray, "n h w c"] | UInt8[Tensor, "n h w c"], precision: str
) -> Float[Tensor, "n classes"]:
    """What `model` says of each image, float32, on the device of the model; fastest where the images are there too."""
    return _passed(model, model, images, precision)


def _passed(
    model: nn.Module, asked: Callable[[Tensor], Tensor], images: ndarray | Tensor, precision: str
) -> Float[Tensor, "n d"]:
    """What `asked`, the model or a part of it, gives for each image, in large batches and without gradients."""
    place = hardware.of(model, precision)

    def one_batch(start: int) -> Tensor:
        # Both contexts belong to a thread.
        with torch.inference_mode(), place.autocast():
            batch = _on(place.device, images[start : start + place.evaluation_batch])
            return asked(place.inputs(batch)).float()

    was_training = model.training
    model.eval()
    try:
        starts = range(0, len(images), place.evaluation_batch)
        return torch.cat(list(_each(one_batch, starts, place)))
    finally:
        model.train(was_training)


def _on(device: torch.device, values: ndarray | Tensor) -> Tensor:
    # An array is copied, as it may be a read-only memory map.
    return values.to(device) if isinstance(values, Tensor) else torch.tensor(values, device=device)


def _each(work: Callable[[int], Tensor], starts: Iterable[int], place: hardware.Hardware) -> Iterator[Tensor]:
    """The results of `work` in order; on a CPU each core takes whole batches.

    That is faster than all cores together on one batch, as nothing waits at the end of each layer.
    """
    cores = torch.get_num_threads()
    if place.device.type != "cpu" or cores == 1:
        yield from map(work, starts)
        return
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, starts)
    finally:
        torch.set_num_threads(cores)  # what a thread of the pool sets would else become the default of new ones
