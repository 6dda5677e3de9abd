"""Runs of a sweep on a Ray cluster: the same run folders, on whatever machine has room."""

from __future__ import annotations

import os
import signal
import time

from ablkit import paths
from ablkit.errors import UserError
from ablkit.execute import Busy, RunFailed, execute
from ablkit.jobs import Job
from ablkit.parameters import check
from ablkit.sweep.board import Board

_BUSY = "another process has it in hand"


def run(jobs: list[Job], address: str, board: Board, per_gpu: int = 0, timeout: float | None = None) -> dict[Job, str]:
    """Run what is not done on a Ray cluster; return the message of each job that failed twice.

    Args:
        address: of the cluster; `local` starts one here, of one worker for each core.
        per_gpu: runs that share a GPU; with 0 each takes a core and sees no GPU.

    Runs and data must lie on a file system that every node has at the same place. Raises UserError where Ray is not
    installed or the cluster does not answer.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray; install it with: pip install 'ablkit[ray]'") from None
    roots = {
        "ABLKIT_DATA": str(paths.data_root()),
        "ABLKIT_RUNS": str(paths.runs_root()),
        "ABLKIT_CACHE": str(paths.cache_root()),
        "ABLKIT_NOTEBOOKS": str(paths.notebooks_root()),
    }
    stopping = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address,
            runtime_env={"env_vars": roots},
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}: {' '.join(str(error).split())}; is the cluster up?") from None
    signal.signal(signal.SIGTERM, stopping)  # Ray has put its own there, which ends without a word
    one = ray.remote(num_cpus=1, num_gpus=1 / per_gpu if per_gpu else 0, max_retries=0)(_one)
    resources = ray.cluster_resources()
    board.slots = max(1, int(resources.get("GPU", 0) * per_gpu if per_gpu else resources.get("CPU", 1)))
    try:
        failed = _pass(ray, one, jobs, board, timeout)
        if failed:
            board.tell(f"{len(failed)} failed; once more")
            failed = _pass(ray, one, list(failed), board, timeout)
        return failed
    finally:
        ray.shutdown()


def _pass(ray: object, one: object, jobs: list[Job], board: Board, timeout: float | None) -> dict:
    """Try each job once, as many at a time as there is room; those that another process holds as often as it takes."""
    queue, running, failed = list(jobs), {}, {}
    while queue or running:
        while queue and len(running) < board.slots:
            job = queue.pop(0)
            board.start(job, "the cluster")
            running[one.remote(job.notebook, job.parameters.model_dump(), timeout)] = job
        ready, _ = ray.wait(list(running), timeout=1)
        board.draw()
        for reference in ready:
            job = running.pop(reference)
            try:
                message = ray.get(reference)
            except ray.exceptions.RayError as error:
                message = f"its worker died: {' '.join(str(error).split())[:200]}"
            board.end(job, {"": "done", _BUSY: "elsewhere"}.get(message, "failed"), message)
            if message == _BUSY:
                queue.append(job)
                time.sleep(1)
            elif message:
                failed[job] = message
    return failed


def _one(notebook: str, values: dict, timeout: float | None) -> str:
    """What a worker does; returns the message of a failure, or nothing."""
    parameters = check(notebook, values)
    try:
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        execute(notebook, parameters, timeout=timeout, show=lambda line: None, environment=threads)
    except Busy:
        return _BUSY
    except (RunFailed, UserError) as error:
        return str(error)
    return ""
