"""What is read of a run folder, validated: plain values, or `Damaged` with the name of the file."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from ablkit.errors import UserError, shown
from ablkit.files import read_text
from ablkit.paths import runs_root
from ablkit.runs.parameters import NOTEBOOKS

T = TypeVar("T")
Scalar = bool | int | float | str | None
State = Literal["done", "damaged", "failed", "unfinished", "missing"]

_LARGEST = 1 << 24
"""Bytes of a record: a hundred times what the longest training writes."""
_NUMBERS = {
    "attack_success_rate",
    "clean_accuracy",
    "clean_accuracy_non_target",
    "cross_trigger_accuracy",
    "exclusion_precision",
    "exclusion_recall",
    "false_trigger_rate",
    "images",
    "images_per_second",
    "isolated_images",
    "isolation_average_precision",
    "isolation_auroc",
    "isolation_precision",
    "isolation_recall",
    "loss",
    "peak_memory_bytes",
    "poisoned_images",
    "poisoning_seconds",
    "robust_accuracy",
    "seconds",
    "split_precision",
    "split_recall",
    "target_class_accuracy",
    "training_images",
    "wall_seconds",
}
"""What is computed with by name, also with `_before` and `_finetuned` behind: a number or null, and never a text."""
_SHARE = re.compile(
    "^(attack_success_rate|.*clean_accuracy|target_class_accuracy|(isolation|exclusion|split)_(precision|recall|auroc))"
)
"""Metrics that are fractions of 1."""
_HARDWARE = ("gpu", "processor", "cores", "torch", "python")
"""What tables and captions say of the environment of every run."""


class Damaged(UserError):
    """A file of a run that is gone, or is not what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} {reason}; delete its folder, or run it again")


def parameters(folder: Path) -> dict[str, Scalar]:
    """The parameters of a run, from `params.json`; raises Damaged."""
    path = folder / "params.json"
    record = an_object(path)
    notebook, values = record.get("notebook"), record.get("parameters")
    if not isinstance(notebook, str) or notebook not in NOTEBOOKS:
        raise Damaged(path, f"is damaged (it names no notebook: {shown(notebook)})")
    if not isinstance(values, dict):
        raise Damaged(path, "is damaged (it holds no parameters)")
    fields = NOTEBOOKS[notebook].model_fields
    for name, value in _plain(path, values).items():
        # One that this version does not have, or has not any more, is nobody's damage.
        wanted = type(fields[name].default) if name in fields else None
        if wanted and type(value) is not wanted and (wanted, type(value)) != (float, int):
            raise Damaged(path, f"is damaged ({shown(name)} is {shown(value)})")
    return values


def metrics(folder: Path) -> dict[str, Scalar]:
    """The flat metrics of a finished run, from `metrics.json`; raises Damaged."""
    path = folder / "metrics.json"
    return _plain(path, an_object(path))


def environment(folder: Path) -> dict[str, Scalar]:
    """Where a run happened, from `env.json`, with `unknown` where it lacks what tables say; raises Damaged."""
    path = folder / "env.json"
    return dict.fromkeys(_HARDWARE, "unknown") | _plain(path, an_object(path))


def state(folder: Path) -> State:
    """How far a run is, by what lies in its folder.

    `done`, `damaged` (its metrics cannot be read, so it is made again), `failed`, `unfinished` (running, or killed and
    to be continued) or `missing` (nothing was started).
    """
    # A link to nowhere counts: it is damage, and is to be named.
    if os.path.lexists(folder / "metrics.json"):
        try:
            metrics(folder)
        except Damaged:
            return "damaged"
        return "done"
    if os.path.lexists(folder / "failure.json"):
        return "failed"
    return "unfinished" if os.path.lexists(folder / "params.json") else "missing"


def failure(folder: Path) -> dict[str, str]:
    """`message` and `cell` of a failed run, from `failure.json`; raises Damaged."""
    path = folder / "failure.json"
    record = {"cell": "unknown", **_plain(path, an_object(path))}
    for name in ("message", "cell"):
        if not isinstance(record.get(name), str):
            raise Damaged(path, f"is damaged ({name} is {shown(record.get(name))})")
    return {"message": record["message"], "cell": record["cell"]}


