"""Data cards: what there is to know of a data set before it is fetched, in numbers that the reader of it checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A data set that is fetched by name."""

    name: str
    title: str
    """Its name on pages."""
    train: int
    """Training images."""
    test: int
    """Test images."""
    classes: int
    size: int
    """Pixels of each side, after it is prepared."""
    licence: str
    download_bytes: int = 0
    """0 where nothing has to be downloaded."""
    mirrors: bool = True
    """See `Images.mirrors`."""

    @property
    def line(self) -> str:
        """What it is, in a line."""
        got = f"{self.download_bytes / 1e6:.0f} MB to download" if self.download_bytes else "no download"
        images = f"{self.train:,} + {self.test:,} images of {self.size} x {self.size}"
        return f"{images}, {self.classes} classes, {got}"

    @property
    def facts(self) -> dict[str, str]:
        """Column -> what a table of data sets says there."""
        megabytes = f"{self.download_bytes / 1e6:.0f} MB" if self.download_bytes else "none"
        return {
            "name": self.name,
            "training images": f"{self.train:,}",
            "test images": f"{self.test:,}",
            "classes": str(self.classes),
            "size": f"{self.size} x {self.size}",
            "download": megabytes,
            "mirrored in training": "yes" if self.mirrors else "no",
            "licence": self.licence,
        }


def table(cards: Iterable[Card]) -> str:
    """A table of data sets in Markdown, as it stands in the README of this folder."""
    rows = [card.facts for card in cards]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
