"""Pixels between the levels of images and what networks compute with."""

from __future__ import annotations

import numpy as np
import torch

from ablkit.shapes import Tensor


def floats(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 images (n h w c) as floats in [0, 1] (n c h w) on a device."""
    return torch.tensor(images, device=device).permute(0, 3, 1, 2).float() / 255


def levels(x: Tensor) -> np.ndarray:
    """Floats in [0, 1] (n c h w) as uint8 images (n h w c), rounded."""
    return (x.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
