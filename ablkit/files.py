"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from ablkit.errors import UserError, shown

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHORT = re.compile(r"\d+ requested and \d+ written")
"""How numpy says that a disk is full, without a number of the error."""
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_DENIED = {errno.EACCES, errno.EPERM}
_NO_PLACE = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT}

LOCK = ".lock"
"""Name of the file in a folder that is locked."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    A killed or failed writer leaves the former content of `path` untouched. Raises UserError where the disk is full
    or the path cannot be written.
    """
    temporary = temporary_beside(path)
    with saying_why(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Where this process writes what is to be renamed to `path`: `.NAME.HOST.PID.tmp` beside it.

    Two processes that write the same file never share it, not even on two machines with one file system.
    """
    return path.with_name(f".{path.name}.{host()}.{os.getpid()}.tmp")


def host() -> str:
    """The name of this machine, as far as names of files have it: short, as they have at most 255 bytes."""
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:32]


def sweep_temporary(folder: Path) -> None:
    """Delete what killed writers left below a folder that this process alone may write: see `write_whole`."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def saying_why(path: Path) -> Iterator[None]:
    """Raise UserError in place of the system's error where `path` cannot be written, with the reason and a way out."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM or _SHORT.search(str(error)):
            raise UserError(
                f"no room left to write {path}: free some space, then run the same command again"
            ) from error
        if error.errno in _NOT_ALLOWED | _NO_PLACE:
            where = error.filename or path
            raise UserError(f"cannot write {where}: {error.strerror}; name a place that you may write") from error
        raise


def inert(value: object) -> object:
    """A value for a CSV file: a text that a spreadsheet would run gets a quote before it, as strangers choose names."""
    return f"'{value}" if isinstance(value, str) and re.match(r"[=+\-@\t\r](?!\d+$)", value) else value


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented, strict JSON with sorted keys, whole or not at all; see `strict`."""
    write_text(path, json.dumps(strict(value), indent=1, sort_keys=True, allow_nan=False) + "\n")


def strict(value: object) -> object:
    """`value` with null in place of what JSON has no number for: nan and the infinities."""
    if isinstance(value, dict):
        return {key: strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [strict(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Unreadable(UserError):
    """A file or folder that may not be read: nothing says that it is damaged, so nothing is to be deleted."""


def unreadable(path: Path | str, error: OSError) -> Unreadable:
    """The error for what the system does not let this process read, with the reason and a way out."""
    way_out = "allow yourself to read it" if error.errno in _DENIED else "see to its disk or link"
    return Unreadable(f"{path} cannot be read: {error.strerror or error}; {way_out}")


def status_of(path: Path | str) -> os.stat_result | None:
    """What the system knows of a file or folder, None where nothing is there; raises Unreadable where it will not say.

    `os.path.exists` and its like say that nothing is there where a folder above may not be looked into.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last for a zero byte
        return None
    except OSError as error:
        raise unreadable(path, error) from None


def read_text(path: Path) -> str:
    """The UTF-8 text of a regular file, without a byte order mark.

    Raises UserError where it is missing, may not be read, is no text, or is no regular file: a pipe would never end.
    """
    status = status_of(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no regular file; name one that is")
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is damaged: it is no text") from None
    except ValueError:  # a name with a zero byte
        raise UserError(f"{shown(str(path))} names no file") from None


def read_json(path: Path) -> dict:
    """The object in the JSON file `path`; raises UserError where it is missing, damaged or something else."""
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{path} is damaged ({reason}); delete it and run the command again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (it holds no object); delete it and run the command again")
    return value


class Busy(UserError):
    """Another process is filling the folder of this run."""


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False, name: str = LOCK) -> Iterator[int]:
    """Hold a folder, made if need be; yields a descriptor that keeps it held in whatever process inherits it.

    Args:
        wait: wait until no other process holds it.
        name: of the file in it that is locked.

    Raises Busy where another process holds it, UserError where it cannot be written. On a file system without locks it
    warns, once in a process, and goes on.
    """
    descriptor = _held(folder, wait, name)
    if descriptor is None:
        raise Busy(f"{folder} is being filled by another process; wait for it or stop it")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_busy(folder: Path) -> bool:
    """Whether a process is filling the folder of a run at this moment."""
    if not os.path.exists(folder / LOCK):
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


def _held(folder: Path, wait: bool, name: str) -> int | None:
    """A descriptor of the locked file in a folder; None where another process holds it."""
    while True:
        with contextlib.ExitStack() as opened:
            with saying_why(folder):
                folder.mkdir(parents=True, exist_ok=True)
                descriptor = _open(folder / name)
            opened.callback(os.close, descriptor)
            if not _take(descriptor, folder, wait):
                return None
            # Or else the folder was deleted between opening and locking: who makes it again would hold it, too.
            if _is_at(folder / name, descriptor):
                opened.pop_all()
                return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a path still names the file that is open."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return os.path.samestat(found, os.fstat(descriptor))


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
