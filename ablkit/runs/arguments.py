"""What a user gives to a command beside parameters: whole numbers, seconds and places, each within its bounds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ablkit.errors import UserError, shown
from ablkit.paths import check_writable

MOST_SECONDS = 5_000_000
"""Two months. A thousand runs in one process may take a thousand times that, and no clock takes twice as much."""
MOST_AT_A_TIME = 1_000
"""Runs at a time, on this machine or on one GPU."""
MOST_RUNS = 100_000
"""Runs of a sweep, and so also its shards."""
MOST_SEED = 2**63 - 1
"""What a whole number may be wherever results are written."""


def whole(name: str, value: object, least: int, most: int) -> int:
    """A whole number from `least` to `most`, or its decimal digits; raises UserError for everything else."""
    if isinstance(value, str):
        number = int(value) if re.fullmatch(r"-?[0-9]{1,30}", value) else None
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if number is None or not least <= number <= most:
        raise UserError(f"{name} {shown(value)} must be a whole number from {least} to {most}")
    return number


def share(name: str, value: str) -> float:
    """A share of 1, from its text; raises UserError for what is none."""
    try:
        number = float(value) if value.isascii() else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise UserError(f"{name} {shown(value)} is no share; give a number in [0, 1), such as 0.1")
    return number


def seconds(name: str, value: object) -> float:
    """A time limit as a number of seconds, or its text; raises UserError for one that kills at once or never."""
    try:
        number = float(value) if not isinstance(value, str) or value.isascii() else 0.0
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not 0 < number <= MOST_SECONDS:
        way_out = f"give a number of seconds above 0 and at most {MOST_SECONDS}, or leave it out"
        raise UserError(f"{name} {shown(value)} is no time limit: {way_out}")
    return number


def minutes(name: str, value: object) -> float:
    """A budget as a number of minutes, or its text; raises UserError for one that is over at once or never."""
    try:
        seconds(name, value)
        return seconds(name, float(value) * 60) / 60
    except UserError:
        way_out = f"give a number of minutes above 0 and at most {MOST_SECONDS // 60}, or leave it out"
        raise UserError(f"{name} {shown(value)} is no time to run for: {way_out}") from None


def path(name: str, text: str) -> Path:
    """A path that can be; raises UserError for an empty one and for characters that no file has."""
    try:
        longest = max((len(os.fsencode(part)) for part in Path(text).parts), default=0)  # "." has no parts
    except UnicodeEncodeError:
        longest = len(text) + 255
    if not text or any(c < " " or c == "\x7f" for c in text) or longest > 255 or len(text) > 4000:
        raise UserError(f"{name} {shown(text)} can be no path; give another one")
    return Path(os.path.expanduser(text))


def file_path(name: str, text: str) -> Path:
    """A path that can be a file's; raises UserError as `path` does, and for one that ends in a slash or a dot."""
    found = path(name, text)
    if text.endswith(("/", os.sep)) or found.name in ("", ".."):
        raise UserError(f"{name} {shown(text)} names a folder; name a file")
    return found


def check_folder(name: str, folder: Path) -> None:
    """Raise UserError where a folder is not there and cannot be made, or cannot be written; it is not made yet."""
    check_writable(path(name, os.path.abspath(folder)), name)


def check_file(name: str, file: Path) -> None:
    """Raise UserError where a file cannot be written; its folder may have to be made."""
    if os.path.isdir(file):
        raise UserError(f"{name} {file} is a folder; name a file")
    if os.path.lexists(file) and not os.path.isfile(file):  # it would be replaced, /dev/null as any other
        raise UserError(f"{name} {file} is no regular file; name one that is, or a new one")
    if len(os.fsencode(file.name)) > 200:  # with room for what a temporary name has in addition
        raise UserError(f"{name} {shown(str(file))} is too long a name for a file; give a shorter one")
    check_folder(name, file.parent)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pairs(given: list[list[str]]) -> dict[str, str]:
    """Name -> value of the options -p; raises UserError where a name stands twice."""
    found: dict[str, str] = {}
    for name, value in given:
        if name in found:
            raise UserError(f"-p {shown(name)} stands twice; leave one of them")
        found[name] = value
    return found
