"""The trainings of several runs side by side, in one process on each GPU; their notebooks then find them done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress

from ablkit import attacks, data, environment, measure, methods, provenance, records
from ablkit.child import PACKAGE, die_with_parent
from ablkit.defenses import DEFENSES
from ablkit.errors import UserError
from ablkit.files import write_json
from ablkit.jobs import Job
from ablkit.lock import Busy, locked
from ablkit.parameters import OneRun, check
from ablkit.process import kill_tree, threads, variables
from ablkit.runs import PARAMETERS, SIDE_BY_SIDE
from ablkit.sweep.board import Board
from ablkit.sweep.local import in_slots
from ablkit.sweep.slots import Slot
from ablkit.training import hardware, side_by_side
from ablkit.training.abl import CHECKPOINT


def train(jobs: list[Job], number: int, gpus: list[Slot], board: Board, timeout: float | None = None) -> None:
    """Train what these runs need, `number` of them at a time on each GPU, and leave it as their checkpoints.

    Of one group are runs of one recipe on equally many images, so that their steps keep pace. Runs that start from the
    model of another one are left out, and those with none beside them. A group that fails, or takes more than `timeout`
    seconds for each of its runs, costs time alone: each goes on by itself from its checkpoint, and tells what is wrong.
    """

    def attempt(group: tuple[Job, ...], slot: Slot, started: Callable[[int], object], stopped: threading.Event) -> None:
        board.tell(
            f"training  {len(group)} runs side by side on {slot.name}: {', '.join(j.folder.name for j in group)}"
        )
        begun = time.monotonic()
        code, said = _in_a_process(group, slot, started, timeout)
        if not stopped.is_set():
            end = "their notebooks come next" if code == 0 else "each goes on by itself"
            board.tell(f"trained   {len(group)} runs in {time.monotonic() - begun:.0f} s; {end}{said and f': {said}'}")

    in_slots(_groups(jobs, number, len(gpus)), gpus, board, attempt)


def _groups(jobs: list[Job], number: int, gpus: int) -> list[tuple[Job, ...]]:
    """Runs that go together, at most `number` and two at least, spread evenly over the GPUs."""
    alike: dict[tuple, list[Job]] = {}
    for job in jobs:
        p = job.parameters
        if isinstance(p, OneRun) and p.method not in DEFENSES and _is_on_gpu(p) and not _is_trained(job):
            key = p.dataset, p.train_size, p.held_out, p.device, p.precision, p.threads, p.recipe()
            key += ({"abl": "abl", "exclude": "exclude"}.get(p.method, "none"),)
            alike.setdefault(key, []).append(job)
    groups = []
    for own in alike.values():
        count = -(-len(own) // min(number, -(-len(own) // gpus)))
        groups += [tuple(own[k::count]) for k in range(count)]
    return [group for group in groups if len(group) > 1]


def _is_on_gpu(parameters: OneRun) -> bool:
    return hardware.choose(parameters.device).device.type == "cuda"


def _is_trained(job: Job) -> bool:
    """Whether a group has finished the training of this run, and its notebook has not run yet."""
    has_checkpoint = any(path.is_file() for path in job.folder.rglob(CHECKPOINT))
    return has_checkpoint and "peak_memory_bytes" in records.side_by_side(job.folder)


def _in_a_process(
    group: tuple[Job, ...], slot: Slot, started: Callable[[int], object], timeout: float | None
) -> tuple[int, str]:
    """Train a group in a process of its own; return its exit code and the last line that it said."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "ablkit.sweep.together", *(job.parameters.model_dump_json() for job in group)],
        env=variables(slot.environment | threads(group[0].parameters.threads)),
        stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    started(child.pid)
    late = threading.Event()
    clock = threading.Timer((timeout or 0) * len(group), lambda: (late.set(), kill_tree(child.pid)))
    if timeout:
        clock.start()
    said = child.stderr.read().strip().splitlines() or [""]
    child.wait()
    clock.cancel()
    child.stdin.close()
    child.stderr.close()
    return child.returncode, f"stopped after {timeout * len(group):g} s" if late.is_set() else said[-1]


def main(texts: list[str]) -> None:
    """Train the runs with these parameters, as JSON, side by side; those that another process has are left to it."""
    if planned := os.environ.get(PACKAGE):
        provenance.check_planned(planned)
    jobs = [Job("run", "", check("run", json.loads(text))) for text in texts]
    with ExitStack() as held:
        mine = []
        for job in jobs:
            with suppress(Busy):
                held.enter_context(locked(job.folder))
                if job.state != "done":
                    mine.append(job)
        side_by_side([_training_of(job, len(mine)) for job in mine], jobs[0].parameters.device)


def _training_of(job: Job, number: int) -> Callable[[], None]:
    """What `run.ipynb` does up to the end of the training, with its set already poisoned."""
    p = job.parameters
    train, test = data.load(p.dataset, seed=p.seed, **p.drawing())
    poisoned = attacks.poison(train, **p.poisoning())
    watch = measure.after_epoch(test, poisoned, p.isolation_rate, p.monitor_images, p.precision)
    write_json(job.folder / PARAMETERS, job.facts)
    facts = {**environment.describe(p.device, p.precision), "side_by_side": number}

    def work() -> None:
        write_json(job.folder / SIDE_BY_SIDE, facts)
        methods.train(p, train, poisoned, watch, job.folder)
        peak = environment.peak_memory_bytes(facts["device"])
        write_json(job.folder / SIDE_BY_SIDE, {**facts, "peak_memory_bytes": peak})

    return work


if __name__ == "__main__":
    threading.Thread(target=die_with_parent, daemon=True).start()
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
