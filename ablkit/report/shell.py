"""The frame of every page: its style, its security policy, and all text in it escaped and harmless."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ablkit.report.text import harmless, without_folders


@contextmanager
def templates() -> Iterator[Path]:
    """The folder of the templates."""
    with as_file(files("ablkit.report") / "templates") as folder:
        yield folder


def render(name: str, **values: object) -> str:
    """The page that a template makes of some values; texts are escaped, but for those that are `Markup` already."""
    with templates() as folder:
        shell = Environment(
            loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, finalize=_harmless
        )
        style = Markup((folder / "style.css").read_text(encoding="utf-8"))
        return shell.get_template(name).render(style=style, **values)


def _harmless(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return harmless(without_folders(value))
