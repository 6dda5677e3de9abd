"""One notebook in one child process: parameters checked, a kernel on its own sockets, done or failed without doubt."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ablkit import attacks, data, runs
from ablkit.child import last_cell
from ablkit.errors import NotRunError, UserError
from ablkit.files import read_json, saying_no_room, write_json
from ablkit.notebooks import code_digest, path_of
from ablkit.parameters import Parameters, PoisonedSet, check, model_of
from ablkit.paths import cache_root, check_writable, data_root, notebooks_root, runs_root
from ablkit.training.abl import CHECKPOINT
from ablkit.training.isolation import isolated_count

# glibc hands large blocks back to the system at once and pays for the page faults of the next batch: 7,000 faults a
# step of WRN-16-1 in fp32 without these settings, 50 with them. Other allocators ignore them.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
_LAST_WORDS = ("[IPKernelApp]", "Assertion failed: pfd.revents & POLLIN")
"""What a kernel prints on being shut down: its own words, and libzmq's where the interrupt meets it in a poll."""


class RunFailed(Exception):
    """A notebook that did not end well: which cell, and the last line of what went wrong."""


class Busy(UserError):
    """Another process is filling the folder of this run."""


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: Path
    was_done: bool
    """It had been finished before, so nothing was executed."""


def execute(
    notebook: str,
    parameters: Parameters,
    *,
    force: bool = False,
    timeout: float | None = None,
    show: Callable[[str], object] = print,
    environment: dict[str, str] | None = None,
    started: Callable[[int], object] = lambda pid: None,
) -> Outcome:
    """Run a notebook through papermill unless its run is done already.

    Args:
        parameters: checked ones, see `ablkit.parameters.check`.
        force: run again although it is done.
        timeout: seconds after which the run is killed.
        show: called with each line that the notebook prints.
        environment: variables that the run gets beside those of this process, such as its number of threads.
        started: called with the number of the run's process, for those who may have to end it.

    A run that was killed before goes on from its checkpoint. Raises UserError for what the user can mend (also where
    a cell raised one, or the kernel died), Busy where another process has this run in hand, and RunFailed for every
    other failing cell and for a time-out.
    """
    source = path_of(notebook)
    folder = runs.folder_of(notebook, parameters, code_digest(source))
    record = {"notebook": notebook, "parameters": parameters.model_dump()}
    if _done(folder, record) and not force:
        return Outcome(folder, was_done=True)
    check_against_data(parameters)
    with saying_no_room(folder), locked(folder):
        # Once more: another process may have finished it while this one came to the lock.
        if _done(folder, record) and not force:
            return Outcome(folder, was_done=True)
        return _execute(source, record, folder, timeout, show, environment or {}, started)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; raises UserError where another one is filling it."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{folder} is being filled by another process; wait for it or stop it") from None
        yield


def is_busy(folder: Path) -> bool:
    """Whether a process is filling the folder of a run at this moment."""
    try:
        with locked(folder):
            return False
    except Busy:
        return True


def _done(folder: Path, record: dict) -> bool:
    """Whether the run is done; its record of parameters is written again where it has been damaged since."""
    if not (folder / "metrics.json").exists():
        return False
    try:
        read_json(folder / "metrics.json")
    except UserError:
        return False  # only damage from outside can do that: it is written whole or not at all
    try:
        whole = read_json(folder / "params.json") == record
    except UserError:
        whole = False
    if not whole:
        write_json(folder / "params.json", record)
    runs.drop_checkpoints(folder)  # of a runner that was killed between its last two steps
    return True


def _execute(
    source: Path,
    record: dict,
    folder: Path,
    timeout: float | None,
    show: Callable,
    environment: dict[str, str],
    started: Callable[[int], object],
) -> Outcome:
    for leftover in ("metrics.json", runs.PENDING, "failure.json"):
        (folder / leftover).unlink(missing_ok=True)
    write_json(folder / "params.json", record)
    code, timed_out = _run_child(source, folder, timeout, show, environment, started)
    failure = _failure(folder, code, timed_out, timeout)
    if failure:
        write_json(folder / "failure.json", {"message": str(failure), "cell": last_cell(folder)})
        raise failure
    os.replace(folder / runs.PENDING, folder / "metrics.json")
    runs.drop_checkpoints(folder)
    return Outcome(folder, was_done=False)


