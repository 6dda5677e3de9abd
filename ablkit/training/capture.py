"""A training step as one CUDA graph, launched at once in place of some hundred kernels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    as long as the result is used, here one epoch. Calls with tensors of other shapes than the captured ones, such as
    an epoch's last batch, run as they are. Where CUDA refuses the capture, a warning says so and every call does.
    """
    if place.device.type != "cuda":
        return step
    stream = torch.cuda.Stream(place.device)  # the default one cannot be captured
    calls, graph, inputs = 0, None, ()

    @contextmanager
    def on_the_stream() -> Iterator[None]:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            yield
        torch.cuda.current_stream().wait_stream(stream)

    def take(*tensors: Tensor) -> None:
        nonlocal calls, graph, inputs
        calls += 1
        if calls == FIRST_STEPS + 1:
            inputs = tuple(tensor.clone() for tensor in tensors)
            with on_the_stream():
                graph = _graph_of(step, inputs)
        if graph is None or any(new.shape != kept.shape for new, kept in zip(tensors, inputs, strict=True)):
            with on_the_stream():
                step(*tensors)
        else:
            for kept, new in zip(inputs, tensors, strict=True):
                kept.copy_(new)
            graph.replay()

    return take


def _graph_of(step: Step, inputs: tuple[Tensor, ...]):
    """The CUDA graph of `step` on `inputs`, read anew at each replay; None where refused. Computes nothing."""
    graph = torch.cuda.CUDAGraph()
    try:
        # torch.cuda.graph would also collect garbage and empty the cache, which is too slow for once an epoch.
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            step(*inputs)
        finally:
            graph.capture_end()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        warnings.warn(f"training without CUDA graphs, which is slower: {reason}", stacklevel=2)
        return None
    return graph
