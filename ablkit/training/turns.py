"""Threads that take turns, and meet so that something is done for all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_thread = threading.local()


def seat() -> tuple[Turns, int] | None:
    """Whose turns this thread takes part in, and its number there; None for a thread of its own."""
    return getattr(_thread, "seat", None)


class Turns:
    """Threads of which one runs at a time, until it waits at `meet`; where all wait, `act` is done for all.

    As no two ever run at once, random generators, the device and the terminal need no other care. It is always the
    thread that calls `run` that acts, as CUDA's libraries keep what they have prepared by thread.

    Args:
        act: is given what each thread brought, in the order of their numbers.
    """

    def __init__(self, act: Callable[[list], None]) -> None:
        self.act, self.members = act, 0
        self.turn = threading.RLock()
        # Two, so that a step wakes each thread once and not at each arrival of another one.
        self.all_wait, self.is_done = threading.Condition(self.turn), threading.Condition(self.turn)
        self.meeting = _Meeting()
        self.stopped: BaseException | None = None

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """What these return, each in a thread; raises what the first one raised that failed, once all have ended."""
        self.members = len(works)
        with ThreadPoolExecutor(max(1, len(works))) as pool:
            try:
                ends = [pool.submit(self._one, number, work) for number, work in enumerate(works)]
                self._act_for_them()
            except BaseException as stopped:  # such as Ctrl-C: they end where they wait, or meet next
                with self.turn:
                    self.stopped = stopped
                    self.is_done.notify_all()
                raise
        return [end.result() for end in ends]

    def meet(self, number: int, brought: object) -> None:
        """Wait for the others, and until `act` is done; raises what that raised."""
        with self.turn:
            meeting = self.meeting
            meeting.brought[number] = brought
            self._tell_where_all_wait()
            self.is_done.wait_for(lambda: meeting.is_over or self.stopped is not None)
        failure = meeting.failure or self.stopped
        if failure is not None:
            raise failure

    def _one(self, number: int, work: Callable[[], T]) -> T:
        with self.turn:
            _thread.seat = self, number
            try:
                return work()
            finally:
                _thread.seat = None
                self.members -= 1
                self._tell_where_all_wait()

    def _tell_where_all_wait(self) -> None:
        if len(self.meeting.brought) == self.members:
            self.all_wait.notify()

    def _act_for_them(self) -> None:
        with self.turn:
            while self.members:
                self.all_wait.wait_for(lambda: len(self.meeting.brought) == self.members)
                meeting, self.meeting = self.meeting, _Meeting()
                try:
                    if meeting.brought:
                        self.act([brought for _, brought in sorted(meeting.brought.items())])
                except Exception as failure:  # whatever it is, each of them has to hear of it
                    meeting.failure = failure
                meeting.is_over = True
                self.is_done.notify_all()


class _Meeting:
    """What the threads have brought so far, and how it ended."""

    def __init__(self) -> None:
        self.brought: dict[int, object] = {}
        self.is_over = False
        self.failure: Exception | None = None
