"""What a finished run is held to: the sha256 of the files that others build on, and which of them stayed elsewhere."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ablkit.files import write_json
from ablkit.runs import records
from ablkit.runs.records import Damaged

SEALED = ("metrics.json", "env.json", "notebook.ipynb")
SEALED += ("model.safetensors", "isolated.npy", "losses.npy", "excluded.npy", "poisoned.npy")
SEALED += ("trajectories.npz", "history.jsonl")
"""The files of a finished run that other runs and the pages build on."""
SEAL = "files.json"
LEFT_OUT = "left_out.json"
"""Of a run that came in an archive: name -> bytes of the files that the archive did not hold."""
MAY_STAY = ("model.safetensors", "isolated.npy", "losses.npy", "notebook.ipynb")
"""What neither a table nor a figure reads."""


def seal(folder: Path, metrics: Path) -> None:
    """Keep the sha256 of what other runs and the pages build on, as `files.json`: name -> sha256.

    Args:
        metrics: the file that is to become `metrics.json`, as it is the last to get its name.
    """
    files = {name: folder / name for name in SEALED} | {"metrics.json": metrics}
    write_json(folder / SEAL, {name: sha256(path) for name, path in files.items() if path.exists()})


def sums(folder: Path) -> dict:
    """Name -> sha256 of the files that a run was sealed with; raises Damaged."""
    found = records.an_object(folder / SEAL)
    if not found.keys() <= set(SEALED):
        raise Damaged(folder / SEAL, "is damaged (it names other files)")
    return found


def check_sealed(folder: Path) -> None:
    """Raise Damaged where a file that other runs build on is gone, cut or changed, or where `files.json` is.

    What an archive has left out may be missing.
    """
    known, away = sums(folder), left_out(folder)
    for path in (folder / name for name in SEALED):
        there = os.path.lexists(path)
        # One that is there and was not sealed is no work of this run either.
        if (there or (path.name in known and path.name not in away)) and sha256(path) != known.get(path.name):
            raise Damaged(path, "is damaged (it is not what the run wrote)")


def left_out(folder: Path) -> dict[str, int]:
    """Name -> bytes of the sealed files of a run that stayed where it was made, so far as they are not here.

    Raises Damaged.
    """
    path = folder / LEFT_OUT
    if not os.path.lexists(path):
        return {}
    found = records.an_object(path)
    if not found.keys() <= set(MAY_STAY) or not all(
        type(size) is int and 0 <= size < 1 << 63 for size in found.values()
    ):
        raise Damaged(path, "is damaged (it names other files than an archive leaves out, or no numbers of bytes)")
    return {name: size for name, size in found.items() if not os.path.lexists(folder / name)}


def sha256(path: Path) -> str:
    """The sha256 of a regular file, in hexadecimal digits; raises Damaged where it cannot be read."""
    if not os.path.isfile(path):
        raise Damaged(path, "does not exist, or is no regular file")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Damaged(path, f"cannot be read: {error.strerror}") from None
