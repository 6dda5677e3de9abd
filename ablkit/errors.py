"""The one exception for mistakes that a user can mend; the command line prints it as one line and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the input or its surroundings: one line that names the thing, the value and the way out."""


class NotRunError(UserError):
    """What was asked for cannot be had on this machine, through no fault of its settings; the reason to report."""


def unknown(kind: str, value: object, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest names that do."""
    known = sorted(known)
    near = difflib.get_close_matches(str(value), known, n=2, cutoff=0.5)
    way_out = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    return UserError(f"{value!r} is no {kind}; {way_out}")
