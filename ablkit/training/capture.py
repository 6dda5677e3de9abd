"""A training step as one CUDA graph, launched at once in place of some hundred kernels; of several trainings as one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch

from ablkit.shapes import Tensor
from ablkit.training import hardware
from ablkit.training.hardware import Hardware
from ablkit.training.turns import Turns, seat

T = TypeVar("T")
Step = Callable[..., None]
"""Takes tensors on the device and leaves all that it does in tensors that stay where they are."""

FIRST_STEPS = 3
"""Steps that run as they are, as torch advises: then the optimiser and cuDNN have allocated what they keep."""


def captured(step: Step, place: Hardware) -> Step:
    """What does the same as `step`: on CUDA by replaying a graph of it, as small batches wait for launches otherwise.

    A replay repeats kernels, not Python: what `step` decides in Python (a learning rate, a drawn number) must hold for
    as long as the result is used, here one epoch. Calls with tensors of other shapes than the first one's, such as an
    epoch's last batch, run as they are. Where CUDA refuses a capture, a warning says so and every call does.

    The steps of trainings `side_by_side` become one graph. All others are for one thread of a process: CUDA captures
    only while no other one works on the device.
    """
    if place.device.type != "cuda":
        return step
    if seat() is None:
        known, graphs = _Known(step, 0), _graphs(place.device, 1)
        return lambda *tensors: graphs.take([known.given(tensors)])
    turns, number = seat()
    known = _Known(step, number)
    return lambda *tensors: turns.meet(number, known.given(tensors))


def side_by_side(trainings: Sequence[Callable[[], T]], device: str = "auto") -> list[T]:
    """What some trainings return, in their order: on one GPU their steps run at the same time, as one graph.

    Each computes what it computes alone. They are fastest where their epochs have equally many steps. Sets are to be
    poisoned before: an attack that trains something of its own holds a lock on it, for which another would wait for
    ever. On a CPU they run one after another; `ablkit sweep --workers` packs them there, a process each.

        side_by_side([partial(train, images, labels, 10, seed=seed, report=None) for seed in range(8)])

    Raises what the first of them raises that fails: on a GPU once the others have ended, on a CPU at once.
    """
    place = hardware.choose(device)
    if place.device.type != "cuda":
        return [training() for training in trainings]
    return Turns(_graphs(place.device, len(trainings)).take).run(trainings)


@cache
def _graphs(device: torch.device, members: int) -> _Graphs:
    return _Graphs(device, members)


class _Known:
    """A step, whose it is, what its calls have been like, and the graph that it is part of."""

    def __init__(self, step: Step, number: int) -> None:
        self.step, self.number = step, number
        self.calls, self.shapes, self.tensors = 0, None, ()
        self.graph: _Graph | None = None

    def given(self, tensors: tuple[Tensor, ...]) -> _Known:
        self.calls, self.tensors = self.calls + 1, tensors
        self.shapes = self.shapes or self._own_shapes()
        return self

    def is_usual(self) -> bool:
        return self._own_shapes() == self.shapes

    def _own_shapes(self) -> list[torch.Size]:
        return [tensor.shape for tensor in self.tensors]


@dataclass(frozen=True, eq=False)
class _Graph:
    """A CUDA graph of some steps, and for each the tensors that a replay reads."""

    replay: Callable[[], None]
    inputs: list[tuple[Tensor, ...]]

    def is_of(self, steps: list[_Known]) -> bool:
        return len(steps) == len(self.inputs) and all(known.graph is self for known in steps)

    def take(self, steps: list[_Known]) -> None:
        for kept, known in zip(self.inputs, steps, strict=True):
            for old, new in zip(kept, known.tensors, strict=True):
                old.copy_(new)
        self.replay()


class _Graphs:
    """What outlives an epoch: the streams of all captures, and the last graph, whose memory the next one takes over."""

    def __init__(self, device: torch.device, members: int) -> None:
        self.stream = torch.cuda.Stream(device)  # the default one cannot be captured
        self.streams = [torch.cuda.Stream(device) for _ in range(members)]
        self.last, self.refused = None, False

    def take(self, steps: list[_Known]) -> None:
        """Take these steps, one of each training: as one graph once they have come that far."""
        are_usual = all(known.is_usual() for known in steps)
        if are_usual and min(known.calls for known in steps) > FIRST_STEPS and not self._has_graph(steps):
            self._capture(steps)
        if are_usual and self._has_graph(steps):
            steps[0].graph.take(steps)
        else:
            self._beside(steps, [known.tensors for known in steps])

    def _has_graph(self, steps: list[_Known]) -> bool:
        return steps[0].graph is not None and steps[0].graph.is_of(steps)

    def _beside(self, steps: list[_Known], inputs: list[tuple[Tensor, ...]]) -> None:
        """Each step on a stream of its own: after what the current stream has to do, before what it is given next."""
        stream, own = torch.cuda.current_stream(), [self.streams[known.number] for known in steps]
        for beside, known, tensors in zip(own, steps, inputs, strict=True):
            beside.wait_stream(stream)
            with torch.cuda.stream(beside):
                known.step(*tensors)
        for beside in own:
            stream.wait_stream(beside)

    def _capture(self, steps: list[_Known]) -> None:
        """Make the graph of these steps, or none where that was or is refused. No step is taken."""
        if self.refused:
            return
        inputs = [tuple(tensor.clone() for tensor in known.tensors) for known in steps]
        graph = torch.cuda.CUDAGraph()
        before, self.last = self.last, graph  # a refused one stays here too: torch does not clean up after it
        self.stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self.stream):
                # torch.cuda.graph would also collect garbage and empty the cache, which is too slow for once an epoch.
                graph.capture_begin(pool=before.pool() if before else None)
                try:
                    self._beside(steps, inputs)
                finally:
                    graph.capture_end()
        except RuntimeError as error:
            if not isinstance(error.__context__, Exception | None):
                raise error.__context__ from None  # Ctrl-C, which a capture that is not whole would cover
            self.refused = True
            reason = str(error.__context__ or error).partition("\n")[0]
            warnings.warn(f"training without CUDA graphs, which is slower: {reason}", stacklevel=2)
            return
        torch.cuda.current_stream().wait_stream(self.stream)
        joint = _Graph(graph.replay, inputs)
        for known in steps:
            known.graph = joint
