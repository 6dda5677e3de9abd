"""The READMEs: short, without results of their own; links lead somewhere, commands and code run as printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import toy
from readmes import ADDED, BEGIN, END, FENCED, PARTS, README, ROOT, TEXTS, blocks
from test_readme_commands import ABLKIT

from ablkit import data, exclusion, training
from ablkit.attacks import ATTACKS
from ablkit.attacks.attack import FEWEST
from ablkit.cli import main
from ablkit.data import Images, prepared
from ablkit.defenses import DEFENSES, METHODS

# The page itself


def too_long(text: str, most: int = 1200) -> bool:
    return len(re.findall(r"\S*\w\S*", text)) > most  # the lines of a table are no words


def test_the_first_page_has_at_most_1200_words():
    assert not too_long(README)
    assert too_long(README + " word" * 1200)


MEASURED = re.compile(r"\d\s*(?:%|per ?cent\b|(?:percentage )?points?\b|s\b|seconds?\b|images/s)")


def results(text: str) -> list[str]:
    """What looks like a measured result outside the block of generated lines."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end and BEGIN not in rest and END not in after
    return MEASURED.findall(before + after)


def test_the_first_page_has_no_result_but_those_that_are_generated():
    assert results(README) == []
    assert results(README.replace(BEGIN, f"{BEGIN}\nABL leaves 2.7% of it, 3 points less.\n")) == []
    for told in ("2.7%", "2.7 %", "11 points", "1 point", "51 s", "5.5 seconds", "3 percent", "856 images/s"):
        assert len(results(README.replace(END, f"{END}\nABL takes {told}."))) == 1
    with pytest.raises(AssertionError):
        results(README.replace(END, ""))


def test_the_figure_stands_above_the_results():
    figure = README.index("](reports/figures/overview.svg)")
    assert figure < README.index(BEGIN) < README.index(END) < README.index("## ")


# Links and names of files


def anchors(text: str) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _anchors_of(path: str, text: str) -> set[str]:
    """Those of a page of HTML in a file, or of a text."""
    return {*re.findall(r'id="([^"]+)"', (ROOT / path).read_text())} if path.endswith(".html") else anchors(text)


def dead_links(page: str, text: str) -> list[str]:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = os.path.normpath((ROOT / page).parent / path) if path else str(ROOT / page)
        inside = os.path.relpath(target, ROOT).replace(os.sep, "/")
        good = os.path.exists(target) and not inside.startswith("..")
        good = good and (not anchor or anchor in _anchors_of(inside, text if not path else TEXTS.get(inside, "")))
        dead += [] if good else [link]
    return dead


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_somewhere(page):
    assert dead_links(page, TEXTS[page]) == []


def test_a_dead_link_is_found():
    wrong = ["nope.md", "#nope", "notebooks/README.md#nope", "reports/nope.html", "../README.md"]
    wrong.append("reports/method.html#nope")
    right = ["LICENSE", "ablkit", "https://pytorch.org", "#citing", "notebooks/README.md#sweeps", "reports/index.html"]
    right.append("reports/method.html#terms")
    assert dead_links("README.md", " ".join(f"[it]({link})" for link in wrong + right) + "\n\n## Citing\n") == wrong
    assert dead_links("notebooks/README.md", "[it](README.md) [it](../README.md) [it](LICENSE)") == ["LICENSE"]


WRITTEN = {"notebook.ipynb", "images.csv", "results.csv", "truth.csv", "reports/data/gpu-speed.csv", "judged-again.csv"}
"""What a run, exports and a report leave."""
FILES = [str(path.relative_to(ROOT)) for part in PARTS for path in (ROOT / part).rglob("*.*") if path.is_file()]


def unknown_files(text: str) -> list[str]:
    """Names of files of the repository in code of the text that no file has."""
    named = re.findall(r"`([a-z][\w/.-]*\.(?:py|ipynb|sh|yaml|csv))`", text)
    known = {*FILES, *ADDED.values(), *WRITTEN}
    return [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in known)]


@pytest.mark.parametrize("page", TEXTS)
def test_every_file_that_is_named_exists(page):
    assert unknown_files(re.sub(r"/[A-Z]+\.py", "/digits.py", TEXTS[page])) == []


def test_a_file_that_does_not_exist_is_found():
    assert unknown_files("`nope.py` `attack.py` `attacks/attack.py` `data/attack.py`") == ["nope.py", "data/attack.py"]


def unnamed(text: str) -> list[str]:
    """Notebooks and sweep files that the text does not name."""
    parts = [path for kind in ("*.ipynb", "sweeps/*") for path in sorted((ROOT / "notebooks").glob(kind))]
    return [path.name for path in parts if path.name not in text]


def test_every_notebook_and_sweep_file_is_named():
    text = TEXTS["notebooks/README.md"]
    assert unnamed(text) == []
    assert unnamed(text.replace("gamma.ipynb", "").replace("smoke.yaml", "")) == ["gamma.ipynb", "smoke.yaml"]


# Tables of what is registered


def rows(page: str) -> dict[str, list[str]]:
    """First cell -> the others, of the rows whose first cell is code."""
    lines = re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXTS[page], re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in lines}


def test_the_table_of_attacks_is_that_of_the_registry():
    found = rows("ablkit/attacks/README.md")
    assert list(found) == list(ATTACKS)
    for name, attack in ATTACKS.items():
        assert found[name][:4] == [attack.title, attack.kind, attack.changes, attack.paper]
        assert (found[name][4] == "nothing") == (attack.fewest < FEWEST)
    assert {kind for _, kind, *_ in found.values()} == {"dirty label", "clean label"}  # rows were found


