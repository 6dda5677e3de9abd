"""What a page is made of: a finding, then blocks of text, tables and figures. Texts are Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from ablkit.report.text import without_folders

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()!<>|&~$]|^[#+=-]|(?<=^\d)\.)")


@dataclass(frozen=True)
class Text:
    """A paragraph, or a list where its lines begin with `- `."""

    markdown: str
    kind: str = ""
    """`soft` for what is said aside, `notice` for what a reader must know first."""
    block = "text"


@dataclass(frozen=True)
class Heading:
    """The title of a part of the page."""

    markdown: str
    name: str = ""
    """For links to it."""
    block = "heading"


@dataclass(frozen=True)
class Code:
    """Commands, as they are typed, or what a program printed."""

    text: str
    block = "code"


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    markdown: str
    small: str = ""
    """The range below the number."""
    kind: str = ""
    """`bad` for what failed, `soft` for what was not measured here, `text` for words."""


@dataclass(frozen=True)
class Table:
    """Rows whose first cell names them."""

    columns: tuple[str, ...]
    rows: list[tuple[Cell | str, ...]]
    groups: tuple[tuple[str, int], ...] = ()
    """Headers over several columns: title and number of columns; they add up to all columns."""
    note: str = ""
    block = "table"

    def __post_init__(self) -> None:
        """Raise ValueError for a row, or headers over the columns, of another length than the columns."""
        lengths = {len(row) for row in self.rows} | ({sum(span for _, span in self.groups)} if self.groups else set())
        if lengths - {len(self.columns)}:
            raise ValueError(f"a table of {len(self.columns)} columns has rows of {sorted(lengths)} cells")


@dataclass(frozen=True)
class Figure:
    """A drawing made for the page."""

    name: str
    """Its file is `figures/NAME.svg`."""
    draw: Callable[[], bytes]
    """Makes the file."""
    alt: str
    caption: str
    """First the finding, then how to read it."""
    block = "figure"

    @cached_property
    def svg(self) -> bytes:
        """The file."""
        return self.draw()

    @property
    def path(self) -> str:
        """Where it lies, beside the pages."""
        return f"figures/{self.name}.svg"

    @property
    def width(self) -> int:
        """Its own width in pixels: it is never shown larger."""
        found = re.search(rb'<svg [^>]*width="([\d.]+)pt"', self.svg)
        return round(float(found[1]) * 96 / 72) if found else 900


@dataclass(frozen=True)
class Picture:
    """A strip of images at native size that lies among the numbers."""

    path: str
    alt: str
    caption: str
    width: int
    """Pixels of the file; it is shown twice as large where there is room."""
    block = "picture"


@dataclass(frozen=True)
class Facts:
    """A few numbers that stand out, each with a sentence."""

    entries: list[tuple[str, str]]
    block = "facts"


Block = Text | Heading | Code | Table | Figure | Picture | Facts


@dataclass(frozen=True)
class Page:
    """One page of the site."""

    name: str
    """File name."""
    title: str
    """Unique in the site."""
    finding: str
    """What the data of this page say, in its first line."""
    blocks: list[Block] = field(default_factory=list)
    short: str = ""
    """What the navigation calls it; empty for a page that only other pages link to."""


def literal(text: object) -> str:
    """A text from data for a place where Markdown is read: none of its signs mean anything there."""
    return _PUNCTUATION.sub(r"\\\1", without_folders(" ".join(str(text).split())))


def plain(markdown: str) -> str:
    """Markdown for a terminal: without the signs of bold text and those that keep others from having a meaning."""
    return re.sub(r"\*\*|\\([^\w\s]|_)", r"\1", markdown)


def link(markdown: str, target: str) -> str:
    """A link in Markdown."""
    return f"[{markdown}]({target})"


def code(text: object) -> str:
    """A command or a name in a line of text; a fence of as many signs as it takes."""
    line = without_folders(" ".join(str(text).split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{room}{line}{room}{fence}"


def listed(parts: list[str]) -> str:
    """`a, b and c`; the empty text for nothing."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
