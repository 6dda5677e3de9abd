"""The committed site is what the committed numbers give, and a stranger finds the way in it."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
from browser import chromium

from ablkit.cli import main
from ablkit.report import site
from ablkit.report.collect import collect
from ablkit.report.page import Figure, Page
from ablkit.report.render import markdown

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "reports"
WIDTHS = (390, 900, 1440)
PAGES = sorted(path.name for path in REPORTS.glob("*.html"))


def made(data: Path, to: Path) -> dict[str, bytes]:
    """Every file that the numbers give, by its path."""
    assert main(["report", "--from", str(data), "--to", str(to)]) == 0
    return contents(to)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def links(page: str) -> list[str]:
    text = (REPORTS / page).read_text(encoding="utf-8")
    return re.findall(r'(?:src|href)="([^"]+)"', text)


@pytest.fixture(scope="module")
def pages() -> list[Page]:
    """The pages of the committed numbers, whose figures are not drawn."""
    return site.pages(collect(REPORTS / "data"))


@pytest.fixture(scope="module")
def again(tmp_path_factory) -> dict[str, bytes]:
    """The site, made again from a copy of the numbers."""
    root = tmp_path_factory.mktemp("site")
    shutil.copytree(REPORTS / "data", root / "data")
    return made(root / "data", root)


# A page is a function of the numbers


def test_the_committed_site_is_byte_for_byte_what_the_numbers_give(again):
    # A user's own report, which `make report` writes and git ignores, may lie beside it.
    committed = {name: text for name, text in contents(REPORTS).items() if not name.startswith("local/")}
    assert sorted(again) == sorted(committed), "nothing else lies in reports/"
    assert [name for name in committed if committed[name] != again[name]] == []


def test_a_changed_number_changes_the_pages(pages, tmp_path):
    shutil.copytree(REPORTS / "data", tmp_path / "data")
    changed = next(path for path in sorted(tmp_path.glob("data/*/metrics.json")) if _is_abl(path))
    metrics = json.loads(changed.read_text())
    changed.write_text(json.dumps(metrics | {"attack_success_rate": 0.987654}))
    before, after = (
        {page.name: markdown(page) for page in made} for made in (pages, site.pages(collect(tmp_path / "data")))
    )
    differing = {name for name in after if after[name] != before.get(name)}
    assert {"index.html", "runs.html", "attack-sig.html"} <= differing and len(differing) > 5
    assert "method.html" not in differing


def _is_abl(metrics: Path) -> bool:
    """Whether it is a run of ABL against SIG that the index shows."""
    own = json.loads((metrics.parent / "params.json").read_text())["parameters"]
    place = json.loads((metrics.parent / "env.json").read_text())["precision"]
    is_usual = own["carry_momentum"] and own["model"] == "wrn-16-1"
    return is_usual and (own["method"], own["attack"], own["train_size"], place) == ("abl", "sig", 10_000, "bf16")


def doubled(pages: list[Page]) -> list[str]:
    """The figures that two blocks of a site would write under one name."""
    names = [block.name for page in pages for block in page.blocks if isinstance(block, Figure)]
    return sorted({name for name in names if names.count(name) > 1})


def test_no_two_figures_have_one_name(pages):
    assert doubled(pages) == []
    assert doubled([*pages, *pages[:1]])  # the twin


def test_what_was_not_measured_is_asked_apart_from_what_was(pages):
    index = markdown(pages[0])
    answered, heading, asked = index.partition("## Asked, and not measured yet")
    unknown = [page.name for page in pages[1:] if page.finding.startswith("Not known yet:")]
    assert heading and unknown and all(f"]({name})** Not known yet:" in asked for name in unknown)
    assert "Not known yet:" not in answered and "](exclusion.html)** " in answered
    assert "](exclusion.html)" not in asked  # the twin


def test_the_readme_says_nothing_that_the_site_does_not_say():
    """Every line of the README's results is one of reports/README.md, so that none can be edited by hand."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition("<!-- results: lines of reports/README.md -->")[2].partition("<!-- end of results -->")[0]
    lines = [line for line in block.splitlines() if line.strip()]
    site = (REPORTS / "README.md").read_text(encoding="utf-8").replace("](", "](reports/").splitlines()
    assert len(lines) >= 6
    assert [line for line in lines if line not in site] == []
    for line in lines:  # and a number that is changed by hand is seen
        changed = re.sub(r"\d(?=[^\d]*$)", lambda digit: str((int(digit[0]) + 1) % 10), line)
        assert changed == line or changed not in site


