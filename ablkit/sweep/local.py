"""Runs of a sweep side by side on this machine, each in a process of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ablkit.errors import UserError
from ablkit.files import Busy, is_busy
from ablkit.runs.execute import Outcome, RunFailed, carry_out
from ablkit.runs.job import Job
from ablkit.runs.process import kill_tree
from ablkit.sweep.board import Board
from ablkit.sweep.order import Order
from ablkit.sweep.slots import Slot

K, V = TypeVar("K"), TypeVar("V")
ELSEWHERE, STOPPED = "elsewhere", "stopped"
"""What `attempt` returns for a job that another process holds, and for one that was killed for no fault of its own."""
Launcher = Callable[..., str | None]
"""What tries a job once, see `attempt`: here in a process of its own, elsewhere through a cluster."""


class TimeIsUp(Exception):
    """The moment has come until which processes may run."""


def run(jobs: list[Job], slots: list[Slot], board: Board, launch: Launcher) -> dict[Job, str]:
    """Run what is not done; return the message of each job that failed twice.

    A failed run is tried once more after all others and alone, as most failures of packed runs are for want of memory.
    Runs that another sweep has in hand are waited for, and done here should it not do them. On Ctrl-C the children are
    killed, and nothing is lost but what they did since their last checkpoint.

    Args:
        launch: tries a job once, as `attempt` does.
    """
    failed = _each_once(jobs, slots, board, launch)
    if failed:
        # With as many threads as before: another number would round differently, and give another result.
        board.tell(f"{len(failed)} failed; once more, each alone")
        failed = _each_once(list(failed), slots[:1], board, launch)
    return failed


def _each_once(jobs: list[Job], slots: list[Slot], board: Board, launch: Launcher) -> dict[Job, str]:
    """Try each job once, those that another process holds when it has let go; return those that failed."""
    failed: dict[Job, str] = {}
    while jobs:
        results = _in_order(jobs, slots, board, launch)
        failed |= {job: message for job, message in results.items() if message not in (None, ELSEWHERE)}
        jobs = [job for job, message in results.items() if message == ELSEWHERE]
        while jobs and all(is_busy(job.folder) for job in jobs):
            time.sleep(1)
    return failed


def _in_order(jobs: list[Job], slots: list[Slot], board: Board, launch: Launcher) -> dict[Job, str | None]:
    """Try each job once, see `Order`; return what became of each."""
    waiting, order, lock = list(jobs), Order(), threading.Lock()
    results: dict[Job, str | None] = {}

    def next_one(_: int, *where: object) -> None:
        with lock:
            job = order.sorted(waiting)[0]
            waiting.remove(job)
            order.start(job)
        try:
            results[job] = launch(job, *where, board=board)
        finally:
            with lock:
                order.end(job, done=results.get(job, ELSEWHERE) is None)

    in_slots(range(len(jobs)), slots, board, next_one)
    return results


def attempt(
    job: Job,
    slot: Slot,
    started: Callable[[int], object],
    stopped: threading.Event,
    *,
    board: Board,
    timeout: float | None = None,
    ended: Callable[[Outcome], object] = lambda outcome: None,
) -> str | None:
    """Try a job once, in a slot; return what failed, ELSEWHERE, STOPPED, or None where it is done.

    Args:
        started, stopped: see `in_slots`.
        ended: called with the outcome of a job that is done.
    """
    board.start(job, slot.name)
    options = {"timeout": timeout, "show": lambda line: None, "environment": slot.environment}
    try:
        outcome = carry_out(job, started=started, **options)
    except Busy:
        board.end(job, ELSEWHERE, "another process has it in hand")
        return ELSEWHERE
    except Exception as error:  # whatever one run meets, the others go on
        message = str(error) if isinstance(error, RunFailed | UserError) else f"{type(error).__name__}: {error}"
        if stopped.is_set():
            (job.folder / "failure.json").unlink(missing_ok=True)
            board.end(job, STOPPED)
            return STOPPED
        board.end(job, "failed", message)
        return message
    ended(outcome)
    board.end(job, "done", "done before" if outcome.was_done else "")
    return None


def in_slots(
    items: Iterable[K], slots: list[Slot], board: Board, attempt: Callable[..., V], until: float | None = None
) -> dict[K, V]:
    """Item -> what `attempt` returns for it, as many at a time as there are slots; on Ctrl-C no process is left behind.

    Args:
        attempt: is given the item, its slot, what to call with the number of a process that it starts, and an event
            that is set once those processes are being killed.
        until: the moment at which the time is up, on the clock of `time.monotonic`: as on Ctrl-C, with TimeIsUp.
    """
    free: queue.Queue[Slot] = queue.Queue()
    for slot in slots:
        free.put(slot)
    stopped, children = threading.Event(), set()

    def one(item: K) -> V:
        slot, own = free.get(), []
        try:
            return attempt(item, slot, lambda pid: (own.append(pid), children.add(pid)), stopped)
        finally:
            # Its number may be somebody else's from now on.
            children.difference_update(own)
            free.put(slot)

    with ThreadPoolExecutor(len(slots)) as pool:
        futures: dict[Future, K] = {pool.submit(one, item): item for item in items}
        try:
            left = set(futures)
            while left:
                _, left = wait(left, timeout=1, return_when=FIRST_COMPLETED)
                board.draw()
                if left and until is not None and time.monotonic() >= until:
                    raise TimeIsUp
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            while any(future.running() for future in futures):
                for pid in set(children):
                    kill_tree(pid)
                time.sleep(0.05)
            raise
    return {item: future.result() for future, item in futures.items()}
