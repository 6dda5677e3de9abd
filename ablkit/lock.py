"""Locks on folders: of all processes that want to fill one, a single one does, and what it starts holds on to it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
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
def locked(folder: Path, *, wait: bool = False, name: str = NAME) -> Iterator[int]:
    """Hold a folder, made if need be; yields a descriptor that keeps it held in whatever process inherits it.

    Args:
        wait: wait until no other process holds it.
        name: of the file in it that is locked.

    Raises Busy where another process holds it, UserError where it cannot be written. On a file system without locks it
    warns, once in a process, and goes on.
    """
    with contextlib.ExitStack() as opened:
        with saying_why(folder):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = _open(folder / name)
        opened.callback(os.close, descriptor)
        if not _take(descriptor, folder, wait):
            raise Busy(f"{folder} is being filled by another process; wait for it or stop it")
        yield descriptor


def is_busy(folder: Path) -> bool:
    """Whether a process is filling the folder of a run at this moment."""
    if not (folder / NAME).exists():
        return False
    try:
        with locked(folder):
            return False
    except Busy:
        return True


def _open(path: Path) -> int:
    """A descriptor of the file, made if need be; neither a link is followed nor a pipe waited for."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{path} is no regular file; delete it") from None
        raise error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no regular file; delete it")
    return descriptor


def _take(descriptor: int, folder: Path, wait: bool) -> bool:
    try:
        import fcntl  # here, as importing the package must not need it
    except ModuleNotFoundError:
        raise UserError("this needs flock, which this system does not have; use Linux, macOS or WSL") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
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
