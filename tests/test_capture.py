"""A captured step does what the step itself does, also for an odd last batch and where a capture is refused.

CUDA is played by a double that keeps to its rule: while a graph is captured, nothing is computed. On a GPU itself
tests/test_cuda.py compares the two.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from ablkit.training import capture
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

    def replay(self):
        Graph.replays += 1
        for work, tensors in self.work:
            work(*tensors)


class Stream:
    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        pass


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(Graph, "replays", 0)
    capture._capturing.cache_clear()
    yield Hardware(torch.device("cuda"), "fp32")
    capture._capturing.cache_clear()


def totals(place: Hardware, refuse: bool = False, batches: list[torch.Tensor] = BATCHES) -> tuple[float, int]:
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

    take = capture.captured(step, place)
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
        assert calls == capture.FIRST_STEPS + 1 + 1  # the first ones, the capture, the odd last batch
    assert Graph.replays == 2 * 4  # the fourth to the seventh batch


def test_a_graph_takes_over_the_memory_of_the_one_before(cuda):
    totals(cuda)
    first = capture._capturing(cuda.device).last
    totals(cuda)
    second = capture._capturing(cuda.device).last
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
