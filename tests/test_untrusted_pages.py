"""Data sets and notebooks of others: whatever text and markup they hold, a page only shows it."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from crafted import DOT, HOSTILE, NAMES
from test_report import open_page

from ablkit import data, paths
from ablkit.files import write_json
from ablkit.report import sanitise, shell
from ablkit.report.site import build
from ablkit.runs.job import Job

BANNED = {"script", "style", "iframe", "object", "embed", "form", "input", "button", "meta", "base", "link"}
BANNED |= {"svg", "math", "image", "picture", "source"}
"""Elements that no page has in its body."""


class Reader(HTMLParser):
    """Collects the elements and attributes of a page that run something or fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag in BANNED:
            self.found.append(tag)
        for name, value in attributes:
            goes = re.match(r"\s*(?:https?://127|java\s*script:|data:(?!image/))", value or "", re.IGNORECASE)
            if name.startswith("on") or goes or "url(" in (value or ""):
                self.found.append(f"{tag} {name}={value}")


def acting(markup: str) -> list[str]:
    """What in some markup runs something or fetches something."""
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader.found


@pytest.fixture
def site(hostile_runs: list[Job], tmp_path: Path) -> Path:
    """The pages of these runs."""
    build(hostile_runs, tmp_path / "site", "ablkit report", "smoke")
    return tmp_path / "site"


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("*.html"))


def body(page: Path) -> str:
    """A page without its head, which is ours."""
    return page.read_text(encoding="utf-8").partition("<body>")[2]


def test_pages_of_hostile_runs_run_nothing_and_ask_for_nothing(site, tmp_path):
    assert [page.name for page in pages(site)] == [
        "index.html",
        "run-evil-badnets-abl-seed0.html",
        "run-evil-badnets-none-seed0.html",
    ]
    for page in pages(site):
        assert acting(body(page)) == [], page.name
        for width in (1440, 768, 390):
            assert open_page(page, tmp_path, width) == ([], [])


def test_without_the_policy_the_sanitiser_alone_holds(site, tmp_path):
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub("<meta http-equiv=.*?>", "", text), encoding="utf-8")
        assert open_page(page, tmp_path) == ([], [])


def test_the_same_texts_unescaped_are_found_and_the_policy_alone_holds(site, tmp_path):
    page = site / "run-evil-badnets-abl-seed0.html"
    escaped = page.read_text(encoding="utf-8")
    bad = tmp_path / "bad.html"
    bad.write_text(html.unescape(escaped), encoding="utf-8")
    assert acting(body(bad))
    console, asked = open_page(bad, tmp_path)
    assert asked == [] and any("Content Security Policy" in line for line in console)
    bad.write_text(re.sub("<meta http-equiv=.*?>", "", html.unescape(escaped)), encoding="utf-8")
    _, asked = open_page(bad, tmp_path)
    assert asked == ["http://127.0.0.1:9/name.png"]


def test_hostile_names_are_shown_as_they_are(site):
    shown = html.unescape(re.sub("<[^>]*>", "", (site / "run-evil-badnets-abl-seed0.html").read_text("utf-8")))
    for name in (NAMES[0], NAMES[2], NAMES[3], NAMES[6], NAMES[7], "N" * 39 + "…", "\\u202eقطة\\u202c"):
        assert name in shown


def test_what_is_good_in_a_foreign_notebook_stays(site):
    text = (site / "run-evil-badnets-none-seed0.html").read_text(encoding="utf-8")
    assert DOT in text and 'alt="a dot"' in text and "<b>kept</b>" in text
    assert "red</span> …/abc" in text and "…/y.py" in text


def test_the_policy_comes_first_on_every_page(site):
    policy = "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; base-uri 'none'"
    for page in pages(site):
        assert f'<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}' in (
            page.read_text(encoding="utf-8")
        )
    with shell.templates() as folder:
        for template in folder.glob("*.html.j2"):
            assert template.name == "base.html.j2" or template.read_text().startswith('{% extends "base.html.j2" %}')


@pytest.mark.parametrize("name", HOSTILE)
def test_the_sanitiser_leaves_nothing_that_acts(name):
    fragment = HOSTILE[name]
    assert acting(fragment), "the check sees it before"
    assert acting(sanitise.clean(f"<div>{fragment}</div>")) == []


def test_the_sanitiser_keeps_what_pages_are_made_of():
    kept = (
        f'<h2>A</h2><table class="dataframe"><tbody><tr><td class="text" colspan="2">1</td></tr></tbody></table>'
        f'<img src="{DOT}" alt="A dot"><details open=""><summary>code</summary><pre><code>x</code></pre></details>'
    )
    assert sanitise.clean(kept) == kept
    assert 'href="https://arxiv.org/abs/2110.11571"' in sanitise.clean(
        '<a href="https://arxiv.org/abs/2110.11571">p</a>'
    )


def test_no_page_names_a_folder_of_this_machine(hostile_runs, tmp_path):
    gap = hostile_runs[2]
    write_json(
        gap.folder / "failure.json", {"message": f"cell runs: RunFailed: it broke ({paths.runs_root()}/run/abc)"}
    )
    build(hostile_runs, tmp_path / "site", f"ablkit report --to {tmp_path}/site", "smoke")
    assert "it broke (runs/run/abc)" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    for page in pages(tmp_path / "site"):
        for folder in (tmp_path, paths.project(), Path.home(), "/home/al"):
            assert f"{folder}/" not in page.read_text(encoding="utf-8"), page.name


def test_the_set_with_hostile_names_is_read_as_it_is(hostile_runs):
    assert data.load("evil")[0].classes == NAMES
