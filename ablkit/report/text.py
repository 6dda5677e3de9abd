"""Text from data and messages, made harmless to show: it cannot reorder, hide or stretch what stands around it."""

from __future__ import annotations

import functools
import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

from ablkit import paths

MISSING = "-"
"""Stands where there is no number."""

# Control characters, marks that change the direction of the text after them, characters without any shape, halves of
# a character, and what XML forbids. Tab and new line stay, and so do the joiners that Persian and emoji need.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_BEFORE = r"(?P<before>^|file://|[^\w.~/+<,-]|\x1b\[[\d;]*m)"
_PART = r"[^\s/\"'`<>:;,()\[\]{}|&\\]+"
_PICTURE = r"data:image/[\w+.-]+;base64,[\w+/=\s]*"


def harmless(text: str) -> str:
    """`text` with escapes such as `\\u202e` in place of characters that are not seen or that reorder others."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text.replace("\r\n", "\n"))


def label(name: str, longest: int) -> str:
    """A name from data for a figure or a table: harmless, on one line, cut with an ellipsis.

    Args:
        longest: as many letters fit; those of Chinese, Japanese and Korean count twice.
    """
    text = " ".join(harmless(name[: 10 * longest]).split())
    room, shown = longest, []
    for letter in text:
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            return "".join(shown[:-1]) + "…"
        shown.append(letter)
    return text


def percent(share: float | int | None, digits: int = 1) -> str:
    """A fraction in percent, or a dash where there is none."""
    return number(None if share is None else 100 * share, f"{{:.{digits}f}} %")


def number(value: float | int | None, form: str) -> str:
    """A number in a format such as `{:.1%}`, or a dash where there is none."""
    return MISSING if value is None or value != value else form.format(value)


def without_folders(text: str) -> str:
    """`text` with the folders of this machine cut to what a reader needs: `runs/run/KEY`, `~/x.py`, `…/x.py`.

    The known folders (runs, data, cache, notebooks, clone, Python, home) become their names; of any other absolute
    path only the last part stays. Pictures in the text are left alone.
    """
    if "/" not in text and "\\" not in text:
        return text
    pattern, names = _patterns(tuple(_folders().items()))

    def replaced(found: re.Match) -> str:
        if found["known"]:
            return found["before"].removeprefix("file://") + names[found["known"]]
        if found["last"] is not None:
            return found["before"].removeprefix("file://") + "…/" + found["last"]
        return "…\\" if found["windows"] else found[0]

    return pattern.sub(replaced, text)


def _folders() -> dict[str, str]:
    """Absolute folder -> what it is called on a page."""
    roots: dict[str, Callable[[], Path]] = {
        "runs": paths.runs_root,
        "data": paths.data_root,
        ".cache": paths.cache_root,
        "notebooks": paths.notebooks_root,
        ".": paths.project,
        "python": lambda: Path(sys.prefix),
        "~": lambda: Path(os.path.expanduser("~")),
        "tmp": lambda: Path(tempfile.gettempdir()),
    }
    found: dict[str, str] = {}
    for name, root in roots.items():
        # A folder may be known by a link to it and by where the link leads.
        given = os.environ.get(f"ABLKIT_{name.strip('.').upper()}")
        for path in (os.path.abspath(given) if given else root(), os.path.realpath(root())):
            # A whole disk, or the current folder of a process at its top, would match everything.
            if len(Path(path).parts) > 1:
                found.setdefault(str(path), name)
    return found


@functools.lru_cache(maxsize=8)
def _patterns(folders: tuple[tuple[str, str], ...]) -> tuple[re.Pattern, dict[str, str]]:
    longest_first = sorted((path for path, _ in folders), key=len, reverse=True)
    known = "|".join(map(re.escape, longest_first))
    # In this order: a picture, whose letters are no path; a known folder; a path of Windows; any other path.
    pattern = (
        rf"{_PICTURE}|{_BEFORE}(?:(?P<known>{known})(?![\w-])(?!\.\w)|/(?:{_PART}/)+(?P<last>{_PART})?)"
        r"|(?P<windows>\b[A-Za-z]:\\(?:[^\\\s\"'<>]+\\)+)"
    )
    return re.compile(pattern), dict(folders)