def test_the_table_of_methods_is_that_of_the_registry():
    found = rows("ablkit/defenses/README.md")
    assert list(found) == list(METHODS)
    for name, title in METHODS.items():
        defense = DEFENSES.get(name)
        assert found[name][:2] == [title, defense.needs if defense else ""]
        assert defense is None or found[name][2].split(",")[0] == defense.paper.split(";")[0].split(",")[0]


# Code


def set_up(root: Path, number: int) -> None:
    """A data set of the name, the size and the pixels that the code asks for, of images that train in seconds."""
    train, test = (toy(count, seed) for count, seed in ((number, 1), (200, 2)))
    larger = [Images(np.repeat(np.repeat(x.images, 2, 1), 2, 2), x.labels, x.classes, "cifar10") for x in (train, test)]
    prepared.write(root / "cifar10", *larger, source="made by a test")


def test_the_code_for_the_library_runs_as_printed(tmp_path, monkeypatch, capsys):
    """Only smaller: 300 images for 10,000, and the recipe of the smoke preset for the quick one."""
    (code,) = blocks("README.md")
    assert code.count("10_000") == 1
    set_up(tmp_path, 400)
    monkeypatch.setenv("ABLKIT_DATA", str(tmp_path))
    monkeypatch.setitem(training.RECIPES, "quick", training.RECIPES["smoke"])
    names: dict = {}
    exec(code.replace("10_000", "300"), names)
    assert len(names["poisoned"]) == 300 and len(names["test"]) == 200
    assert isinstance(names["abl"], training.Trained) and len(names["abl"].isolated) == 15
    assert isinstance(names["ours"], exclusion.Excluded)
    shares = capsys.readouterr().out.splitlines()[-4:-1]
    assert all(0 <= float(share) <= 1 for share in shares)


def test_each_block_of_code_is_run_by_a_test():
    """Those of the library, of an attack, of a defence and of a data set of one's own."""
    assert {page: len(blocks(page)) for page in TEXTS if blocks(page)} == {
        "README.md": 1,
        "ablkit/README.md": 1,
        **dict.fromkeys(ADDED, 1),
    }
    assert [page for page in TEXTS if blocks(page, "diff")] == list(ADDED)
    languages = {language for text in TEXTS.values() for language, _ in FENCED.findall(text)}
    assert languages == {"", "python", "diff", "text"}


def patched(source: str, diff: str) -> str:
    """The source with a change as a README prints it; its old lines must be there once."""
    old, new = ("".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] in signs) for signs in (" -", " +"))
    assert source.count(old) == 1 and old != new
    return source.replace(old, new)


def test_a_change_that_does_not_fit_the_source_is_found():
    assert patched("a = 1\nb = 2\n", " a = 1\n+c = 3\n") == "a = 1\nc = 3\nb = 2\n"
    assert patched("a = 1\nb = 2\n", "-a = 1\n+a = 3\n") == "a = 3\nb = 2\n"
    for wrong in ("-a = 2\n+a = 3\n", " a = 1\n"):
        with pytest.raises(AssertionError):
            patched("a = 1\nb = 2\n", wrong)


@pytest.fixture
def clone(tmp_path, data_root) -> Path:
    """A copy of the package and the notebooks, with the data."""
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("ablkit", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "clone")
    shutil.copytree(data_root, tmp_path / "clone" / "data")
    return tmp_path / "clone"


def run(clone: Path, *words: str) -> subprocess.CompletedProcess:
    """The command of a copy, in it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ABLKIT_")}
    asked = {**own, "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "ablkit.cli", *words]
    return subprocess.run(command, cwd=clone, env=asked, capture_output=True, text=True)


def smoke_of(page: str) -> list[str]:
    """The words of the one command of a page that runs something of the smoke preset."""
    (command,) = (one for one in ABLKIT if one.page == page and one.words[1] == "run" and "smoke" in one.words)
    return command.words[1:]


@pytest.mark.parametrize("page", ADDED)
def test_what_is_added_as_printed_runs_as_printed(clone, page, capsys):
    words, file = smoke_of(page), ADDED[page]
    assert main(words) == 2 and f"'{Path(file).stem}' is no" in capsys.readouterr().err  # the twin: it is not added
    registry = (clone / file).with_name("__init__.py")
    (code,), (diff,) = blocks(page), blocks(page, "diff")
    assert f"`{file}`" in TEXTS[page] and f"`{registry.relative_to(clone)}`" in TEXTS[page]
    (clone / file).write_text(code)
    registry.write_text(patched(registry.read_text(), diff))
    done = run(clone, *words)
    assert done.returncode == 0, done.stderr
    assert "attack_success_rate" in done.stdout


def test_data_of_ones_own_run_as_printed(clone, monkeypatch, capsys):
    (code,) = blocks("ablkit/README.md")
    words = smoke_of("ablkit/README.md")
    monkeypatch.setenv("ABLKIT_DATA", str(clone / "data"))
    monkeypatch.setenv("ABLKIT_RUNS", str(clone / "runs"))
    assert main(words) == 2 and "mine" in capsys.readouterr().err  # the twin: they are not written
    monkeypatch.chdir(clone)
    exec(code, {})
    train, test = data.load("mine")
    assert (len(train), len(test), train.classes) == (400, 100, ("cat", "dog"))
    done = run(clone, *words)
    assert done.returncode == 0, done.stderr
