"""A private folder for all that a run keeps only while it lasts: gone at its end, or swept by the next run."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ablkit import files
from ablkit.errors import UserError
from ablkit.files import Busy

_PREFIX = "abl-"
_MARK = ".private-folder-of-an-ablkit-run"
"""The file that is locked, and that no other folder has: what lacks it is somebody's own, whatever its name."""
_LONGEST = 70
"""Characters of the folder above: a socket's whole path may have 103 on macOS and 107 on Linux."""
_NEW, _NEW_SECONDS = "new-", 60
"""How the name begins until the folder is locked, and after how long it is not any more about to be."""


@contextlib.contextmanager
def private_folder(longest: int = _LONGEST) -> Iterator[tuple[Path, int]]:
    """A new folder that only this user can read, with a short path, and a descriptor that marks it as used.

    Whatever process inherits the descriptor keeps the folder from being swept. Folders of runs that were killed are
    swept first.

    Args:
        longest: bytes that the path of the folder above may have.

    Raises UserError where no folder for temporary files has a path short enough for sockets.
    """
    root = _root(longest)
    _sweep(root)
    # Locked before it has the name by which others would sweep it.
    new = Path(tempfile.mkdtemp(prefix=_NEW + _PREFIX, dir=root))
    folder = root / new.name.removeprefix(_NEW)
    try:
        with files.locked(new, name=_MARK) as held:
            os.rename(new, folder)
            yield folder, held
    finally:
        for made in (new, folder):
            shutil.rmtree(made, ignore_errors=True)


def _root(longest: int) -> Path:
    """The system's folder for temporary files, or where its path is too long for sockets a shorter one."""
    for root in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        if len(os.fsencode(root)) <= longest and os.path.isdir(root) and os.access(root, os.W_OK | os.X_OK):
            return Path(root)
    raise UserError(f"no folder for temporary files has a path of at most {longest} bytes; set TMPDIR to one")


def _sweep(root: Path) -> None:
    """Delete the folders that no process uses any more."""
    for folder in (*root.glob(f"{_PREFIX}*"), *root.glob(f"{_NEW}{_PREFIX}*")):
        with contextlib.suppress(OSError, Busy):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or not (folder / _MARK).is_file():
                continue  # somebody else's
            if folder.name.startswith(_NEW) and time.time() - status.st_mtime < _NEW_SECONDS:
                continue
            with files.locked(folder, name=_MARK):
                shutil.rmtree(folder, ignore_errors=True)
