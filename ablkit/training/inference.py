"""Passes over many images without gradients: the model in eval mode, nothing augmented, large batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from ablkit.shapes import Float, Int64, Tensor, UInt8, ndarray
from ablkit.training import hardware


def predict(model: nn.Module, images: UInt8[ndarray, "n h w c"], precision: str = "auto") -> Int64[ndarray, " n"]:
    """The class that `model` takes each image for."""
    logits = list(_logits(model, images, precision))
    return torch.cat(logits).argmax(dim=1).cpu().numpy()


def per_example_losses(
    model: nn.Module, images: UInt8[ndarray, "n h w c"], labels: Int64[ndarray, " n"], precision: str = "auto"
) -> Float[ndarray, " n"]:
    """Plain cross entropy of each example, float32: what isolation ranks on."""
    logits = torch.cat(list(_logits(model, images, precision)))
    return F.cross_entropy(logits, torch.tensor(labels, device=logits.device), reduction="none").cpu().numpy()


def _logits(model: nn.Module, images: UInt8[ndarray, "n h w c"], precision: str) -> Iterator[Float[Tensor, "b k"]]:
    place = hardware.of(model, precision)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode(), place.autocast():
            for start in range(0, len(images), place.evaluation_batch):
                # A copy of each batch: the images may be a read-only memory map.
                batch = torch.tensor(images[start : start + place.evaluation_batch], device=place.device)
                yield model(place.inputs(batch)).float()
    finally:
        model.train(was_training)
