"""What a report takes from the folder of a run: read with care, for a folder may be damaged or come from others."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from ablkit.errors import UserError
from ablkit.files import read_text
from ablkit.runs import drawings, records
from ablkit.runs.job import Job

_LONGEST_MESSAGE = 400
_LARGEST = 1 << 25
"""Bytes of a file that joins the pages: ten times what the largest notebook has."""
_PLAIN_NAME = re.compile(r"[\w-][\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class Result:
    """A run as the pages show it."""

    job: Job
    state: records.State
    """See there. The metrics of a `damaged` one count nowhere."""
    metrics: dict
    environment: dict
    message: str = ""
    """Why it failed or is damaged."""

    def damaged(self, reason: object) -> Result:
        """The same run, found damaged after all."""
        return replace(self, state="damaged", metrics={}, environment={}, message=_one_line(reason))


def read(job: Job) -> Result:
    """What is known of a run; one whose records cannot be used is `damaged`."""
    folder, result = job.folder, Result(job, job.state, {}, {})
    if result.state not in ("done", "damaged"):
        return replace(result, message=_failure(folder)) if result.state == "failed" else result
    try:
        for name in ("metrics.json", "env.json"):
            own_file(folder, name)
        return replace(result, state="done", metrics=records.metrics(folder), environment=_environment(folder))
    except records.Damaged as error:
        return result.damaged(f"{error.path.name} {error.reason}")
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
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{name} has more than {_LARGEST >> 20} MiB")
    return path


def notebook(folder: Path) -> str:
    """The text of a run's notebook; raises UserError as `own_file` does, and where it is no text."""
    path = own_file(folder, "notebook.ipynb")
    try:
        return read_text(path)
    except UserError as error:
        raise UserError(str(error).replace(str(path), path.name)) from None


def _environment(folder: Path) -> dict:
    facts = records.environment(folder)
    if "peak_memory_bytes" in facts:
        facts["peak_memory"] = f"{(facts.pop('peak_memory_bytes') or 0) / 2**20:.0f} MiB"
    return facts


def _failure(folder: Path) -> str:
    try:
        own_file(folder, "failure.json")
        return _one_line(records.failure(folder)["message"]) or "it left no reason"
    except UserError:
        return "it left no reason that can be read"


def _one_line(message: object) -> str:
    """The first line of a message, cut where it is long."""
    line = next(iter(str(message).strip().splitlines()), "")
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
