"""The site: every page and figure, and reports/README.md, from committed numbers alone."""

from __future__ import annotations

from pathlib import Path

from ablkit.errors import UserError
from ablkit.files import write_bytes
from ablkit.report import data, render
from ablkit.report.collect import Collection, collect
from ablkit.report.page import Figure, Page
from ablkit.report.pages import (
    architectures,
    attack,
    attacks,
    cases,
    cost,
    data_sets,
    defenses,
    exclusion,
    index,
    isolation,
    loss_gap,
    method,
    paper_scale,
    runs,
    settings,
    table1,
    unknown_trust,
    unlearning,
    what_unlearns,
)
from ablkit.runs.job import Job

_PAGES = (
    exclusion,
    table1,
    loss_gap,
    isolation,
    architectures,
    attacks,
    data_sets,
    unknown_trust,
    defenses,
    unlearning,
    what_unlearns,
    paper_scale,
    cost,
    runs,
    method,
)
"""In the order of the navigation, after the index."""
_STUDIES = _PAGES.index(architectures) + 1
"""Where the page of settings and those of `cases` come in."""
README = "README.md"
"""The index as Markdown, for hosts that show HTML as source."""


def pages(c: Collection) -> list[Page]:
    """All pages, the index first."""
    others = [module.page(c) for module in _PAGES]
    studied = cases.studied(c)
    others[_STUDIES:_STUDIES] = [settings.page(c, cases.overview(studied)), *cases.pages(c, studied)]
    return [index.page(c, others), *others, *attack.pages(c)]


def build(folder: Path, to: Path, wanted: tuple[tuple[Job, str], ...] = ()) -> Collection:
    """Write all pages of a folder of numbers, `index.html` first of all; return what they are made of.

    Args:
        wanted: runs that are not there, each with the reason.

    Raises UserError for numbers that make no page; nothing is written then.
    """
    data.check(folder, to)
    try:
        c = collect(folder, wanted)
        made = pages(c)
        files = {page.name: render.html(page, made).encode() for page in made}
        figures = [block for page in made for block in page.blocks if isinstance(block, Figure)]
        files |= {figure.path: figure.svg for figure in figures}
        files[README] = render.markdown(made[0]).encode()
    except UserError:
        raise
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:  # of numbers that somebody has edited
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{folder} holds numbers that make no page ({reason}); take it from the repository again"
        ) from error
    data.write_table(data.copy(folder, to))
    for name, content in files.items():
        write_bytes(to / name, content)
    return c
