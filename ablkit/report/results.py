"""What a report takes from the folder of a run: read with care, for a folder may be damaged or come from others."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ablkit.environment import hardware_line
from ablkit.errors import UserError
from ablkit.files import read_json, read_text, strict
from ablkit.jobs import Job
from ablkit.metrics import TABLE
from ablkit.report import drawings

_LONGEST_MESSAGE = 400
_COUNTS = ("seconds", "training_images", "poisoned_images")
_PLAIN_NAME = re.compile(r"[\w-][\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Result:
    """A run as the pages show it."""

    job: Job
    state: str
    """`done`, `failed`, `missing`, or `damaged`: its metrics count nowhere then."""
    metrics: dict
    environment: dict
    message: str = ""
    """Why it failed or is damaged."""

    def damaged(self, reason: object) -> Result:
        """The same run, found damaged after all."""
        return replace(self, state="damaged", metrics={}, environment={}, message=_one_line(reason))


def read(job: Job) -> Result:
    """What is known of a run; one whose records cannot be used is `damaged`."""
    state = job.state
    result = Result(job, state, {}, {})
    if state == "failed":
        return replace(result, message=_failure(job.folder))
    if state != "done":
        return result
    try:
        return replace(result, metrics=_metrics(job.folder), environment=_environment(job.folder))
    except UserError as error:
        return result.damaged(error)


def figures(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """The numbers and drawings of a run's figures, file name -> content; and what is left out, with the reason.

    As drawings only what is drawn from numbers: pictures of images stand in the page, and would be half of a report.
    Raises UserError where the drawing of some numbers is missing.
    """
    found, left_out = {}, []
    for table in sorted((folder / "figures").glob("*.csv")):
        names = (table.name, f"{table.stem}.svg")
        if not (folder / "figures" / names[1]).exists():
            raise UserError(f"figures/{names[1]} is missing")
        for name in names:
            try:
                if not _PLAIN_NAME.fullmatch(name):
                    raise UserError("has a name with signs other than letters, digits, dots and dashes")
                content = own_file(folder, f"figures/{name}").read_bytes()
                if name.endswith(".svg"):
                    drawings.check(content)
            except UserError as error:
                left_out.append(f"figures/{name} {str(error).removeprefix(f'figures/{name} ')}")
            else:
                found[name] = content
    return found, left_out


def own_file(folder: Path, name: str) -> Path:
    """The file `name` of a run's folder; raises UserError where it is missing, or not a regular file in there.

    Through a link any file of this machine would join the pages, and a pipe would never end.
    """
    path = folder / name
    way = [path, *(parent for parent in path.parents if folder in parent.parents)]
    if any(part.is_symlink() for part in way):
        raise UserError(f"{name} is a link, not a file in the run's folder")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"{name} is no regular file")
    return path


def notebook(folder: Path) -> str:
    """The text of a run's notebook."""
    return _named(folder, "notebook.ipynb", read_text)


def _named(folder: Path, name: str, read: Callable[[Path], object]) -> object:
    """A file of the run's folder; raises UserError that names the file alone, not its folder."""
    path = own_file(folder, name)
    try:
        return read(path)
    except UserError as error:
        # The way out in those messages, deleting the file, is not that of a page.
        raise UserError(str(error).replace(str(path), name).partition("; delete")[0]) from None


def _metrics(folder: Path) -> dict:
    """The metrics, with None for what is no finite number; those that the pages show are numbers."""
    metrics = strict(_named(folder, "metrics.json", read_json))
    for name, value in metrics.items():
        shown = name in _COUNTS or name.startswith(TABLE)
        if shown and not (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
            raise UserError(f"metrics.json: {name} is no number")
    return metrics


def _environment(folder: Path) -> dict:
    facts = _named(folder, "env.json", read_json)
    if any(isinstance(value, dict | list) for value in facts.values()):
        raise UserError("env.json holds more than names and values")
    try:
        hardware_line(facts)
        if "peak_memory_bytes" in facts:
            facts["peak_memory"] = f"{facts.pop('peak_memory_bytes') / 2**20:.0f} MiB"
    except KeyError as error:
        raise UserError(f"env.json lacks {error}") from None
    except TypeError:
        raise UserError("env.json: peak_memory_bytes is no number") from None
    return facts


def _failure(folder: Path) -> str:
    try:
        message = _named(folder, "failure.json", read_json).get("message")
    except UserError as error:
        message = str(error)
    return _one_line(message if isinstance(message, str) and message.strip() else "it left no reason")


def _one_line(message: object) -> str:
    """The first line of a message, cut where it is long."""
    line = next(iter(str(message).strip().splitlines()), "")
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
