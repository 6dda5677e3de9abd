"""Runs of a sweep on a Ray cluster: the same run folders, on whatever machine has room."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import psutil

from ablkit import paths
from ablkit.errors import UserError, shortened, shown
from ablkit.files import Busy
from ablkit.runs.arguments import whole
from ablkit.runs.execute import RunFailed, execute
from ablkit.runs.job import Job
from ablkit.runs.parameters import check
from ablkit.runs.private import private_folder
from ablkit.runs.process import kill_tree
from ablkit.sweep import local
from ablkit.sweep.board import Board
from ablkit.sweep.slots import Slot

_NOTES = {None: "", local.ELSEWHERE: "another process has it in hand"}
_LOCAL = "local"
_TRIES = 3
_SECONDS = 10
_LONGEST = 20
"""Bytes of the folder above the private one; both that and Ray add 85 to its sockets' paths, of at most 107."""


def run(jobs: list[Job], address: str, board: Board, per_gpu: int = 0, timeout: float | None = None) -> dict[Job, str]:
    """Run what is not done on a Ray cluster; return the message of each job that failed twice.

    Args:
        address: of the cluster; `local` starts one here, of one worker for each core, that no other machine reaches.
        per_gpu: runs that share a GPU; with 0 each takes a core and sees no GPU.

    Runs and data must lie on a file system that every node has at the same place. Workers import nothing from the
    current folder. Raises UserError where Ray is not installed or the cluster does not answer.
    """
    with _cluster(address) as ray:
        one = ray.remote(num_cpus=1, num_gpus=1 / per_gpu if per_gpu else 0, max_retries=0)(_one)
        resources = ray.cluster_resources()
        room = max(1, int(resources.get("GPU", 0) * per_gpu if per_gpu else resources.get("CPU", 1)))
        board.slots = room
        launch = partial(_attempt, ray=ray, one=one, timeout=timeout)
        return local.run(jobs, [Slot("the cluster", {})] * room, board, launch)


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[ModuleType]:
    """Ray, connected to a cluster, with a private folder for its files where the cluster is a local one."""
    if not address.strip():
        raise UserError(f"--ray {shown(address)} is no address; give one, or local")
    _check_answers(address)
    if address == _LOCAL:
        # By this name Ray asks, while it is imported and in each of its processes, whether other machines may join;
        # without them it listens on the loopback alone. Its own argument for the node's address does not do it.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray; install it with: pip install 'ablkit[ray]'") from None
    # Ray makes its folder one that everybody may write, so it lies in one that nobody else may enter.
    with private_folder(_LONGEST) as (private, _):
        _start(ray, address, private)
        try:
            yield ray
        finally:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise UserError where nobody answers at `host:port`, with or without ray:// before it: Ray would try for ever."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # a name of Ray's own, such as local or auto
    try:
        socket.create_connection((host.strip("[]"), whole("port of --ray", port, 1, 65535)), _SECONDS).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"--ray {shown(address)} does not answer ({reason}); is the cluster up?") from None


def _start(ray: ModuleType, address: str, private: Path) -> None:
    # Where a job has no working folder of its own, Ray lets its workers import from the driver's current one.
    (private / "empty").mkdir()
    variables = {
        "ABLKIT_DATA": str(paths.data_root()),
        "ABLKIT_RUNS": str(paths.runs_root()),
        "ABLKIT_CACHE": str(paths.cache_root()),
        "ABLKIT_NOTEBOOKS": str(paths.notebooks_root()),
        "PYTHONSAFEPATH": "1",
    }
    stopping = signal.getsignal(signal.SIGTERM)
    try:
        _connect(ray, address, private, {"env_vars": variables, "working_dir": str(private / "empty")})
    finally:
        signal.signal(signal.SIGTERM, stopping)  # Ray has put its own there, which ends without a word
    if address == _LOCAL and ray.util.get_node_ip_address() != "127.0.0.1":
        ray.shutdown()
        raise UserError(f"--ray {_LOCAL}: Ray was imported before and is open to other machines; start a new process")


def _connect(ray: ModuleType, address: str, private: Path, environment: dict) -> None:
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    # The parts of a local cluster have 15 seconds to start, which a busy machine may need to read their files at first.
    for attempt in range(_TRIES if address == _LOCAL else 1):
        own = {"_temp_dir": str(private / f"r{attempt}")} if address == _LOCAL else {}
        before = {child.pid for child in psutil.Process().children()}
        try:
            ray.init(address, runtime_env=environment, **options, **own)
            return
        except Exception as error:  # Ray raises its own kinds, and Exception itself where a start takes too long
            ray.shutdown()
            for child in psutil.Process().children():
                if child.pid not in before:
                    kill_tree(child.pid)
            reason = shortened(str(error), 200)
    raise UserError(f"--ray {shown(address)}: {reason}; is the cluster up?")


def _attempt(
    job: Job,
    slot: Slot,
    started: object,
    stopped: threading.Event,
    *,
    board: Board,
    ray: ModuleType,
    one: object,
    timeout: float | None,
) -> str | None:
    """Let the cluster try a job once; see `local.attempt`."""
    board.start(job, slot.name)
    try:
        reference = one.remote(job.notebook, job.parameters.model_dump(), timeout)
        while not ray.wait([reference], timeout=1)[0]:
            if stopped.is_set():
                board.end(job, local.STOPPED)
                return local.STOPPED
        message = ray.get(reference)
    except Exception as error:  # whatever the cluster meets with one run, the others go on
        message = f"its worker died: {_last_line(error)}"
    board.end(
        job, {None: "done", local.ELSEWHERE: local.ELSEWHERE}.get(message, "failed"), _NOTES.get(message, message)
    )
    return message


def _last_line(error: Exception) -> str:
    """What a worker's error says at its end; a traceback of its process stands above that."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shortened(lines[-1] if lines else type(error).__name__, 200)


def _one(notebook: str, values: dict, timeout: float | None) -> str | None:
    """What a worker does; returns the message of a failure, or ELSEWHERE, or None."""
    try:
        execute(notebook, check(notebook, values), timeout=timeout, show=lambda line: None)
    except Busy:
        return local.ELSEWHERE
    except (RunFailed, UserError, OSError) as error:
        return str(error) or type(error).__name__
    return None