def history(folder: Path) -> list[dict[str, Scalar]]:
    """The records of a run's epochs, from `history.jsonl`: each with the text `stage` and the number `epoch`.

    Raises Damaged.
    """
    path = folder / "history.jsonl"
    lines = _text(path).removesuffix("\n").split("\n")
    found = []
    for number, line in enumerate(lines, 1):
        record = _parsed(path, line, f"line {number}: ")
        if not isinstance(record, dict):
            raise Damaged(path, f"is damaged (line {number} holds no object)")
        _plain(path, record)
        if not isinstance(record.get("stage"), str) or type(record.get("epoch")) is not int:
            raise Damaged(path, f"is damaged (line {number} has no stage or no epoch)")
        found.append(record)
    return found


def folders(notebook: str | None = None, *files: str) -> list[Path]:
    """The run folders of a notebook, or of all of them; raises UserError where they cannot be listed.

    Args:
        *files: those with one of these, or that may not be entered; by default all in which a run has left something.
    """
    files = files or ("params.json", "metrics.json", "failure.json")
    parents = [runs_root() / notebook] if notebook else _below(runs_root())
    found = []
    for parent in parents:
        try:
            found += _below(parent)
        except UserError as error:
            print(f"ablkit: {error}", file=sys.stderr)
    return [f for f in found if any(os.path.lexists(f / n) for n in files) or not os.access(f, os.R_OK | os.X_OK)]


def readable(folders: list[Path], read: Callable[[Path], T]) -> list[T]:
    """What `read` returns for each folder; those where it raises Damaged are left out, and named in one warning."""
    found, damaged = [], []
    for folder in folders:
        try:
            found.append(read(folder))
        except Damaged as error:
            damaged.append(f"{folder.name} ({error.path.name} {error.reason})")
    if damaged:
        named = ", ".join(damaged[:5]) + (f" and {len(damaged) - 5} more" if damaged[5:] else "")
        count = "1 run is" if len(damaged) == 1 else f"{len(damaged)} runs are"
        print(f"ablkit: {count} damaged and left out: {named}; delete the folder, or run it again", file=sys.stderr)
    return found


def _below(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}; make it readable") from None


def _text(path: Path) -> str:
    try:
        if not os.path.isfile(path) or path.stat().st_size <= _LARGEST:
            return read_text(path)
    except OSError as error:
        raise Damaged(path, f"cannot be read: {error.strerror}") from None
    except UserError as error:
        raise Damaged(path, str(error).removeprefix(f"{path} ").partition(";")[0]) from None
    raise Damaged(path, f"is damaged (it has more than {_LARGEST >> 20} MiB)")


def an_object(path: Path) -> dict:
    """The object in a JSON file, whatever it holds; raises Damaged."""
    value = _parsed(path, _text(path))
    if not isinstance(value, dict):
        raise Damaged(path, "is damaged (it holds no object)")
    return value


def _parsed(path: Path, text: str, where: str = "") -> object:
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise Damaged(path, f"is damaged ({where}nested too deeply)") from None
    except ValueError as error:
        raise Damaged(path, f"is damaged ({where}{error})") from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _plain(path: Path, values: dict) -> dict[str, Scalar]:
    """The values, which must be scalars, and numbers where the name is one that is computed with."""
    for name, value in values.items():
        computed = re.sub("_(before|finetuned)$", "", name) in _NUMBERS
        fits = value is None or _is_number(value) or (not computed and _is_word(value))
        if _SHARE.search(name) and path.name == "metrics.json" and _is_number(value):
            fits = 0 <= value <= 1
        if not fits or not _is_word(name):
            raise Damaged(path, f"is damaged ({shown(name)} is {shown(value)})")
    return values


def _is_word(value: object) -> bool:
    """Whether it is a truth value or a text that can be printed, as one with half a surrogate pair cannot."""
    return isinstance(value, bool) or (isinstance(value, str) and not re.search("[\ud800-\udfff]", value))


def _is_number(value: object) -> bool:
    """Whether it is a number that fits into a column of a table."""
    if type(value) is int:
        return abs(value) < 1 << 63
    return isinstance(value, float) and math.isfinite(value)
