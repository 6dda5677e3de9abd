"""Whether a run's images fit in memory: told before it starts, as the system ends a process that takes too much."""

from __future__ import annotations

from math import prod
from pathlib import Path

from ablkit.errors import UserError

COPIES = 3
"""How often a run holds its training images at once: clean, poisoned, and on the device. An attack that trains networks
holds them twice more, but then not yet on the device."""
_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where a container says how much it may take; `max` where that is all."""


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

    try:
        limit = _LIMIT.read_text().strip()
    except OSError:
        limit = "max"
    there = psutil.virtual_memory().available
    return min(there, int(limit)) if limit.isdecimal() else there
