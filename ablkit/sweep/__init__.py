"""Many runs: which ones a file asks for, and running them on this machine, in shards, or on a Ray cluster."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Literal

from ablkit import data
from ablkit.errors import UserError, shortened
from ablkit.paths import runs_root
from ablkit.runs import arguments, before, records
from ablkit.runs.execute import mistakes_in_data
from ablkit.runs.job import Job
from ablkit.runs.parameters import OneRun, idle
from ablkit.sweep import budget as within
from ablkit.sweep import definition, gpu_sharing, local, slots
from ablkit.sweep.board import Board


def sweep(
    path: Path,
    *,
    preset: str | None = None,
    workers: int = 1,
    per_gpu: int | Literal["auto"] = 0,
    shard: str | None = None,
    ray: str | None = None,
    timeout: float | None = None,
    budget: float | None = None,
    dry_run: bool = False,
) -> int:
    """Run what a sweep file asks for and is not done yet; return 1 where a run failed twice, else 0.

    Args:
        path: the sweep file, see `ablkit.sweep.definition.read`.
        preset: in place of the file's, such as `smoke` for a rehearsal.
        workers: runs at a time on this machine, each with as many threads as its parameters say.
        per_gpu: runs at a time on each GPU, in place of `workers`; `auto` takes as many as finished runs show to fit.
        shard: `i/n`, see `ablkit.sweep.slots.shard`.
        ray: address of a Ray cluster, or `local`; in place of `workers`.
        timeout: seconds after which a run is killed and counts as failed.
        budget: minutes from now, after which nothing runs any more; see `ablkit.sweep.budget`.
        dry_run: only list the runs and their states; no data set is downloaded for it.

    Raises UserError for every mistake in the file at once, before anything starts, and likewise for what only the data
    can tell is wrong.
    """
    begun = time.monotonic()
    if timeout is not None:
        timeout = arguments.seconds("--timeout", timeout)
    if budget is not None:
        budget = _checked_budget(budget, ray)
    if not dry_run:
        arguments.check_folder("ABLKIT_RUNS", runs_root())
    jobs = slots.shard(definition.read(path, preset), shard)
    if dry_run:
        _list(path, jobs)
        return 0
    missing = [job for job in jobs if job.state != "done"]  # asked once, as it reads whatever others build on
    counted = _counted(path, jobs, len(jobs) - len(missing))
    print(counted, *_alike(jobs), *before.told(missing), sep="\n", flush=True)
    if wrong := mistakes_in_data(missing):
        raise UserError(definition.listed(path, wrong))
    if budget is not None:
        room = slots.make(jobs, workers, per_gpu)
        with gpu_sharing.shared(room):
            failed, told = within.run(jobs, room, Board(jobs, len(room)), begun + 60 * budget, timeout)
    else:
        failed, told = _all(jobs, missing, workers, per_gpu, ray, timeout)
    print(told)
    for job, message in failed.items():
        print(f"failed    {job.folder}{_cell(job)}\n          {shortened(message, 600)}")
        for line in _last_lines(job.folder / "log.txt"):
            print(f"          | {shortened(line)}")
    return 1 if failed else 0


def _counted(path: Path, jobs: list[Job], done: int) -> str:
    return f"{path}: {len(jobs)} {'run' if len(jobs) == 1 else 'runs'}, {done} of them done"


def _alike(jobs: list[Job]) -> list[str]:
    return idle.told(job.parameters for job in jobs if isinstance(job.parameters, OneRun))


def _list(path: Path, jobs: list[Job]) -> None:
    """List the runs with states and keys; a key is not known before the data are there, and then nothing is done."""
    absent = [name for name in data.DATASETS if name not in data.prepared_names()]
    states = [
        ("missing", "-" * 12) if job.parameters.dataset in absent else (job.state, job.folder.name) for job in jobs
    ]
    known = [job for job, (state, key) in zip(jobs, states, strict=True) if state != "done" and key.strip("-")]
    counted = _counted(path, jobs, sum(state == "done" for state, _ in states))
    print(counted, *_alike(jobs), *before.told(known), sep="\n", flush=True)
    for job, (state, key) in zip(jobs, states, strict=True):
        print(f"{state:<11}{key}  {job.notebook}: {job.title}, {job.subject}")
    for name in dict.fromkeys(job.parameters.dataset for job in jobs if job.parameters.dataset in absent):
        print(f"{name} is not prepared, and its runs have no key before it is: `ablkit data {name}`")


def _checked_budget(budget: float, ray: str | None) -> float:
    budget = arguments.minutes("--budget", budget)
    if ray is not None:
        raise UserError("--budget with --ray: what a cluster starts is up to the cluster; leave one of them out")
    return budget


def _all(
    jobs: list[Job],
    missing: list[Job],
    workers: int,
    per_gpu: int | Literal["auto"],
    ray: str | None,
    timeout: float | None,
) -> tuple[dict[Job, str], str]:
    """Run all that is not done, however long it takes; return the message of each job that failed, and the counts."""
    if ray is not None:
        from ablkit.sweep import ray_cluster

        if per_gpu == "auto":
            raise UserError(f"--per-gpu {per_gpu} with --ray: give a number of at least 1")
        arguments.whole("--per-gpu", per_gpu, 0, arguments.MOST_AT_A_TIME)
        board = Board(jobs, 1)
        failed = ray_cluster.run(jobs, ray, board, per_gpu, timeout)
    else:
        room = slots.make(jobs, workers, per_gpu)
        board = Board(jobs, len(room))
        with gpu_sharing.shared(room):
            failed = local.run(jobs, room, board, partial(local.attempt, timeout=timeout))
    return failed, board.counts()


def _cell(job: Job) -> str:
    try:
        return f" in cell {records.failure(job.folder)['cell']}"
    except records.Damaged:
        return ""


def _last_lines(log: Path, count: int = 5) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:] if log.is_file() else []
    except OSError:
        return []
