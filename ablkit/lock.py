"""Locks on folders: of all processes that want to fill one, a single one does, and what it starts holds on to it."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ablkit.errors import UserError
from ablkit.files import saying_why

NAME = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Busy(UserError):
    """Another process is filling the folder of this run."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold a folder, made if need be; yields a descriptor that keeps it held in whatever process inherits it.

    Raises Busy where another process holds it, UserError where it cannot be written. On a file system without locks it
    warns, once in a process, and goes on.
    """
    with contextlib.ExitStack() as opened:
        with saying_why(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = opened.enter_context(open(folder / NAME, "w"))
        if not _take(file.fileno(), folder):
            raise Busy(f"{folder} is being filled by another process; wait for it or stop it")
        yield file.fileno()


def is_busy(folder: Path) -> bool:
    """Whether a process is filling the folder of a run at this moment."""
    if not (folder / NAME).exists():
        return False
    try:
        with locked(folder):
            return False
    except Busy:
        return True


def _take(descriptor: int, folder: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        raise UserError("running notebooks needs flock, which this system lacks; use Linux, macOS or WSL") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(str(folder.parent), os.strerror(error.errno))
    return True


@cache
def _warn(where: str, reason: str) -> None:
    warnings.warn(
        f"the file system of {where} has no locks ({reason}): let only one command at a time fill runs there",
        stacklevel=2,
    )
