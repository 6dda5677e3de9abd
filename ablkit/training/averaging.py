"""An average of the weights along a training, and batch norm statistics that fit the weights they stand beside."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ablkit import models
from ablkit.randomness import torch_stream
from ablkit.shapes import Int64, Tensor, UInt8
from ablkit.training import hardware


class Average:
    """The exponential moving average of a model's parameters.

    After t steps it is the mean of the parameters after each step, those of step s weighted with decay ** (t - s). Sums
    and total weight lie on the device and are changed in place, so that `update` can be part of a CUDA graph.

    Args:
        decay: what the weight of the past is multiplied by in each step; 0.99 averages over about 100 steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        parameters = [parameter.detach() for parameter in model.parameters()]
        one = torch.ones((), device=parameters[0].device)
        self._followed = [*parameters, one]
        # The last of them follows the constant 1: the total weight, which is below 1 as the first sum is 0.
        self._sums = [torch.zeros_like(tensor) for tensor in self._followed]

    def update(self) -> None:
        """Take in the parameters as they are now."""
        torch._foreach_lerp_(self._sums, self._followed, 1 - self.decay)

    def model(self, like: nn.Module) -> nn.Module:
        """A copy of `like`, the model that is averaged, with the averaged parameters; its buffers stay as they are."""
        *sums, weight = self._sums
        averaged = copy.deepcopy(like)
        with torch.no_grad():
            for parameter, total in zip(averaged.parameters(), sums, strict=True):
                parameter.copy_(total / weight)
        return averaged

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by name."""
        return {f"average.{index}": tensor for index, tensor in enumerate(self._sums)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


def drawn_for_statistics(n: int, count: int, seed: int) -> Int64[Tensor, " k"]:
    """Indices of the `count` training images, or of all where there are fewer, that batch norm statistics come from."""
    return torch.randperm(n, generator=torch_stream(seed, "statistics"))[:count]


def with_fresh_statistics(model: nn.Module, images: UInt8[Tensor, "k h w c"], precision: str = "auto") -> nn.Module:
    """A copy of `model`, in eval mode, whose batch norms hold the statistics of `images`.

    The running statistics of a training lag behind its weights. Here the images pass once, as one batch, so that each
    layer is measured on what the layers before it give with their own new statistics. Larger images than 64 x 64 pass
    in batches of about equal size, as few as hold no more pixels than 2,048 images of 64 x 64 do; a mean and a variance
    are then the means of those of the batches. A model without batch norm is copied as it is.

    Args:
        images: on the device of the model; 2,048 of 32 x 32 take about 1 GB there for a moment, larger ones up to four
            times as much.
    """
    place = hardware.of(model, precision)
    fresh = copy.deepcopy(model).eval()
    if norms := models.batch_norms(fresh):
        seen = 0
        for norm in norms:
            norm.train()
        with models.statistics_momentum(norms, 1.0), torch.no_grad(), place.autocast():
            for batch in images.tensor_split(_batches(*images.shape[:3])):
                seen += len(batch)
                for norm in norms:
                    norm.momentum = len(batch) / seen  # 1 for the first: it takes the place of what was there
                fresh(place.inputs(batch))
    return fresh.eval()


_MOST_PIXELS = 2048 * 64 * 64
"""Of a batch for statistics, where the images are larger than 64 x 64."""


def _batches(number: int, height: int, width: int) -> int:
    """Into how many batches the images for statistics are split."""
    return 1 if height * width <= 64 * 64 else min(number, -(-number * height * width // _MOST_PIXELS))
