"""Adding the runs of an archive to this machine's: the archive may come from anybody, and nothing here is lost."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tarfile
import zlib
from pathlib import Path

from ablkit.errors import UserError
from ablkit.files import LOCK, Busy, locked, write_bytes
from ablkit.paths import runs_root
from ablkit.runs import bundle, seals
from ablkit.runs.parameters import NOTEBOOKS
from ablkit.runs.private import private_folder
from ablkit.runs.records import Damaged

_ENTRY = re.compile(r"([a-z_]{1,40})/([0-9a-f]{12})/([\w./-]{1,100})", re.ASCII)
_MOST_ENTRIES = 100_000
_LAST = ("params.json", "metrics.json")
"""Written last, in this order: without them a folder is no run to anybody."""


def add(file: Path) -> dict[Path, str]:
    """Add the runs of an archive, each whole or not at all; folder -> what became of it.

    `added`; `there` where the same run is here already; `other` where one with another result is, which stays as it
    is, and so it does where it is damaged; `busy` where a process has it in hand.

    Raises UserError, before anything is added, for a file that is not what `bundle.write` makes of whole runs.
    """
    found = _runs(file)
    with private_folder() as (private, _):
        for (notebook, key), files in found.items():
            folder = private / notebook / key
            for name, content in files.items():
                write_bytes(folder / name, content)
            try:
                bundle.check(folder)
            except Damaged as error:
                where = f"{notebook}/{key}/{error.path.relative_to(folder)}"
                raise _refused(file, f"{where} {error.reason}") from None
        own = {
            runs_root() / notebook / key: (private / notebook / key, files) for (notebook, key), files in found.items()
        }
        return {folder: _add(folder, *given) for folder, given in own.items()}


def _refused(file: Path, reason: str) -> UserError:
    return UserError(f"{file}: {reason}; nothing was added, make it again with `ablkit runs bundle`")


def _runs(file: Path) -> dict[tuple[str, str], dict[str, bytes]]:
    """(notebook, key) -> name -> content of the runs in an archive; raises UserError for any other file."""
    content = _unpacked(file)
    found: dict[tuple[str, str], dict[str, bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for count, entry in enumerate(archive):
                if count >= _MOST_ENTRIES:
                    raise _refused(file, f"it has more than {_MOST_ENTRIES:,} files")
                notebook, key, name = _parts(file, entry)
                found.setdefault((notebook, key), {})[name] = archive.extractfile(entry).read()
    except (tarfile.TarError, ValueError, OverflowError, EOFError, KeyError, AttributeError):
        raise _refused(file, "it is no archive of runs") from None
    for files in found.values():
        figures = [name for name in files if bundle.FIGURE.fullmatch(name)]
        if sorted(figures) != bundle.figures(figures):
            raise _refused(file, "it holds a drawing and a picture of one name")
    # The same files always give the same bytes: whatever else a tar may hold, hide or repeat is seen by that.
    again = b"".join(bundle.content_of("/".join(name), found[name]) for name in sorted(found)) + bundle.END
    if again != content:
        raise _refused(file, "it is damaged, or was not made by this command")
    return found


def _parts(file: Path, entry: tarfile.TarInfo) -> tuple[str, str, str]:
    """Notebook, key and name of an entry; raises UserError for what is no file of a run."""
    match = _ENTRY.fullmatch(entry.name) if entry.isreg() else None
    name = match[3] if match else ""
    if not match or match[1] not in NOTEBOOKS or not (name in bundle.NAMES or bundle.FIGURE.fullmatch(name)):
        raise _refused(file, f"{entry.name[:100]!r} in it is no file of a run")
    if entry.size > bundle.MOST_OF_A_FILE:
        raise _refused(file, f"{entry.name} has more than {bundle.MOST_OF_A_FILE >> 20} MiB")
    return match[1], match[2], name


def _unpacked(file: Path) -> bytes:
    """The content of an archive; raises UserError where it is none, is cut, or is too large."""
    if os.path.lexists(file) and not os.path.isfile(file):
        raise UserError(f"{file} is no regular file; name an archive of `ablkit runs bundle`")
    try:
        if file.stat().st_size > bundle.MOST:
            raise _refused(file, f"it has more than {bundle.MOST >> 20} MiB")
        with open(file, "rb") as opened:
            content = gzip.GzipFile(fileobj=io.BytesIO(opened.read(bundle.MOST))).read(bundle.MOST_UNPACKED + 1)
    except FileNotFoundError:
        raise UserError(f"{file} does not exist") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise _refused(file, "it is cut, damaged or no archive of runs") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > bundle.MOST_UNPACKED:
        raise _refused(file, f"its content has more than {bundle.MOST_UNPACKED >> 20} MiB")
    return content


def _add(folder: Path, given: Path, files: dict[str, bytes]) -> str:
    """Fill the folder of a run with files that were checked at `given`, unless one is done there."""
    if folder.is_symlink():
        return "other"  # somebody's own folder, which is not ours to fill
    try:
        with locked(folder):
            if os.path.lexists(folder / "metrics.json"):
                return "there" if _is_same(folder, given) else "other"
            _empty(folder)
            for name in sorted(files, key=lambda name: (_LAST.index(name) if name in _LAST else -1, name)):
                write_bytes(folder / name, files[name])
            return "added"
    except Busy:
        return "busy"


def _is_same(folder: Path, given: Path) -> bool:
    try:
        seals.check_sealed(folder)
        return seals.sums(folder) == seals.sums(given)
    except Damaged:
        return False


def _empty(folder: Path) -> None:
    """Delete what a run that did not end, or an adding that was killed, has left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
