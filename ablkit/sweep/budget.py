"""A sweep that has so many minutes: it starts what can be expected to end in time, and stops the rest at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ablkit.files import is_busy
from ablkit.runs import durations
from ablkit.runs.execute import Outcome
from ablkit.runs.job import Job
from ablkit.sweep import local
from ablkit.sweep.board import Board
from ablkit.sweep.expected import Expected
from ablkit.sweep.order import Order
from ablkit.sweep.slots import Slot

_LEAST = 0.1
"""Share of its expected time that a run which goes on from a checkpoint is expected to take at least."""
_PAUSE = 0.5
"""Seconds between two looks at what fits by now."""


def run(
    jobs: list[Job], slots: list[Slot], board: Board, until: float, timeout: float | None = None
) -> tuple[dict[Job, str], str]:
    """Run what is not done and fits; return the message of each job that failed, and what became of all jobs.

    A failed run is tried once more, alone, where the time left allows it. At the end those that are running are killed
    as on Ctrl-C: they keep their checkpoints, and are no failures.

    Args:
        until: the moment at which the time is up, on the clock of `time.monotonic`.
    """
    expected = Expected(jobs)
    failed = _within(Plan(jobs, expected, until, board.tell, timeout), slots, board, timeout)
    if failed and time.monotonic() < until:
        board.tell(f"{len(failed)} failed; once more, each alone, while time is left")
        again = _within(Plan(list(failed), expected, until, board.tell, timeout), slots[:1], board, timeout)
        for job in failed:
            if board.states[job] == local.STOPPED:
                board.states[job] = "failed"  # the time was up before it could do better
        failed = {job: again.get(job, said) for job, said in failed.items() if board.states[job] == "failed"}
    return failed, _summary(Plan(jobs, expected, until, board.tell, timeout), board, len(slots))


class Plan:
    """Which run is next within a budget; safe to use from several threads."""

    def __init__(
        self,
        jobs: list[Job],
        expected: Expected,
        until: float,
        tell: Callable[[str], object],
        timeout: float | None = None,
    ) -> None:
        self.expected, self.until, self.tell, self.timeout = expected, until, tell, timeout
        self.waiting = list(jobs)
        self.done = {job for job in jobs if job.is_done()}
        self.earlier = {job: durations.earlier(job.folder) or 0.0 for job in jobs}
        self.running: set[Job] = set()
        self.order = Order()
        self.elsewhere: set[Job] = set()
        self.measures: dict[tuple, Job] = {}
        """Kind -> the run whose time is going to be the measure for the others of that kind, which wait for it."""
        self.lock = threading.Lock()

    def take(self, stopped: threading.Event) -> Job | None:
        """The next run to start, waited for while another one may change what fits; None where no more will come.

        It is the first that can be expected to end in time, in the file's order but for what `Order` puts off.
        """
        while not stopped.is_set():
            with self.lock:
                job = self._next()
                if job:
                    self.waiting.remove(job)
                    self.running.add(job)
                    self.order.start(job)
                    return job
                if not self.waiting or not (self.running or self._others_may_let_go()):
                    return None
            stopped.wait(_PAUSE)
        return None

    def end(self, job: Job, seconds: float | None) -> None:
        """A run has ended, after so many seconds where they are known to be all that it takes."""
        with self.lock:
            self.running.discard(job)
            self.order.end(job, done=seconds is not None)
            self.measures = {kind: one for kind, one in self.measures.items() if one != job}
            if seconds is not None:
                self.expected.learn(job, seconds)

    def put_back(self, job: Job) -> None:
        """A run that was taken turns out to be in hand elsewhere; it is offered again once it is let go."""
        self.end(job, None)
        with self.lock:
            self.elsewhere.add(job)
            self.waiting.append(job)

    def seconds_left(self, job: Job) -> float | None:
        """What a run is expected to take from here; 0 where it is done, None where nothing tells."""
        if job in self.done:
            return 0.0
        whole = self.expected.seconds(job)
        if whole is None:
            return None
        left = max(whole - self.earlier[job], _LEAST * whole)
        return left if self.timeout is None else min(left, self.timeout)

    def _next(self) -> Job | None:
        left = self.until - time.monotonic()
        for job in self.order.sorted(self.waiting) if left > 0 else ():
            if job in self.elsewhere and is_busy(job.folder):
                continue
            seconds = self.seconds_left(job)
            if seconds is None and self.expected.kind(job) not in self.measures:
                self._measure(job)
                return job
            if seconds is not None and seconds <= left:
                return job
        return None

    def _measure(self, job: Job) -> None:
        kind = self.expected.kind(job)
        self.measures[kind] = job
        others = sum(self.expected.kind(one) == kind for one in self.waiting) - 1
        wait = f"; {others} more wait for that measure" if others else ""
        self.tell(
            f"measure   {job.folder.name}  no run like it has ended here, so nothing tells how long it takes{wait}"
        )

    def _others_may_let_go(self) -> bool:
        busy = (job in self.elsewhere and is_busy(job.folder) for job in self.waiting)
        return time.monotonic() < self.until and any(busy)


def _within(plan: Plan, slots: list[Slot], board: Board, timeout: float | None) -> dict[Job, str]:
    """Run what a plan hands out until it hands out no more or the time is up; return the jobs that failed."""
    failed: dict[Job, str] = {}

    def next_one(ticket: int, slot: Slot, started: Callable[[int], object], stopped: threading.Event) -> None:
        while (job := plan.take(stopped)) is not None:
            ended: list[Outcome] = []
            options = {"board": board, "timeout": timeout, "ended": ended.append}
            message = local.attempt(job, slot, started, stopped, **options)
            if message == local.ELSEWHERE:
                plan.put_back(job)
                continue  # nothing was started: the same ticket is good for another one
            plan.end(job, ended[0].seconds if ended else None)
            if message not in (None, local.STOPPED):
                failed[job] = message
            return

    try:
        local.in_slots(range(len(plan.waiting)), slots, board, next_one, plan.until)
    except local.TimeIsUp:
        board.tell("time is up")
    return failed


def _summary(plan: Plan, board: Board, at_a_time: int) -> str:
    states = board.states
    stopped = [job for job, state in states.items() if state == local.STOPPED]
    kept = sum(durations.has_checkpoint(job.folder) for job in stopped)
    failed = [job for job, state in states.items() if state == "failed"]
    rest = [job for job in plan.waiting if job not in plan.done and job not in failed]
    counts = [f"{len(plan.done)} done", f"{len(failed)} failed", f"{kept} stopped with a checkpoint"]
    if len(stopped) > kept:
        counts.append(f"{len(stopped) - kept} stopped before their first")
    line = ", ".join([*counts, f"{len(rest) - len(stopped)} not started"])
    if not rest:
        return line
    times = [plan.seconds_left(job) for job in rest]
    seconds = sum(time for time in times if time is not None) / at_a_time
    unknown = times.count(None)
    about = f"about {seconds // 60:.0f} m {seconds % 60:02.0f} s, {at_a_time} at a time"
    if unknown:
        about = f"{about}, and {unknown} of which nothing tells" if unknown < len(times) else "nothing tells how long"
    return f"{line}\nthe other {len(rest)} are expected to take: {about}; the same command goes on from here"
