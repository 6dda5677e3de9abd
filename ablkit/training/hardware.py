"""Where a model computes and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from ablkit.errors import UserError, unknown
from ablkit.shapes import Float, Tensor, UInt8

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Hardware:
    """A device and a precision, both decided; see `choose`."""

    device: torch.device
    precision: Literal["fp32", "bf16"]

    @property
    def evaluation_batch(self) -> int:
        """Images in one batch of a pass without gradients: on a CPU as many as stay in its caches."""
        return 32 if self.device.type == "cpu" else 2048

    def autocast(self) -> torch.autocast:
        """The context in which a forward pass runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def place(self, model: nn.Module) -> nn.Module:
        """`model` on the device, with its weights in channels-last order, the faster one on CPU and on tensor cores.

        On CUDA the whole process then takes algorithms that give the same bits each time, and full float32 for all that
        autocast does not turn into bf16: whatever else was placed before, the same pass gives the same.
        """
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        return model.to(self.device).to(memory_format=torch.channels_last)

    def inputs(self, images: UInt8[Tensor, "n h w c"]) -> Float[Tensor, "n c h w"]:
        """What a model takes: floats in [0, 1]; the permuted view is channels-last without a copy."""
        return images.permute(0, 3, 1, 2).float().div_(255)


def choose(device: str = "auto", precision: str = "auto") -> Hardware:
    """Decide on device and precision.

    Args:
        device: `auto` takes a CUDA device where there is one.
        precision: `auto` takes bf16 autocast where the device multiplies bf16 in hardware, else fp32.

    Raises UserError for unknown names and for a device that is not there.
    """
    if device not in get_args(DeviceName):
        raise unknown("device", device, get_args(DeviceName))
    if precision not in get_args(Precision):
        raise unknown("precision", precision, get_args(Precision))
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' is not available here; use device 'cpu' or 'auto'")
    where = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    if precision == "auto":
        precision = "bf16" if _multiplies_bf16(where) else "fp32"
    return Hardware(where, precision)


def name(place: Hardware) -> str:
    """The model of a GPU, of which no two need round alike; empty on a CPU."""
    return torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else ""


def of(model: nn.Module, precision: str = "auto") -> Hardware:
    """The hardware that `model` is on."""
    return choose(next(model.parameters()).device.type, precision)


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public question for this; without the instruction bf16 is emulated and slower than fp32.
    has_bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(has_bf16())
