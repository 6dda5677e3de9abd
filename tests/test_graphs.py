"""A captured step does what the step itself does, also for an odd last batch and where a capture is refused.

CUDA is played by a double that keeps to its rule: while a graph is captured, nothing is computed. On a GPU itself
tests/test_cuda.py compares the two.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterable
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import nn

from ablkit.training import epoch, graphs
from ablkit.training.hardware import Hardware

BATCHES = [torch.full((4,), float(value)) for value in range(1, 8)] + [torch.ones(3)]


class Graph:
    """What CUDA does with a graph: record now, compute at each replay, on the tensors that were recorded."""

    recording: Graph | None = None
    replays = 0

    def __init__(self):
        self.work = []

    def capture_begin(self, pool):
        Graph.recording = self
        self.shared = pool or self

    def pool(self):
        return self.shared

    def capture_end(self):
        Graph.recording = None
        if sys.exc_info()[0] is not None:
            raise RuntimeError("capturing stream has unjoined work")

    def replay(self):
        Graph.replays += 1
        for work, tensors in self.work:
            work(*tensors)


class Stream:
    """Keeps who waits for whom: what is not waited for may be computed before its inputs, or after its reader."""

    def __init__(self, *_):
        self.waits_for = []

    def wait_stream(self, other):
        self.waits_for.append(other)


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    current = [Stream()]

    @contextmanager
    def on(stream):
        current.append(stream)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current[-1])
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(Graph, "replays", 0)
    place = Hardware(torch.device("cuda"), "fp32")
    graphs._memory.cache_clear()
    yield place
    graphs._memory.cache_clear()


def totals(place: Hardware, refuse: bool = False, batches: Iterable[torch.Tensor] = BATCHES) -> tuple[float, int]:
    """The sum that a step leaves after all batches, and how often its Python ran."""
    total, calls = torch.zeros(()), 0

    def step(batch):
        nonlocal calls
        calls += 1
        if Graph.recording is None:
            total.add_(batch.sum())
        elif refuse:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        else:
            Graph.recording.work.append((lambda kept: total.add_(kept.sum()), [batch]))

    take = graphs.captured(step, place)
    for batch in batches:
        take(batch)
    return total.item(), calls


def test_on_a_cpu_the_step_stays_as_it_is():
    assert totals(Hardware(torch.device("cpu"), "fp32")) == (4 * 28 + 3, len(BATCHES))
    assert Graph.replays == 0


def test_replays_do_what_the_step_does(cuda):
    for _ in range(2):  # two epochs
        total, calls = totals(cuda)
        assert total == 4 * 28 + 3
        assert calls == graphs.FIRST_STEPS + 1 + 1  # the first ones, the capture, the odd last batch
    assert Graph.replays == 2 * 4  # the fourth to the seventh batch


def test_a_graph_takes_over_the_memory_of_the_one_before(cuda):
    totals(cuda)
    memory = graphs._memory(cuda.device)
    first = memory.last
    totals(cuda)
    second = memory.last
    assert second is not first and second.pool() is first.pool()


def test_a_batch_of_another_size_is_never_captured(cuda):
    total, calls = totals(cuda, batches=[*BATCHES[:3], BATCHES[-1]])
    assert (total, calls, Graph.replays) == (4 * 6 + 3, 4, 0)


def test_where_a_capture_is_refused_every_step_runs_as_it_is_and_a_warning_says_so(cuda):
    with pytest.warns(
        UserWarning, match=r"without CUDA graphs, which is slower: operation not permitted .* capturing$"
    ):
        total, calls = totals(cuda, refuse=True)
    assert (total, calls) == (4 * 28 + 3, len(BATCHES) + 1)
    # It is not tried again, in this epoch or the next.
    assert totals(cuda) == (4 * 28 + 3, len(BATCHES))
    assert Graph.replays == 0


def test_ctrl_c_during_a_capture_is_no_refusal(cuda):
    def interrupted(batch):
        if Graph.recording is not None:
            raise KeyboardInterrupt

    take = graphs.captured(interrupted, cuda)
    with pytest.raises(KeyboardInterrupt):
        for batch in BATCHES:
            take(batch)
    assert not graphs._memory(cuda.device).refused


def _use(held: torch.Tensor, batch: object) -> None:
    held.add_(0)


def test_what_a_training_held_is_let_go_when_it_ends(cuda):
    held = torch.zeros(())
    take = graphs.captured(partial(_use, held), cuda)
    for batch in BATCHES:
        take(batch)
    gone = weakref.ref(held)
    del held, take
    gc.collect()
    assert gone() is None


def test_each_step_waits_for_what_comes_before_it_and_is_waited_for(cuda):
    take, outer, own = (
        graphs.captured(lambda batch: None, cuda),
        torch.cuda.current_stream(),
        graphs._memory(cuda.device).stream,
    )
    for _ in range(graphs.FIRST_STEPS):
        take(torch.ones(4))
    assert own.waits_for == [outer] * graphs.FIRST_STEPS
    assert outer.waits_for == [own] * graphs.FIRST_STEPS
    take(torch.ones(4))  # captured: the same
    assert own.waits_for == [outer] * 4 and outer.waits_for == [own] * 4


class Compiler:
    """Plays torch.compile, which needs a GPU and half a minute: says what went through it, or refuses."""

    def __init__(self, monkeypatch, refuses: bool = False):
        self.seen, self.refuses = [], refuses
        monkeypatch.setattr(torch, "compile", lambda model, **_: lambda x: self.through(model, x))

    def through(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if self.refuses:
            raise torch._dynamo.exc.TorchDynamoException("no C compiler\nand more")
        self.seen.append(len(x))
        return model(x)


def test_batches_of_the_usual_shape_go_through_the_compiled_model(cuda, monkeypatch):
    compiler, model = Compiler(monkeypatch), nn.Linear(2, 2)
    forward = graphs.compiled(model, cuda, graphs.WORTH_COMPILING)
    for size in (4, 4, 3, 4):
        assert forward(torch.ones(size, 2)).equal(model(torch.ones(size, 2)))
    assert compiler.seen == [4, 4, 4]


def test_a_short_training_or_one_on_a_cpu_is_not_compiled(cuda, monkeypatch):
    Compiler(monkeypatch)
    model = nn.Linear(2, 2)
    assert graphs.compiled(model, cuda, graphs.WORTH_COMPILING - 1) is model
    assert graphs.compiled(model, Hardware(torch.device("cpu"), "fp32"), 10**9) is model


def test_where_torch_cannot_compile_the_model_runs_as_it_is_and_a_warning_says_so(cuda, monkeypatch):
    Compiler(monkeypatch, refuses=True)
    model = nn.Linear(2, 2)
    forward = graphs.compiled(model, cuda, graphs.WORTH_COMPILING)
    with pytest.warns(UserWarning, match="without compiled kernels, which is slower: no C compiler$"):
        assert forward(torch.ones(4, 2)).equal(model(torch.ones(4, 2)))
    assert forward(torch.ones(4, 2)).equal(model(torch.ones(4, 2)))  # and says it once


def test_on_cuda_an_epoch_draws_many_batches_at_once():
    batches = list(torch.arange(10).split(4))
    assert [len(chunk) for chunk in epoch._chunks(batches, 2**25, Hardware(torch.device("cuda"), "fp32"))] == [2, 1]
    assert [len(chunk) for chunk in epoch._chunks(batches, 2**25, Hardware(torch.device("cpu"), "fp32"))] == [1, 1, 1]
    assert [len(chunk) for chunk in epoch._chunks(batches, 2**40, Hardware(torch.device("cuda"), "fp32"))] == [1, 1, 1]