def _run_child(
    source: Path,
    folder: Path,
    timeout: float | None,
    show: Callable,
    environment: dict[str, str],
    started: Callable[[int], object],
) -> tuple[int, bool]:
    """Run the notebook in a process of its own; return its exit code and whether it was killed for time."""
    with tempfile.TemporaryDirectory(prefix="abl-", ignore_cleanup_errors=True) as sockets:
        child = subprocess.Popen(
            [sys.executable, "-m", "ablkit.child", str(source), str(folder), sockets],
            env=variables({**environment, runs.FOLDER_VARIABLE: str(folder)}),
            stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        started(child.pid)
        timed_out = _follow(child, folder / "log.txt", timeout, show)
    return child.returncode, timed_out


def variables(more: dict[str, str]) -> dict[str, str]:
    """The environment of a process that trains: this one's with `more`, allocator settings and the roots of folders."""
    return {
        **ALLOCATOR,
        **os.environ,
        **more,
        "ABLKIT_DATA": str(data_root()),
        "ABLKIT_RUNS": str(runs_root()),
        "ABLKIT_CACHE": str(cache_root()),
        "ABLKIT_NOTEBOOKS": str(notebooks_root()),
        "PYTHONUNBUFFERED": "1",
    }


def need(notebook: str, parameters: Parameters, **changes: object) -> Path:
    """The folder of a finished run with `parameters` and some changes; what is missing is run first.

    For notebooks that start from other runs: parameters that the other one does not have are left out. One that another
    process has in hand is waited for.
    """
    names = model_of(notebook).model_fields
    values = {name: value for name, value in parameters.model_dump().items() if name in names}
    wanted = check(notebook, values | changes)
    while True:
        try:
            return execute(notebook, wanted).folder
        except Busy:
            time.sleep(1)


def check_against_data(parameters: Parameters) -> None:
    """Raise UserError for what only the data can tell is wrong, before anything is written or started."""
    check_writable(runs_root(), "ABLKIT_RUNS")
    if not isinstance(parameters, PoisonedSet):
        return  # its runs are checked one by one
    train, test = data.load(parameters.dataset, seed=parameters.seed, **parameters.drawing())
    parameters.recipe().check_images(train.images.shape[1:], parameters.dataset)
    choice = {name: value for name, value in parameters.poisoning().items() if name not in ("device", "precision")}
    if not len(attacks.choose(train, **choice)):
        raise UserError(f"poison_rate {parameters.poison_rate} poisons none of {len(train)} training images; raise it")
    isolated_count(len(train), parameters.isolation_rate)
    own = {name: value for name, value in choice.items() if name not in ("rate", "seed", "include_target", "released")}
    attacks.check_test(test, **own)
    if attacks.find(parameters.attack).fewest > 1:
        check_writable(cache_root(), "ABLKIT_CACHE")


def _follow(child: subprocess.Popen, log: Path, timeout: float | None, show) -> bool:
    """Pass on what the child prints until it ends; kill it and all its children when time is up or on Ctrl-C."""
    timer, expired = None, threading.Event()
    if timeout is not None:
        timer = threading.Timer(timeout, lambda: (expired.set(), kill_tree(child.pid)))
        timer.start()
    try:
        with open(log, "a", encoding="utf-8") as file:
            for line in child.stdout:
                file.write(line)
                file.flush()
                if not line.startswith(_LAST_WORDS):
                    show(line.rstrip("\n"))
        child.wait()
    except BaseException:
        kill_tree(child.pid)
        child.wait()
        raise
    finally:
        child.stdout.close()
        child.stdin.close()
        if timer:
            timer.cancel()
    return expired.is_set()


def kill_tree(pid: int) -> None:
    """Kill a process and all that it has started."""
    # The kernel has a process group of its own, so killing the child's group would leave it running.
    try:
        tree = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _failure(folder: Path, code: int, timed_out: bool, timeout: float | None) -> Exception | None:
    """What went wrong, or None where the run is complete. The notebook's own cell states are not to be trusted."""
    again = "the same command continues it" if any(folder.rglob(CHECKPOINT)) else "the same command tries again"
    if timed_out:
        cell = last_cell(folder)
        return RunFailed(f"stopped after {timeout:g} s in cell {cell}; {again}")
    if code == 0 and (folder / runs.PENDING).exists():
        return None
    if not (folder / "failure.json").exists():
        if code == 0:
            return RunFailed("the notebook ended without run.finish(metrics), so it has no result")
        return UserError(f"the run's process died with exit code {code} (often: out of memory); {again}")
    failure = read_json(folder / "failure.json")
    if failure["error"] == "DeadKernelError":
        cell = last_cell(folder)
        return UserError(f"the kernel died in cell {cell} (often: out of memory, lower batch_size); {again}")
    first_line = failure["message"].splitlines()[0]
    if failure["error"] == "OutOfMemoryError":
        return UserError(f"{first_line} Lower batch_size or train_size, or use device cpu; {again}")
    if failure["error"] in ("UserError", "NotRunError"):
        return {"UserError": UserError, "NotRunError": NotRunError}[failure["error"]](first_line)
    return RunFailed(f"cell {failure['cell']}: {failure['error']}: {first_line} ({folder})")
