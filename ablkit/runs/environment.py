"""Where a run happened: versions, hardware, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from ablkit import __version__
from ablkit.paths import project
from ablkit.runs import arguments
from ablkit.training import hardware

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""The variables that set a number of threads for programs that do not set it themselves."""


def say_other_threads(number: int) -> None:
    """Say on standard error, once, where variables ask for another number of threads than a run's own."""
    for name in THREADS:
        if os.environ.get(name, str(number)) != str(number):
            _say_other(name, os.environ[name], number)


@cache
def _say_other(name: str, value: str, number: int) -> None:
    print(
        f"ablkit: {name}={value} has no effect: the number of threads is a parameter of the run, here threads={number}",
        file=sys.stderr,
    )


def describe(device: str = "auto", precision: str = "auto") -> dict:
    """Versions, hardware, what of it is used, commit and time: text and numbers without any path or host name."""
    cuda = torch.cuda.is_available()
    place = hardware.choose(device, precision)
    return {
        "device": place.device.type,
        "precision": place.precision,
        "ablkit": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "scikit-learn")},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": arguments.cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else "none",
        "cuda": torch.version.cuda if cuda else "none",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def name_of(device: str) -> str:
    """The GPU's or the processor's name, as `describe` has it."""
    return torch.cuda.get_device_name() if device == "cuda" else _processor()


def hardware_line(environment: dict) -> str:
    """The environment in one line for tables and captions."""
    where = environment["gpu"] if environment.get("device") == "cuda" else environment["processor"]
    used = f"{environment['precision']}, " if "precision" in environment else ""
    cores = f"{environment['cores']} core{'' if environment['cores'] == 1 else 's'}"
    return f"{where}, {cores}, {used}torch {environment['torch']}, Python {environment['python']}"


def commit() -> str:
    """The short commit of the clone, with `+changes` where files differ from it; else `unknown` with the reason."""
    # Variables of Git, as hooks set them, would name another repository.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> subprocess.CompletedProcess:
        command = ["git", "-C", str(project()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", env=own)

    try:
        top, head = git("rev-parse", "--show-toplevel"), git("rev-parse", "--short=10", "HEAD")
        status = git("status", "--porcelain", "--", "ablkit", "notebooks")
    except OSError:
        return "unknown: git is not installed"
    if top.returncode:
        refused = "dubious ownership" in top.stderr
        return "unknown: git refuses a clone of another user" if refused else "unknown: no clone"
    if Path(top.stdout.rstrip("\n")).resolve() != project().resolve():
        return "unknown: no clone of its own, but within another repository"
    if Path(__file__).resolve().parents[2] != project().resolve():
        return "unknown: the package is a copy that lies outside of the clone"
    if head.returncode:
        return "unknown: a clone without a commit"
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def peak_memory_bytes(device: str) -> int:
    """The most memory that this process has held: on the GPU where it computes there, else resident."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
