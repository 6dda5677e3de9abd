"""What a caller of the library gives: numbers, paths and names of the right kind, or one line that says what is not."""

from __future__ import annotations

import os
from numbers import Integral, Real
from pathlib import Path

from ablkit.errors import UserError, shown

BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Unicode's controls of the direction of writing: with them a text is shown in another order than it is stored in."""


def whole(name: str, value: object, way_out: str, least: int | None = None, most: int | None = None) -> int:
    """A whole number within its bounds; raises UserError, ending in `way_out`, for everything else."""
    is_one = isinstance(value, Integral) and not isinstance(value, bool)
    if is_one and (least is None or value >= least) and (most is None or value <= most):
        return int(value)
    bounds = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
    raise UserError(f"{name} {shown(value)} must be a whole number{bounds}; {way_out}")


def number(name: str, value: object, way_out: str) -> float:
    """A number as Python's own; raises UserError, ending in `way_out`, for what is none."""
    try:
        if isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise UserError(f"{name} {shown(value)} must be a number; {way_out}")


def path(name: str, value: object) -> Path:
    """A path, where ~ is the home folder; raises UserError for what is none."""
    try:
        return Path(os.path.expanduser(value))
    except TypeError:
        raise UserError(f"{name} {shown(value)} is no path; give a text or a pathlib.Path") from None


def can_be_named(name: str) -> bool:
    """Whether a data set can have a name: one that a line shows as it is, and no hidden one."""
    return name.isprintable() and name == name.strip() and name[:1] not in ("", ".")
