"""Pixels between the levels of images and what networks compute with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ablkit.shapes import Tensor

_BATCH = 16


def floats(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 images (n h w c) as floats in [0, 1] (n c h w) on a device."""
    return torch.tensor(images, device=device).permute(0, 3, 1, 2).float() / 255


def levels(x: Tensor) -> np.ndarray:
    """Floats in [0, 1] (n c h w) as uint8 images (n h w c), rounded."""
    return (x.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


@torch.inference_mode()
def in_batches(change: Callable[[Tensor], Tensor], images: np.ndarray, device: torch.device) -> list[Tensor]:
    """What a network makes of uint8 images (n h w c), batch by batch and on the CPU; it is given floats in [0, 1]."""
    found = []
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        # Always as many images: the libraries compute batches of other sizes in other orders.
        filled = np.concatenate([batch, np.zeros((_BATCH - len(batch), *images.shape[1:]), np.uint8)])
        x = floats(filled, device).contiguous(memory_format=torch.channels_last)
        found.append(change(x)[: len(batch)].cpu())
    return found
