"""The trainings of several runs side by side, in one process on each GPU; their notebooks then find them done."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

from ablkit import attacks, data, environment, measure, methods
from ablkit.child import die_with_parent
from ablkit.defenses import DEFENSES
from ablkit.errors import UserError
from ablkit.execute import Busy, kill_tree, locked, variables
from ablkit.files import write_json
from ablkit.jobs import Job
from ablkit.parameters import OneRun, check
from ablkit.runs import SIDE_BY_SIDE
from ablkit.sweep.board import Board
from ablkit.sweep.local import in_slots
from ablkit.sweep.slots import Slot
from ablkit.training import Trained, side_by_side


def train(jobs: list[Job], number: int, gpus: list[Slot], board: Board, timeout: float | None = None) -> None:
    """Train what these runs need, `number` of them at a time on each GPU, and leave it as their checkpoints.

    Of one group are runs of one recipe on equally many images, so that their steps keep pace. Runs that start from the
    model of another one are left out. A group that fails costs time alone: each of its runs goes on by itself
    from its checkpoint, and tells what is wrong. So does one that has taken `timeout` seconds for each of its runs.
    """

    def attempt(group: tuple[Job, ...], slot: Slot, started: Callable[[int], object], _: threading.Event) -> None:
        board.tell(
            f"training  {len(group)} runs side by side on {slot.name}: {', '.join(j.folder.name for j in group)}"
        )
        begun = time.monotonic()
        failure = _in_a_process(group, slot, started, timeout)
        end = f"each goes on by itself: {failure}" if failure else "their notebooks come next"
        board.tell(f"trained   {len(group)} runs in {time.monotonic() - begun:.0f} s; {end}")

    in_slots(_groups(jobs, number), gpus, board, attempt)


def _groups(jobs: list[Job], number: int) -> list[tuple[Job, ...]]:
    alike: dict[tuple, list[Job]] = {}
    for job in jobs:
        p = job.parameters
        if isinstance(p, OneRun) and p.method not in DEFENSES:
            key = p.dataset, p.train_size, p.held_out, p.device, p.precision, p.recipe(), p.method == "abl"
            alike.setdefault(key, []).append(job)
    return [tuple(group[i : i + number]) for group in alike.values() for i in range(0, len(group), number)]


def _in_a_process(group: tuple[Job, ...], slot: Slot, started: Callable[[int], object], timeout: float | None) -> str:
    """Train a group in a process of its own; return the last line of what went wrong, or nothing."""
    child = subprocess.Popen(
        [sys.executable, "-m", "ablkit.sweep.together", *(job.parameters.model_dump_json() for job in group)],
        env=variables(slot.environment),
        stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    started(child.pid)
    clock = threading.Timer(timeout * len(group) if timeout else threading.TIMEOUT_MAX, kill_tree, (child.pid,))
    clock.daemon = True
    clock.start()
    errors = child.stderr.read()
    child.wait()
    clock.cancel()
    child.stdin.close()
    child.stderr.close()
    return "" if child.returncode == 0 else (errors.strip().splitlines() or [f"exit code {child.returncode}"])[-1]


def main(texts: list[str]) -> None:
    """Train the runs with these parameters, as JSON, side by side; those that another process has are left to it."""
    jobs = [Job("run", "", check("run", json.loads(text))) for text in texts]
    with ExitStack() as held:
        mine = []
        for job in jobs:
            with suppress(Busy):
                held.enter_context(locked(job.folder))
                if job.state != "done":
                    mine.append(job)
        side_by_side([_training_of(job) for job in mine], jobs[0].parameters.device)
        for job in mine:
            peak = environment.peak_memory_bytes(environment.describe(job.parameters.device)["device"]) // len(mine)
            write_json(job.folder / SIDE_BY_SIDE, {"side_by_side": len(mine), "peak_memory_bytes": peak})


def _training_of(job: Job) -> Callable[[], Trained]:
    """What `run.ipynb` does up to the end of the training, with its set already poisoned."""
    p = job.parameters
    train, test = data.load(p.dataset, seed=p.seed, **p.drawing())
    poisoned = attacks.poison(train, **p.poisoning())
    watch = measure.after_epoch(test, poisoned, p.isolation_rate, p.monitor_images, p.precision)
    return partial(methods.train, p, train, poisoned, watch, job.folder)


if __name__ == "__main__":
    threading.Thread(target=die_with_parent, daemon=True).start()
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
