"""Where a run happened: versions, hardware, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from ablkit import __version__
from ablkit.paths import project
from ablkit.training import hardware


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
        **{name: version(name) for name in ("torch", "numpy")},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else "none",
        "cuda": torch.version.cuda if cuda else "none",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hardware_line(environment: dict) -> str:
    """The environment in one line for tables and captions."""
    where = environment["gpu"] if environment.get("device") == "cuda" else environment["processor"]
    used = f"{environment['precision']}, " if "precision" in environment else ""
    return f"{where}, {environment['cores']} cores, {used}torch {environment['torch']}, Python {environment['python']}"


def commit() -> str:
    """The short commit of the clone, with `+changes` where files differ from it; `unknown` outside a clone."""
    git = ["git", "-C", str(project())]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
        status = subprocess.run([*git, "status", "--porcelain", "--", "ablkit", "notebooks"], capture_output=True)
    except OSError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def peak_memory_bytes(device: str) -> int:
    """The most memory that this process has held: on the GPU where it computes there, else resident."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
