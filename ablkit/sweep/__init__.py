"""Many runs: which ones a file asks for, and running them on this machine, in shards, or on a Ray cluster."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Literal

from ablkit.errors import UserError, shortened
from ablkit.paths import runs_root
from ablkit.runs import arguments, records
from ablkit.runs.execute import mistakes_in_data
from ablkit.runs.job import Job
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
        dry_run: only list the runs and their states.

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
    done = [job for job in jobs if job.state == "done"]
    print(f"{path}: {len(jobs)} runs, {len(done)} of them done", flush=True)
    if dry_run:
        for job in jobs:
            print(f"{job.state:<11}{job.folder.name}  {job.notebook}: {job.title}, {job.subject}")
        return 0
    missing = [job for job in jobs if job.state != "done"]
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