RULES = r"5 % clean|below 30 %|the 1 %|isolated 1 %|: 1 % is too|95 % BCa|at least 90 %|than 50 points|below 50 %"
"""The only numbers with a unit that the code of the pages holds: thresholds, and what a hypothesis is about."""


def written(source: str) -> list[str]:
    """Numbers with a unit in the texts of some code, but for its docstrings and the rules."""
    tree = ast.parse(source)
    named = (ast.Module, ast.FunctionDef, ast.ClassDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, named) and node.body]
    docstrings = {id(first.value) for first in bodies if isinstance(first, ast.Expr)}
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docstrings]
    unit = r".{0,20}\d[\d.,]* ?(?:%|points?\b|minutes?\b|hours?\b|images/s).{0,12}"
    found = [hit for text in texts if isinstance(text, str) for hit in re.findall(unit, text)]
    return [hit for hit in found if not re.search(RULES, hit)]


def test_no_result_is_written_into_the_code_of_a_page():
    for path in [*(ROOT / "ablkit/report/pages").glob("*.py"), *(ROOT / "ablkit/report/findings").glob("*.py")]:
        assert written(path.read_text(encoding="utf-8")) == [], path.name
    assert written('def page():\n    return f"ABL leaves 2.7 % on {n} seeds and costs 12 points"') != []


def test_reports_are_small_and_no_file_is_large():
    sizes = {name: len(content) for name, content in contents(REPORTS).items()}
    assert sum(sizes.values()) <= 12 * 2**20  # 1,100 runs of 8 KiB, and the pages
    assert sizes.pop("data/runs.csv") <= 880_000  # a row of 800 bytes for each of them
    assert max(sizes.values()) <= 400_000


# Finding the way


def test_every_page_is_two_clicks_from_the_index_and_every_link_leads_somewhere():
    first = {target for target in links("index.html") if target.endswith(".html")}
    second = {target for page in first for target in links(page) if target.endswith(".html")}
    assert set(PAGES) <= first | second | {"index.html"}
    for page in PAGES:
        for target in links(page):
            assert target == "data:," or (REPORTS / target.partition("#")[0]).is_file(), f"{page} -> {target}"
            assert ".." not in target and "://" not in target


def test_titles_are_unique_and_every_page_begins_with_its_finding():
    titles, findings = [], []
    for page in PAGES:
        text = (REPORTS / page).read_text(encoding="utf-8")
        titles.append(re.search("<title>(.*?)</title>", text)[1])
        findings.append(re.search(r'</h1>\n<div class="finding"><p>(.*?)</p>', text, re.DOTALL)[1])
        assert "<script" not in text
    assert len(set(titles)) == len(titles) == len(set(findings))
    for page, finding in zip(PAGES, findings, strict=True):
        assert re.search(r"\d", finding), f"{page} states a number: {finding}"


def test_the_index_answers_each_question_with_one_click():
    text = (REPORTS / "index.html").read_text(encoding="utf-8")
    asked = re.findall(r'<li><strong><a href="([\w-]+\.html)">[^<]*</a></strong> ([^<]{20,})', text)
    assert len(asked) >= 8
    assert len({page for page, _ in asked}) == len(asked)


def test_figures_have_a_description_and_a_caption_that_states_the_finding():
    for page in PAGES:
        text = (REPORTS / page).read_text(encoding="utf-8")
        for figure in re.findall(r"<figure>.*?</figure>", text, re.DOTALL):
            assert re.search(r'alt="[^"]{20,}"', figure), page
            assert re.search(r"<figcaption><strong>[^<]{10,}", figure), f"{page}: {figure[-200:]}"


def test_pages_fit_every_window_without_a_console_line_or_a_request(tmp_path):
    with chromium(tmp_path) as window:
        for page in PAGES:
            for width in WIDTHS:
                backgrounds = set()
                for dark in (False, True):
                    found = window.open(REPORTS / page, width, dark=dark)
                    assert (found.scroll_width, found.console, found.requests, found.broken) == (width, [], [], 0), page
                    backgrounds.add(found.background)
                assert len(backgrounds) == 2, "a dark page is dark"


def test_a_page_that_is_too_wide_fetches_and_fails_is_found(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<title>bad</title><img src='http://127.0.0.1:9/x.png'><div style='width: 2000px'>wide</div>"
        "<script>console.error('broken')</script>",
        encoding="utf-8",
    )
    with chromium(tmp_path / "profile") as window:
        found = window.open(bad, 390)
    assert found.scroll_width >= 2000 and found.broken == 1
    assert found.requests == ["http://127.0.0.1:9/x.png"]
    assert any("broken" in line for line in found.console)
