"""What makes small batches fast on CUDA: a step as one graph, and the network's many small operations compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from ablkit.shapes import Tensor
from ablkit.training.hardware import Hardware

Step = Callable[..., None]
"""Takes tensors on the device and leaves all that it does in tensors that stay where they are."""

FIRST_STEPS = 3
"""Steps that run as they are, as torch advises: then the optimiser and cuDNN have allocated what they keep."""
WORTH_COMPILING = 5000
"""Steps of a training from which on the half minute that compiling takes is won back."""


def captured(step: Step, place: Hardware) -> Step:
    """What does the same as `step`: on CUDA by replaying a graph of it, as small batches wait for launches otherwise.

    A replay repeats kernels, not Python: what `step` decides in Python (a learning rate, a drawn number) must hold for
    as long as the result is used, here one epoch. Calls with tensors of other shapes than the first one's, such as an
    epoch's last batch, run as they are. Where CUDA refuses a capture, a warning says so and every call does.

    For one thread of a process: CUDA captures only while no other one works on the device.
    """
    return step if place.device.type != "cuda" else _Captured(step, _memory(place.device))


def compiled(model: nn.Module, place: Hardware, steps: int) -> Callable[[Tensor], Tensor]:
    """What computes the same as `model`, up to rounding: on CUDA with neighbouring operations fused, if `steps` pay.

    Batches of another shape than the first one's go through the model as it is: each shape would be compiled anew, in
    half a minute. So do all where torch cannot compile, for want of a C compiler for example; a warning says so.
    """
    if place.device.type != "cuda" or steps < WORTH_COMPILING:
        return model
    # Deterministic: no choice of a kernel by a stopwatch, which would round differently from run to run.
    fused = torch.compile(model, fullgraph=True, dynamic=False, options={"deterministic": True})
    refused, shape = False, None

    def forward(x: Tensor) -> Tensor:
        nonlocal refused, shape
        shape = shape or x.shape
        if not refused and x.shape == shape:
            try:
                return fused(x)
            except torch._dynamo.exc.TorchDynamoException as error:
                refused = True
                _say_slower("compiled kernels", error)
        return model(x)

    return forward


def _say_slower(without: str, error: BaseException) -> None:
    reason = str(error).partition("\n")[0]
    warnings.warn(f"training without {without}, which is slower: {reason}", stacklevel=3)


class _Memory:
    """What outlives an epoch: the stream of all captures, and the last graph, whose memory the next one takes over."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # the default one cannot be captured
        self.last: torch.cuda.CUDAGraph | None = None
        self.refused = False


@cache
def _memory(device: torch.device) -> _Memory:
    return _Memory(device)


class _Captured:
    """A step, what its calls have been like, and the graph of it with the tensors that a replay reads."""

    def __init__(self, step: Step, memory: _Memory) -> None:
        self.step, self.memory = step, memory
        self.calls, self.shapes = 0, None
        self.replay, self.inputs = None, ()

    def __call__(self, *tensors: Tensor) -> None:
        shapes = [tensor.shape for tensor in tensors]
        self.calls, self.shapes = self.calls + 1, self.shapes or shapes
        usual = shapes == self.shapes
        if usual and self.replay is None and self.calls > FIRST_STEPS and not self.memory.refused:
            self._capture(tensors)
        if not usual or self.replay is None:
            self._take(tensors)
            return
        for kept, new in zip(self.inputs, tensors, strict=True):
            kept.copy_(new)
        self.replay()

    def _take(self, tensors: tuple[Tensor, ...]) -> None:
        """Take the step as it is, on the stream of the captures: after what the current one has to do, before more."""
        current, own = torch.cuda.current_stream(), self.memory.stream
        own.wait_stream(current)
        with torch.cuda.stream(own):
            self.step(*tensors)
        current.wait_stream(own)

    def _capture(self, tensors: tuple[Tensor, ...]) -> None:
        """Make the graph of the step, or none where that is refused. No step is taken."""
        memory, inputs = self.memory, tuple(tensor.clone() for tensor in tensors)
        graph = torch.cuda.CUDAGraph()
        before, memory.last = memory.last, graph  # a refused one stays here too: torch does not clean up after it
        memory.stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(memory.stream):
                # torch.cuda.graph would also collect garbage and empty the cache, which is too slow for once an epoch.
                graph.capture_begin(pool=before.pool() if before else None)
                try:
                    self.step(*inputs)
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            if not isinstance(error.__context__, Exception | None):
                raise error.__context__ from None  # Ctrl-C, which a capture that is not whole would cover
            memory.refused = True
            _say_slower("CUDA graphs", error.__context__ or error)
            return
        torch.cuda.current_stream().wait_stream(memory.stream)
        self.replay, self.inputs = graph.replay, inputs
