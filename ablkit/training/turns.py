"""Threads that take turns, and meet so that one of them does something for all of them."""

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

    As no two ever run at once, what they share (random generators, the device, the terminal) needs no other care.

    Args:
        act: is given what each thread brought, in the order of their numbers.
        members: how many threads meet.
    """

    def __init__(self, act: Callable[[list], None], members: int) -> None:
        self.act, self.members = act, members
        self.turn = threading.Condition()
        self.meeting = _Meeting()
        self.stopped: BaseException | None = None

    def run(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """What these return, each in a thread; raises what the first one raised that failed, once all have ended."""
        with ThreadPoolExecutor(max(1, self.members)) as pool:
            ends = [pool.submit(self._one, number, work) for number, work in enumerate(works)]
            try:
                return [end.result() for end in ends]
            except KeyboardInterrupt as stopped:
                self.stopped = stopped  # ends each where it meets the others next
                raise

    def _one(self, number: int, work: Callable[[], T]) -> T:
        with self.turn:
            _thread.seat = self, number
            try:
                return work()
            finally:
                _thread.seat = None
                self.members -= 1
                self._act_where_all_wait()

    def meet(self, number: int, brought: object) -> None:
        """Wait for the others, and until `act` is done; raises what that raised."""
        with self.turn:
            meeting = self.meeting
            meeting.brought[number] = brought
            self._act_where_all_wait()
            self.turn.wait_for(lambda: meeting.is_over)
        if meeting.failure is not None:
            raise meeting.failure

    def _act_where_all_wait(self) -> None:
        meeting = self.meeting
        if not meeting.brought or len(meeting.brought) < self.members:
            return
        self.meeting = _Meeting()
        try:
            if self.stopped is not None:
                raise self.stopped
            self.act([brought for _, brought in sorted(meeting.brought.items())])
        except BaseException as failure:  # whatever it is, each of them has to hear of it
            meeting.failure = failure
        meeting.is_over = True
        self.turn.notify_all()


class _Meeting:
    """What the threads have brought so far, and how it ended."""

    def __init__(self) -> None:
        self.brought: dict[int, object] = {}
        self.is_over, self.failure = False, None
