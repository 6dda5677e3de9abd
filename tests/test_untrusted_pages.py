"""Numbers of others: whatever text and markup they hold, a page only shows it."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import mistune
import pytest
from browser import chromium

from ablkit import paths
from ablkit.report import site as site_of
from ablkit.report.page import Cell, Page, Picture, Table, Text, code, link, literal, plain
from ablkit.report.plan import jobs
from ablkit.report.render import html as rendered
from ablkit.report.render import markdown

DATA = Path(__file__).parents[1] / "reports" / "data"
BANNED = {"script", "iframe", "object", "embed", "form", "input", "button", "base", "svg", "math"}
HOSTILE = (
    "<script>document.title=3</script>",
    "<img src='http://127.0.0.1:9/cell.png' onerror=document.title=5>",
    "![x](http://127.0.0.1:9/markdown.png)",
    "[go](javascript:document.title=6)",
    "</div></main></body><script>document.title=9</script>",
    "`code` **bold** | cell | $x^2$ \u202eright",
    "&lt;b&gt; {{ 7 * 7 }} {% raw %}",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/r'>",
)


class Reader(HTMLParser):
    """Collects the elements and attributes of a page that run something or fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag in BANNED or (tag == "meta" and dict(attributes).get("http-equiv") == "refresh"):
            self.found.append(tag)
        for name, value in attributes:
            goes = re.match(r"\s*(?:https?://|java\s*script:|data:(?!image/|,))", value or "", re.IGNORECASE)
            if name.startswith("on") or goes:
                self.found.append(f"{tag} {name}={value}")


def acting(markup: str) -> list[str]:
    """What in some markup runs something or fetches something."""
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader.found


@pytest.fixture
def hostile(tmp_path) -> Path:
    """The site of two committed runs whose texts are all somebody's markup."""
    folder = tmp_path / "data"
    chosen = []
    for path in sorted(DATA.glob("*/params.json")):
        own = json.loads(path.read_text())["parameters"]
        is_one = (own["attack"], own["seed"], own["train_size"]) == ("cba", 0, 10_000)
        if is_one and own["method"] != "exclude" and not own["attack_settings"]:
            chosen.append(path.parent)
    assert len(chosen) == 2
    everything = " ".join(HOSTILE)
    for source in chosen:
        shutil.copytree(source, folder / source.name)
        env = folder / source.name / "env.json"
        texts = {
            name: everything for name in ("commit", "processor", "precision", "gpu", "torch", "missing", "started")
        }
        env.write_text(json.dumps(json.loads(env.read_text()) | texts))
        params = folder / source.name / "params.json"
        record = json.loads(params.read_text())
        record["parameters"] |= {"dataset": everything, "model": everything}
        params.write_text(json.dumps(record))
    return folder


def test_pages_of_hostile_numbers_run_nothing_and_ask_for_nothing(hostile, tmp_path):
    site_of.build(hostile, tmp_path / "site")
    shown = ""
    with chromium(tmp_path / "profile") as window:
        for page in sorted((tmp_path / "site").glob("*.html")):
            content = page.read_text(encoding="utf-8")
            assert acting(content.partition("<body>")[2]) == [], page.name
            shown += html.unescape(re.sub("<[^>]*>", "", content))
            # Without the policy, too: the escapes alone hold.
            page.write_text(re.sub("<meta http-equiv=.*?>", "", content), encoding="utf-8")
            for width in (1440, 390):
                found = window.open(page, width)
                assert (found.console, found.requests) == ([], []), page.name
                assert found.title.endswith("· ablkit") and found.scroll_width == width
    for text in HOSTILE[:3]:
        assert text in shown, "it is shown as what it is"


def test_the_same_texts_unescaped_are_found_and_the_policy_alone_holds(tmp_path):
    page = rendered(Page("a.html", "A", " ".join(map(literal, HOSTILE[:-1]))), [])  # the last one would leave the page
    assert acting(page.partition("<body>")[2]) == []
    bad = tmp_path / "bad.html"
    bad.write_text(html.unescape(page), encoding="utf-8")
    assert acting(bad.read_text(encoding="utf-8").partition("<body>")[2])
    with chromium(tmp_path / "profile") as window:
        found = window.open(bad)
        assert found.requests == [] and any("Content Security Policy" in line for line in found.console)
        bad.write_text(re.sub("<meta http-equiv=.Content.*?>", "", html.unescape(page)), encoding="utf-8")
        assert "http://127.0.0.1:9/cell.png" in window.open(bad).requests


@pytest.mark.parametrize("text", [*HOSTILE, "# a", "1. b_c", "d\\e"])
def test_a_terminal_shows_a_text_from_data_as_it_is(text):
    assert literal(text) != text and plain(f"**{literal(text)}**") == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_from_data_stays_a_text_wherever_it_stands(text):
    cell = Cell(literal(text), literal(text))
    table = Table(("a", literal(text)), [(literal(text), cell)], note=literal(text))
    picture = Picture("data/x.png", literal(text), literal(text), 10)
    blocks = [Text(literal(text)), table, picture, Text(code(text))]
    page = rendered(Page("a.html", literal(text), literal(text), blocks), [])
    assert acting(page.partition("<body>")[2]) == []
    reader = mistune.create_markdown(escape=False, plugins=["table"])
    assert acting(reader(markdown(Page("a.html", literal(text), literal(text), blocks)))) == []


def test_our_own_markdown_is_read():
    page = rendered(Page("a.html", "A", f"**7 of 10** {link('there', 'b.html')} {code('x | y')}"), [])
    assert '<strong>7 of 10</strong> <a href="b.html">there</a> <code>x | y</code>' in page


def test_the_policy_comes_first_on_every_page():
    policy = "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; base-uri 'none'"
    for page in DATA.parent.glob("*.html"):
        start = f'<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}'
        assert start in page.read_text(encoding="utf-8")


def test_no_page_names_a_folder_of_this_machine(hostile, folders, tmp_path):
    job = jobs("smoke", [0], {})[0]
    message = f"RunFailed: it broke ({paths.runs_root()}/run/abc)"
    site_of.build(hostile, tmp_path / "site", ((job, message),))
    assert "it broke (runs/run/abc)" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    for page in (tmp_path / "site").glob("*.html"):
        for folder in (tmp_path, paths.project(), Path.home()):
            assert f"{folder}/" not in page.read_text(encoding="utf-8"), page.name
