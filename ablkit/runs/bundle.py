"""Finished runs as one archive, to be carried to another machine: all but their weights, always the same bytes."""

from __future__ import annotations

import gzip
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ablkit.errors import UserError
from ablkit.files import read_json, write_bytes
from ablkit.runs import arrays, drawings, records, seals
from ablkit.runs.folder import PARAMETERS
from ablkit.runs.key import key_of
from ablkit.runs.records import Damaged

MOST = 16 << 20
"""Bytes of an archive."""
MOST_UNPACKED = 128 << 20
"""Bytes of an archive's content."""
MOST_OF_A_FILE = 8 << 20
TRAJECTORIES = "trajectories.npz"
NAMES = ("params.json", "env.json", "metrics.json", "files.json", "history.jsonl", "left_out.json")
NAMES += ("isolated.npy", "losses.npy", "excluded.npy", "poisoned.npy", TRAJECTORIES, "notebook.ipynb")
FIGURE = re.compile(r"figures/[\w-][\w.-]{0,79}\.(csv|svg|png)", re.ASCII)
_GZIP = b"\x1f\x8b"
END = bytes(1024)
"""What a tar ends with."""


def write(to: Path, folders: list[Path]) -> tuple[list[Path], list[Path]]:
    """Write finished runs as a .tar.gz, whole or not at all; return those that are in it and those that did not fit.

    Those that come first have precedence. An archive has at most 16 MiB; what a run has left out of it, such as the
    weights, its `left_out.json` says. Raises Damaged for a run that is not whole, UserError where none is given, and
    where `to` is there and is no archive.
    """
    if to.is_file() and to.stat().st_size and not to.read_bytes().startswith(_GZIP):
        raise UserError(f"{to} is no archive of runs, and would be replaced; name another file with --to")
    if not folders:
        raise UserError("there is no finished run to bundle; `ablkit runs` lists what there is")
    parts: dict[Path, bytes] = {}
    end = gzip.compress(END, mtime=0)
    packed, unpacked, too_much = len(end), len(END), []
    for folder in dict.fromkeys(folders):
        plain = content_of(_name(folder), files_of(folder))
        part = gzip.compress(plain, mtime=0)  # each on its own, so that sizes add up
        if packed + len(part) > MOST or unpacked + len(plain) > MOST_UNPACKED:
            too_much.append(folder)
            continue
        parts[folder] = part
        packed, unpacked = packed + len(part), unpacked + len(plain)
    if parts:
        write_bytes(to, b"".join(parts[folder] for folder in sorted(parts, key=_name)) + end)
    return list(parts), too_much


def files_of(folder: Path) -> dict[str, bytes]:
    """Name -> content of what an archive holds of a finished run; raises Damaged for one that is not whole."""
    check(folder)
    sealed = seals.sums(folder)
    away = seals.left_out(folder)
    found: dict[str, bytes] = {}
    for name in (*NAMES, *figures(f"figures/{path.name}" for path in (folder / "figures").glob("*"))):
        path = folder / name
        if name == seals.LEFT_OUT or not path.is_file() or path.is_symlink() or path.parent.is_symlink():
            continue
        if path.stat().st_size <= MOST_OF_A_FILE:
            found[name] = path.read_bytes()
        elif name in seals.SEALED and name not in seals.MAY_STAY:
            raise Damaged(path, f"has more than {MOST_OF_A_FILE >> 20} MiB, too much for an archive")
    away |= {name: (folder / name).stat().st_size for name in sealed if name not in found and name not in away}
    if away:
        found[seals.LEFT_OUT] = (json.dumps(away, indent=1, sort_keys=True) + "\n").encode()
    return found


def figures(names: Iterable[str]) -> list[str]:
    """Those files that an archive holds of a run's figures: a PNG only where it is no copy of a drawing beside it."""
    there = set(names)
    return sorted(
        name
        for name in there
        if FIGURE.fullmatch(name) and not (name.endswith(".png") and f"{name.removesuffix('.png')}.svg" in there)
    )


def content_of(name: str, files: dict[str, bytes]) -> bytes:
    """The part of a tar that holds a run, `NOTEBOOK/KEY`, without the tar's end: what the same files always give."""
    parts = []
    for own in sorted(files):
        entry = tarfile.TarInfo(f"{name}/{own}")
        entry.size = len(files[own])
        parts += [entry.tobuf(tarfile.USTAR_FORMAT), files[own], bytes(-len(files[own]) % tarfile.BLOCKSIZE)]
    return b"".join(parts)


def check(folder: Path) -> None:
    """Raise Damaged where a finished run is not whole, where its records cannot be used or its key is of another run.

    What it has left out may be missing.
    """
    records.parameters(folder)
    facts = records.an_object(folder / PARAMETERS)
    if (facts["notebook"], key_of(facts)) != (folder.parent.name, folder.name):
        raise Damaged(folder / PARAMETERS, "is damaged (it is of another run)")
    records.metrics(folder)
    for name, read in (("env.json", records.environment), ("history.jsonl", records.history)):
        if os.path.lexists(folder / name):
            read(folder)
    seals.check_sealed(folder)
    _check_arrays(folder)
    _check_figures(folder)
    path = folder / "notebook.ipynb"
    try:
        if os.path.lexists(path):
            read_json(path)
    except UserError:
        raise Damaged(path, "is damaged (it is no notebook)") from None


def _check_figures(folder: Path) -> None:
    drawn = sorted((folder / "figures").glob("*.svg"))
    pictures = [path for path in sorted((folder / "figures").glob("*.png")) if path.with_suffix(".svg") not in drawn]
    for path in (*drawn, *pictures):
        try:
            (drawings.check_picture if path in pictures else drawings.check)(path.read_bytes())
        except UserError as error:
            raise Damaged(path, str(error)) from None
    for path in sorted((folder / "figures").glob("*.csv")):
        if not path.with_suffix(".svg").is_file():
            raise Damaged(path, "is damaged (it has no drawing beside it)")


def _check_arrays(folder: Path) -> None:
    if os.path.lexists(folder / "isolated.npy"):
        arrays.isolated(folder, 1 << 40)
    arrays.excluded(folder, 1 << 40)
    arrays.poisoned(folder, 1 << 40)
    path = folder / "losses.npy"
    if os.path.lexists(path):
        found = arrays.array(path)
        if found.ndim != 1 or not np.issubdtype(found.dtype, np.floating):
            raise Damaged(path, "is damaged (it holds no losses)")
    path = folder / TRAJECTORIES
    if not os.path.lexists(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED:
                raise ValueError
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged archive fails in many ways, up to MemoryError
        raise Damaged(path, f"is damaged ({type(error).__name__})") from None


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
