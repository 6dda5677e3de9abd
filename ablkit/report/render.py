"""A page as HTML, self-contained but for its pictures, and as Markdown for hosts that show HTML as source."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

import mistune
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape

from ablkit.report.page import Block, Cell, Page
from ablkit.report.text import MISSING, harmless, without_folders


def html(page: Page, others: list[Page]) -> str:
    """The page as HTML; all text in it is escaped and harmless.

    Args:
        others: the pages of the navigation, in its order.
    """
    folder = files("ablkit.report") / "templates"
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html.j2", "style.css")}
    shell = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shell.filters |= {"paragraphs": _paragraphs, "line": _line, "cell": _cell, "plain": _plain}
    return shell.get_template("page.html.j2").render(page=page, others=others, style=Markup(sources["style.css"]))


def markdown(page: Page) -> str:
    """The page as Markdown, with the same blocks."""
    parts = [f"# {page.title}", page.finding, *filter(None, map(_block, page.blocks))]
    return "\n\n".join(harmless(without_folders(part)) for part in parts) + "\n"


def _plain(text: str) -> str:
    return harmless(without_folders(text))


@functools.cache
def _reader() -> mistune.Markdown:
    return mistune.create_markdown(escape=True)


@functools.lru_cache(maxsize=20_000)
def _paragraphs(text: str) -> Markup:
    # A number stays beside its unit.
    return Markup(re.sub(r"(?<=\d) (?=%)", "\u00a0", _reader()(harmless(without_folders(text)))))


def _line(text: str) -> Markup:
    """Markdown without a paragraph around it; a dash alone stands for a number that is missing, not for a list."""
    if text == MISSING:
        return escape(text)
    return Markup(re.sub(r"^<p>(.*)</p>\n$", r"\1", str(_paragraphs(text)), flags=re.DOTALL))


def _cell(cell: Cell | str) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _block(block: Block) -> str:
    """A block in Markdown; empty for a picture's like that only a page shows."""
    if block.block == "text":
        return block.markdown
    if block.block == "heading":
        return f"## {block.markdown}"
    if block.block == "code":
        return "\n".join(f"    {line}" for line in block.text.splitlines())
    if block.block == "facts":
        return "\n".join(f"- **{number}** {text}" for number, text in block.entries)
    if block.block == "figure":
        return f"![{block.alt}]({block.path})\n\n{block.caption}"
    if block.block == "picture":
        return f"![{block.alt}]({block.path})\n\n{block.caption}"
    return _table(block)


def _table(block: Block) -> str:
    heads = list(block.columns)
    if block.groups:
        above = [title for title, span in block.groups for _ in range(span)]
        heads = [", ".join(filter(None, pair)) for pair in zip(above, heads, strict=True)]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row in block.rows:
        lines.append([cell.markdown + (f" ({cell.small})" if cell.small else "") for cell in map(_cell, row)])
    table = "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)
    return f"{table}\n\n{block.note}" if block.note else table
