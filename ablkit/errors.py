"""The one exception for mistakes that a user can mend; the command line prints it as one line and exits with 2."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

_NAMED = 12
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict, _SHORT.maxset = 2, 4, 4, 4, 4
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80


class UserError(Exception):
    """A mistake in the input or its surroundings: one line that names the thing, the value and the way out."""


class NotRunError(UserError):
    """What was asked for cannot be had on this machine, through no fault of its settings; the reason to report."""


def shown(value: object) -> str:
    """A value as a message quotes it: its `repr`, cut where it is long, so that no input makes a message long."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a whole number of more digits than Python turns into text
        return f"a {type(value).__name__} too long to show"


def unknown(kind: str, value: object, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest names that do."""
    known = sorted(known)
    # A long text is near to nothing, and comparing it would take long.
    comparable = isinstance(value, str) and len(value) < 80
    near = difflib.get_close_matches(value, known, n=2, cutoff=0.5) if comparable else []
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    way_out = f"did you mean {' or '.join(map(shown, near))}?" if near else f"known: {', '.join(known[:_NAMED])}{more}"
    return UserError(f"{shown(value)} is no {kind}; {way_out}")


def shortened(text: str, most: int = 300) -> str:
    """A text in one line of at most `most` characters, none of them a control character, with its longest words cut."""
    half = most // 2
    text = re.sub(rf"\S{{{half},}}", lambda word: f"{word[0][: half - 30]}...{word[0][-20:]}", text)
    text = re.sub(r"\s*[\r\n]+\s*", " ", text.strip())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= most else f"{text[: most - 3]}..."
