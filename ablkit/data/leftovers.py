"""What killed writers of prepared folders left beside them; nothing that a living process writes is touched."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from ablkit.files import host as this_host

_DIGITS = 10
"""The number of a process has fewer."""


def sweep_all(root: Path) -> None:
    """Delete what writers of whatever folder in `root` left on this machine that are no more.

    Known by the names that `ablkit.files.temporary_beside` gives. What has the number of this process stays, as it may
    be writing in another thread.
    """
    for path in root.glob(".?*.*.*.tmp"):
        host, number = path.name.removesuffix(".tmp").rsplit(".", 2)[1:]
        if host == this_host() and path.is_dir() and _is_dead(number):
            shutil.rmtree(path, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what writers of `folder` left on this machine that are no more; one with this very number is one too."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        host, _, number = path.name.removeprefix(f".{folder.name}.").removesuffix(".tmp").rpartition(".")
        if host in ("", this_host()) and (number == str(os.getpid()) or _is_dead(number)):
            shutil.rmtree(path, ignore_errors=True)


def _is_dead(number: str) -> bool:
    """Whether that is the number of a process, and none on this machine has it."""
    import psutil  # here, as a machine that has only torch and numpy can do without it

    return number.isdecimal() and len(number) < _DIGITS and not psutil.pid_exists(int(number))
