"""A captured step does what the step itself does, also for an odd last batch, where a capture is refused, and as one of
several that become one graph.

CUDA is played by a double that keeps to its rule: while a graph is captured, nothing is computed. On a GPU itself
tests/test_cuda.py compares the two.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading
import weakref
from collections.abc import Iterable
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from conftest import train_toy, weights

from ablkit import training
from ablkit.errors import UserError
from ablkit.training import capture, hardware, loop
from ablkit.training.hardware import Hardware
from ablkit.training.turns import Turns, seat

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
    monkeypatch.setattr(hardware, "choose", lambda device: place)
    capture._graphs.cache_clear()
    yield place
    capture._graphs.cache_clear()


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
    graphs = capture._graphs(cuda.device, 1)
    first = graphs.last
    totals(cuda)
    second = graphs.last
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

    take = capture.captured(interrupted, cuda)
    with pytest.raises(KeyboardInterrupt):
        for batch in BATCHES:
            take(batch)
    assert not capture._graphs(cuda.device, 1).refused


SUM = 4 * 28 + 3


def test_one_thread_takes_and_captures_all_steps(cuda):
    # cuBLAS and cuDNN keep handles and plans by thread: another one would make them in the middle of a capture.
    threads = set()

    def trains():
        def step(batch):
            threads.add(threading.get_ident())

        take = capture.captured(step, cuda)
        for batch in BATCHES:
            take(batch)

    for _ in range(10):
        training.side_by_side([trains] * 8)
    assert threads == {threading.get_ident()}


def test_ctrl_c_ends_all_of_them(cuda):
    ended = []

    def trains():
        try:
            totals(cuda, batches=itertools.repeat(torch.ones(4)))
        except KeyboardInterrupt:
            ended.append("interrupted")
            raise

    def interrupts():
        def step(batch):
            raise KeyboardInterrupt

        capture.captured(step, cuda)(torch.ones(4))

    with pytest.raises(KeyboardInterrupt):
        training.side_by_side([trains, interrupts, trains])
    assert ended == ["interrupted"] * 2


def test_the_steps_of_several_trainings_become_one_graph(cuda):
    def two_epochs(batches: list[torch.Tensor]) -> float:
        return sum(totals(cuda, batches=batches)[0] for _ in range(2))

    tenfold = [10 * batch for batch in BATCHES]
    assert training.side_by_side([partial(two_epochs, BATCHES), partial(two_epochs, tenfold)]) == [2 * SUM, 20 * SUM]
    assert Graph.replays == 2 * 4  # no more than for one of them


def test_each_step_waits_for_what_comes_before_it_and_is_waited_for(cuda):
    known = [capture._Known(lambda batch: None, number) for number in range(2)]
    graphs, outer = capture._Graphs(cuda.device, 2), torch.cuda.current_stream()
    for _ in range(capture.FIRST_STEPS):
        graphs.take([step.given((torch.ones(4),)) for step in known])
    first, second = graphs.streams
    assert first.waits_for == second.waits_for == [outer] * capture.FIRST_STEPS
    assert outer.waits_for == [first, second] * capture.FIRST_STEPS
    outer.waits_for.clear()
    graphs.take([step.given((torch.ones(4),)) for step in known])  # captured: the same, beside the capture's stream
    assert graphs.stream.waits_for == [outer, first, second] and outer.waits_for == [graphs.stream]
    assert first.waits_for[-1] is second.waits_for[-1] is graphs.stream


def test_what_a_training_held_is_let_go_when_it_ends(cuda):
    held = torch.zeros(())
    take = capture.captured(lambda batch: held.add_(0), cuda)
    for batch in BATCHES:
        take(batch)
    gone = weakref.ref(held)
    del held, take
    gc.collect()
    assert gone() is None


def test_trainings_of_other_lengths_go_on_when_the_shorter_ones_have_ended(cuda):
    counts = [2, 9, 5, 30]
    works = [partial(totals, cuda, batches=[torch.ones(4)] * count) for count in counts]
    assert [total for total, _ in training.side_by_side(works)] == [4 * count for count in counts]
    # Three steps as they are; then a graph of three trainings, of two, and of the last alone.
    assert Graph.replays == 27


def test_a_training_that_fails_does_not_take_the_others_with_it(cuda):
    ended = []

    def fails():
        totals(cuda)
        raise UserError("the loss is nan")

    def goes_on():
        ended.append(totals(cuda, batches=BATCHES * 2)[0])

    with pytest.raises(UserError, match="loss is nan"):
        training.side_by_side([goes_on, fails, goes_on])
    assert ended == [2 * SUM] * 2


def test_what_a_joint_step_raises_reaches_every_training_and_none_hangs(cuda):
    heard = []

    def hears(batch):
        raise MemoryError("no memory left")

    def trains():
        try:
            capture.captured(hears, cuda)(torch.ones(4))
        except MemoryError as error:
            heard.append(str(error))
            raise

    with pytest.raises(MemoryError):
        training.side_by_side([trains, trains])
    assert heard == ["no memory left"] * 2
    assert totals(cuda)[0] == SUM  # and the next training of this process starts afresh


def test_trainings_side_by_side_learn_to_the_bit_what_each_learns_alone(monkeypatch):
    alone = [weights(train_toy(seed=seed)) for seed in range(3)]
    by_public_name = training.side_by_side([partial(train_toy, seed=seed) for seed in range(3)], device="cpu")
    met = []

    def act(steps):
        met.append(len(steps))
        for step in steps:
            step()

    def meets(step, place):
        turns, number = seat()
        return lambda *tensors: turns.meet(number, partial(step, *tensors))

    # As on CUDA they stop at each step, and one thread takes the steps of all.
    monkeypatch.setattr(loop, "captured", meets)
    in_turns = Turns(act).run([partial(train_toy, seed=seed) for seed in range(3)])
    assert set(met) == {3} and len(met) > 20
    for expected, *found in zip(alone, by_public_name, in_turns, strict=True):
        assert all(np.array_equal(weights(trained), expected) for trained in found)
    assert not np.array_equal(alone[0], alone[1])
