"""Whether a run's images fit in memory: told before it starts, as the system ends a process that takes too much."""

from __future__ import annotations

from math import prod
from pathlib import Path

from ablkit.errors import UserError

COPIES = 3
"""How often a run holds its training images at once: clean, poisoned, and on the device. An attack that trains networks
holds them twice more, but then not yet on the device."""
_CONTAINER = Path("/sys/fs/cgroup")
"""Where a container says how much it may take (`memory.max`; `max` where that is all), and what it has taken."""


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


def free() -> int:
    """Bytes of memory that a process may still take."""
    import psutil  # here, as a machine that has only torch and numpy can do without it

    there = psutil.virtual_memory().available
    limit = _number("memory.max")
    if limit is None:
        return there
    # Pages of files that nobody has used lately count as taken, but go when memory is asked for.
    left = limit - (_number("memory.current") or 0) + (_number("memory.stat", "inactive_file ") or 0)
    return max(0, min(there, limit, left))


def _number(name: str, before: str = "") -> int | None:
    """The whole number on the line of a container's file that begins with `before`; None where there is none."""
    try:
        lines = (_CONTAINER / name).read_text().splitlines()
    except (OSError, ValueError):
        return None
    texts = (line.removeprefix(before).strip() for line in lines if line.startswith(before))
    return next((int(text) for text in texts if text.isdecimal()), None)
