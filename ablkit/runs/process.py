"""The process of a run: what it is given, following what it prints, and ending it with all that it has started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

from ablkit.paths import cache_root, data_root, notebooks_root, runs_root
from ablkit.runs import child as program
from ablkit.runs.child import DESCRIPTORS
from ablkit.runs.environment import THREADS, say_other_threads
from ablkit.runs.notebooks import Source
from ablkit.runs.private import private_folder
from ablkit.training.kept import AGAIN

# glibc hands large blocks back to the system at once and pays for the page faults of the next batch: 7,000 faults a
# step of WRN-16-1 in fp32 without these settings, 50 with them. Other allocators ignore them.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
_LAST_WORDS = ("[IPKernelApp]", "Assertion failed: pfd.revents & POLLIN")
"""What a kernel prints on being shut down: its own words, and libzmq's where the interrupt meets it in a poll."""


def run_child(
    source: Source,
    folder: Path,
    held: int,
    timeout: float | None,
    show: Callable[[str], object],
    environment: dict[str, str],
    started: Callable[[int], object],
) -> tuple[int, bool]:
    """Run a notebook in a process of its own; return its exit code and whether it was killed for time.

    The process works with private copies: of the notebook, as it was when the run's key was computed, and of every
    folder of Jupyter's and IPython's, so that nothing that somebody keeps there has a part in the run.

    Args:
        held: the descriptor of the folder's lock; the process and its kernel hold on to it, should this one be killed.
    """
    with private_folder() as (private, used):
        path = source.write(private / "notebooks")
        descriptors = (held, used)
        private_environment = {
            "TMPDIR": str(private),
            "IPYTHONDIR": str(private / "ipython"),
            "JUPYTER_CONFIG_DIR": str(private / "jupyter"),
            "JUPYTER_DATA_DIR": str(private / "jupyter"),
            "JUPYTER_PATH": str(private / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(private / "runtime"),
            "ABLKIT_NOTEBOOKS": str(path.parent),
            DESCRIPTORS: " ".join(map(str, descriptors)),
        }
        child = subprocess.Popen(
            [sys.executable, "-P", program.__file__, str(path), str(folder), str(private)],
            env=variables(environment) | private_environment,
            stdin=subprocess.PIPE,  # never written to: its end tells the child that this process is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            pass_fds=descriptors,
        )
        started(child.pid)
        timed_out = _follow(child, private, folder / "log.txt", timeout, show)
    return child.returncode, timed_out


def variables(more: dict[str, str]) -> dict[str, str]:
    """The environment of a process that trains: this one's with `more`, allocator settings and the roots of folders.

    It imports nothing from its current folder, as what lies there may be anybody's.
    """
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONSTARTUP", AGAIN)}
    if "PYTHONPATH" in own:
        # To Python an empty or relative entry is a folder of whatever is the current one: here, of the run's.
        entries = own["PYTHONPATH"].split(os.pathsep)
        own["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in entries if entry)
    return {
        **ALLOCATOR,
        **own,
        **more,
        "ABLKIT_DATA": str(data_root()),
        "ABLKIT_RUNS": str(runs_root()),
        "ABLKIT_CACHE": str(cache_root()),
        "ABLKIT_NOTEBOOKS": str(notebooks_root()),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def threads(number: int) -> dict[str, str]:
    """The variables that give a process its number of threads; says, once, where those of this process are others."""
    say_other_threads(number)
    return dict.fromkeys(THREADS, str(number))


def _follow(
    child: subprocess.Popen, private: Path, log: Path, timeout: float | None, show: Callable[[str], object]
) -> bool:
    """Pass on what the child prints until it ends; kill it and all its children when time is up or on Ctrl-C."""
    timer, expired = None, threading.Event()
    # A kernel that outlives the child, such as a frozen one, would keep the pipe open for ever.
    threading.Thread(target=lambda: (child.wait(), _kill_of(private)), daemon=True).start()
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
        _kill_of(private)
        raise
    finally:
        child.stdout.close()
        child.stdin.close()
        if timer:
            timer.cancel()
    return expired.is_set()


def _kill_of(private: Path) -> None:
    """Kill every process that works with a private folder, whoever its parent is by now."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get("TMPDIR") == str(private):
                process.kill()


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
