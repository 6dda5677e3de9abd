"""What a caller of the library gives: numbers, paths and names of the right kind, or one line that says what is not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

from ablkit.errors import UserError, shown

BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Unicode's controls of the direction of writing: with them a text is shown in another order than it is stored in."""
_LONGEST_NAME = 100
"""Characters of a data set's name."""
_MOST_BYTES = 200
"""Of the same: with room for what a temporary name has in addition."""
_FILLING = r"(?:data|sets?|images?|imgs?|pictures?|pics?|photos?|splits?|folders?)"
_SPLITS = {
    "train": r"train(?:ing)?",
    "test": r"test(?:ing)?|val|valid|validation|dev|development|eval|evaluation|holdout",
}


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


def fault_of_name(name: object) -> str:
    """Why no set of one's own can have a name, in words after it; empty where the form of the name is no reason."""
    is_word = isinstance(name, str) and can_be_named(name) and name == os.path.basename(name)
    if not is_word or name[0] == "-" or len(name) > _LONGEST_NAME:
        return "can be no data set's name"
    length = len(os.fsencode(name))
    return f"takes {length} bytes, and a folder's name may take {_MOST_BYTES}" if length > _MOST_BYTES else ""


def ordered(names: Iterable[str]) -> list[str]:
    """Names of classes in their order, of folders and of arrays alike: numbered ones by their size."""
    names = list(names)
    by_number = all(name.isascii() and name.isdecimal() and len(name) < 19 for name in names)
    return sorted(names, key=lambda name: (int(name) if by_number else 0, name))


def split_of(name: str) -> str:
    """`train` or `test` where a name is that of a split, such as `Training_set`, `val2017` or `dev`; else empty."""
    plain = re.sub(r"[\W_]+", "", name.casefold())
    return next(
        (split for split, own in _SPLITS.items() if re.fullmatch(rf"{_FILLING}*(?:{own})(?:{_FILLING}|\d)*", plain)), ""
    )
