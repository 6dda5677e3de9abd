"""What an import is made of: a list of images that are not read yet, and a tally of what is done with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ablkit.errors import shown

_NAMED = 3


class Item(NamedTuple):
    """One image of a source."""

    name: str
    """Of its file, relative to the source; of an array its place."""
    label: int
    opened: Callable[[], AbstractContextManager[Any]]
    """Gives a Pillow image, or raises `pictures.Unusable`."""


@dataclass
class Tally:
    """How many images something was done to, and what is left out, with the first names."""

    done: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(height, width) -> images of it."""
    left: Counter[str] = field(default_factory=Counter)
    """What is left out, such as `links out of the folder` -> how many."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """The same -> the first of them, as they are shown."""
    hints: list[str] = field(default_factory=list)
    """Lines that a reader should see before the numbers."""

    def leave(self, what: str, name: str, reason: str = "") -> None:
        """Count something that is left out."""
        self.left[what] += 1
        first = self.names.setdefault(what, [])
        if len(first) < _NAMED:
            first.append(f"{shown(name)} ({reason})" if reason else shown(name))

    def left_out(self) -> list[str]:
        """What is left out, a text for each kind with its number and first names."""
        more = {what: count - len(self.names[what]) for what, count in self.left.items()}
        return [
            f"{what} ({count}): {', '.join(self.names[what])}" + (f" and {more[what]} more" if more[what] else "")
            for what, count in self.left.items()
        ]


@dataclass(frozen=True)
class Source:
    """The images of a folder or of arrays."""

    where: str
    """Path, as messages show it."""
    classes: tuple[str, ...]
    train: list[Item]
    """All of them where there is no `test`."""
    test: list[Item] | None
    tally: Tally
    arrays: tuple[Path, ...] = ()
    """The files of the arrays; empty for a folder, whose items are named by their files."""
