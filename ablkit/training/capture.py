"""A training step as one CUDA graph, launched at once in place of some hundred kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

from ablkit.shapes import Tensor
from ablkit.training.hardware import Hardware

Step = Callable[..., None]
"""Takes tensors on the device and leaves all that it does in tensors that stay where they are."""

FIRST_STEPS = 3
"""Steps that run as they are, as torch advises: then the optimiser and cuDNN have allocated what they keep."""


def captured(step: Step, place: Hardware) -> Step:
    """What does the same as `step`: on CUDA by replaying a graph of it, as small batches wait for launches otherwise.

    A replay repeats kernels, not Python: what `step` decides in Python (a learning rate, a drawn number) must hold for
    as long as the result is used, here one epoch. Calls with tensors of other shapes than the first one's, such as an
    epoch's last batch, run as they are. Where CUDA refuses a capture, a warning says so and every call does.

    To be used by one thread of a process: CUDA captures only while no other one works on the device.
    """
    if place.device.type != "cuda":
        return step
    capturing = _capturing(place.device)
    calls, graph, inputs, shapes = 0, None, (), None

    def take(*tensors: Tensor) -> None:
        nonlocal calls, graph, inputs, shapes
        calls += 1
        own = [tensor.shape for tensor in tensors]
        shapes = shapes or own
        if graph is None and calls > FIRST_STEPS and own == shapes and not capturing.refused:
            inputs = tuple(tensor.clone() for tensor in tensors)
            graph = capturing.graph_of(step, inputs)
        if graph is None or own != shapes:
            with capturing.on_its_stream():
                step(*tensors)
        else:
            for kept, new in zip(inputs, tensors, strict=True):
                kept.copy_(new)
            graph.replay()

    return take


@cache
def _capturing(device: torch.device) -> _Capturing:
    return _Capturing(device)


class _Capturing:
    """What outlives an epoch: the stream of all captures, and the last graph, whose memory the next one takes over."""

    def __init__(self, device: torch.device):
        self.stream = torch.cuda.Stream(device)  # the default one cannot be captured
        self.last, self.refused = None, False

    @contextmanager
    def on_its_stream(self) -> Iterator[None]:
        """Work that follows what is queued already and comes before what is queued next."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def graph_of(self, step: Step, inputs: tuple[Tensor, ...]):
        """The CUDA graph of `step` on `inputs`, which each replay reads anew; None where refused. Computes nothing."""
        graph = torch.cuda.CUDAGraph()
        before, self.last = self.last, graph  # a refused one stays here too: torch does not clean up after it
        try:
            with self.on_its_stream():
                # torch.cuda.graph would also collect garbage and empty the cache, which is too slow for once an epoch.
                graph.capture_begin(pool=before.pool() if before else None)
                try:
                    step(*inputs)
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            self.refused = True
            reason = str(error.__context__ or error).partition("\n")[0]
            warnings.warn(f"training without CUDA graphs, which is slower: {reason}", stacklevel=3)
            return None
        return graph
