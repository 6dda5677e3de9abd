"""Whether a run's images fit in memory: told before it starts, as the system ends a process that takes too much."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

from ablkit.errors import UserError

COPIES = 3
"""How often a run holds its training images at once: clean, poisoned, and on the device. An attack that trains networks
holds them twice more, but then not yet on the device."""
_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where control groups, by which containers and batch systems hold a process to its memory, say what it may take; and
which ones this process is in."""


class _Kind(NamedTuple):
    """What the files of a version of control groups are called."""

    limit: str
    taken: str
    idle: str
    """How the line of `memory.stat` begins that counts the pages of files that nobody has used lately."""


_SECOND = _Kind("memory.max", "memory.current", "inactive_file ")
_FIRST = _Kind("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")


def check(name: str, count: int, shape: tuple[int, ...]) -> None:
    """Raise UserError where a run on `count` images of (height, width, channels) takes more memory than is free."""
    needed, there = COPIES * count * prod(shape), free()
    if needed <= there:
        return
    size = f"{shape[0]} x {shape[1]}"
    fits = there // (COPIES * prod(shape))
    way_out = f"set train_size to {fits:,} or less, or prepare smaller images" if fits else "prepare smaller images"
    raise UserError(
        f"{name}: {count:,} images of {size} do not fit in memory: a run holds them {COPIES} times, which takes"
        f" {needed / 1e9:.1f} GB, and {there / 1e9:.1f} GB are free; {way_out}"
    )


def amount(count: int) -> str:
    """A number of bytes in the largest unit of which it has a tenth."""
    units = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10}
    return next((f"{count / one:.1f} {unit}" for unit, one in units.items() if count >= one / 10), f"{count} bytes")


def free() -> int:
    """Bytes of memory that a process may still take."""
    import psutil  # here, as a machine that has only torch and numpy can do without it

    there = psutil.virtual_memory().available
    return max(0, min([there, *(_left(folder, kind, there) for folder, kind in _groups())]))


def _groups() -> Iterator[tuple[Path, _Kind]]:
    """The folders of this process's control groups and of those around them, of which any may have a limit."""
    try:
        lines = _OWN.read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    paths = {controllers: path.lstrip("/") for _, controllers, path in (line.split(":", 2) for line in lines)}
    first = next((path for name, path in paths.items() if "memory" in name.split(",")), "")
    for root, path, kind in ((_GROUPS, paths.get("", ""), _SECOND), (_GROUPS / "memory", first, _FIRST)):
        # A container may find its own group at the root, whatever its path says.
        yield from ((folder, kind) for folder in (root / path, *(root / path).parents) if folder.is_relative_to(root))


def _left(folder: Path, kind: _Kind, most: int) -> int:
    """Bytes that a control group has left; `most` where it has no limit."""
    limit = _number(folder / kind.limit)
    if limit is None:
        return most
    # Pages of files that nobody has used lately count as taken, but go when memory is asked for.
    taken = (_number(folder / kind.taken) or 0) - (_number(folder / "memory.stat", kind.idle) or 0)
    return min(limit, limit - taken)


def _number(path: Path, before: str = "") -> int | None:
    """The whole number on the line of a file that begins with `before`; None where there is none, as in `max`."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError):
        return None
    texts = (line.removeprefix(before).strip() for line in lines if line.startswith(before))
    return next((int(text) for text in texts if text.isdecimal()), None)
