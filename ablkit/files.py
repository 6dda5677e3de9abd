"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ablkit.errors import UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    A killed or failed writer leaves the former content of `path` untouched. Raises UserError where the disk is full.
    """
    # One name for each process: two writers of the same file never share a temporary one.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with saying_no_room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def saying_no_room(path: Path) -> Iterator[None]:
    """Raise UserError in place of the system's error where the disk of `path` is full."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise UserError(
                f"no room left to write {path}: free some space, then run the same command again"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict:
    """The object in the JSON file `path`; raises UserError where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run the command again") from None
