"""Runs of a sweep on a Ray cluster: the same run folders, on whatever machine has room."""

from __future__ import annotations

import os

from ablkit import paths
from ablkit.errors import UserError
from ablkit.execute import RunFailed, execute
from ablkit.jobs import Job
from ablkit.parameters import check
from ablkit.sweep.board import Board
from ablkit.training.checkpoint import drop_damaged


def run(jobs: list[Job], address: str, board: Board, per_gpu: int = 0, timeout: float | None = None) -> dict[Job, str]:
    """Run what is not done on a Ray cluster; return the message of each job that failed twice.

    Args:
        address: of the cluster; `local` starts one here, of one worker for each core.
        per_gpu: runs that share a GPU; with 0 each takes a core and no GPU.

    Runs and data must lie on a file system that every node has at the same place. Raises UserError where Ray is not
    installed or the cluster does not answer.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray; install it with: pip install 'ablkit[ray]'") from None
    variables = {
        "ABLKIT_DATA": str(paths.data_root()),
        "ABLKIT_RUNS": str(paths.runs_root()),
        "ABLKIT_CACHE": str(paths.cache_root()),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    try:
        ray.init(
            None if address == "local" else address,
            runtime_env={"env_vars": variables},
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}: {' '.join(str(error).split())}; is the cluster up?") from None
    one = ray.remote(num_cpus=1, num_gpus=1 / per_gpu if per_gpu else 0, max_retries=0)(_one)
    try:
        failed = _pass(ray, one, jobs, board, timeout)
        if failed:
            print(f"{len(failed)} failed; once more", file=board.stream, flush=True)
            for job in failed:
                drop_damaged(job.folder)
            failed = _pass(ray, one, list(failed), board, timeout)
        return failed
    finally:
        ray.shutdown()


def _pass(ray: object, one: object, jobs: list[Job], board: Board, timeout: float | None) -> dict[Job, str]:
    waiting = {one.remote(job.notebook, job.parameters.model_dump(), timeout): job for job in jobs}
    for job in waiting.values():
        board.start(job, "the cluster")
    failed = {}
    while waiting:
        (ready,), _ = ray.wait(list(waiting))
        job = waiting.pop(ready)
        try:
            message = ray.get(ready)
        except ray.exceptions.RayError as error:
            message = f"its worker died: {' '.join(str(error).split())[:200]}"
        board.end(job, "failed" if message else "done", message)
        if message:
            failed[job] = message
    return failed


def _one(notebook: str, values: dict, timeout: float | None) -> str:
    """What a worker does; returns the message of a failure, or nothing."""
    try:
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        execute(notebook, check(notebook, values), timeout=timeout, show=lambda line: None, environment=threads)
    except (RunFailed, UserError) as error:
        return str(error)
    return ""
