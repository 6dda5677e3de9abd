"""The page of the paper's scale, and what the README says of it, are what the committed numbers give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.report import kept, scale
from ablkit.report.ledger import mean_and_range
from ablkit.runs.records import Damaged

ROOT = Path(__file__).parents[1]
DATA = ROOT / "reports" / "data"
README = (ROOT / "README.md").read_text()


@pytest.fixture
def copy(tmp_path) -> Path:
    shutil.copytree(DATA, tmp_path / "data")
    return tmp_path / "data"


def edit(data: Path, key: str, **changes: float) -> None:
    path = data / key / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# The page


def test_the_committed_page_is_what_the_committed_numbers_give(copy, tmp_path):
    assert main(["report", "--from", str(copy), "--to", str(tmp_path / "pages")]) == 0
    made_again = (tmp_path / "pages" / "paper-scale.html").read_bytes()
    assert made_again == (ROOT / "reports" / "paper-scale.html").read_bytes()
    edit(copy, "ddbcd978d0f5", attack_success_rate=0.5)
    assert main(["report", "--from", str(copy), "--to", str(tmp_path / "pages")]) == 0
    assert (tmp_path / "pages" / "paper-scale.html").read_bytes() != made_again


def test_the_finding_is_computed_from_the_numbers(copy):
    def found() -> str:
        runs = kept.load(copy).sort_values("attack")
        return scale.finding(runs, scale._epochs(runs[runs["method"] == "abl"]))

    assert "3 of 3 seeds with BadNets, 1 of 3 seeds with Blend and 3 of 3 seeds with SIG" in found()
    assert "after 11 of 57 epochs, and after 0 of them where averaged weights" in found()
    edit(copy, "ddbcd978d0f5", attack_success_rate=0.06)
    assert "2 of 3 seeds with BadNets" in found()


# The README


def rows() -> pd.DataFrame:
    return kept.load(DATA)


TITLES = {"badnets": "BadNets", "blend": "Blend", "sig": "SIG"}
COLUMNS = ("attack_success_rate", "clean_accuracy_non_target", "clean_accuracy", "target_class_accuracy")


@pytest.mark.parametrize(
    ("attack", "method", "title"),
    [
        ("badnets", "none", "undefended"),
        ("badnets", "abl", "ABL"),
        ("blend", "abl", "ABL"),
        ("blend", "exclude", "`exclude`"),
        ("sig", "abl", "ABL"),
    ],
)
def test_the_readme_says_what_the_committed_runs_say(attack, method, title):
    own = rows().query("attack == @attack and method == @method")
    cells = [mean_and_range(list(own[column])) for column in COLUMNS]
    assert f"| {TITLES[attack]} | {title} | {len(own)} | {' | '.join(cells)} |" in README


def test_the_readme_says_what_isolation_did_on_blend():
    runs = rows()
    lines = {
        line["score"]: line
        for line in scale._scores(scale._epochs(runs.query("attack == 'blend' and method == 'abl'")))
    }
    paper, averaged = lines["loss (the paper)"], lines["averaged weights"]
    words = " ".join(README.split())
    assert f"is {paper['turning']} precise at the turning epoch" in words
    assert f"the same trainings give {averaged['turning']}" in words
    assert averaged["low"] == "0 of 57" and paper["low"] == "11 of 57"
    assert "below half after 11." in words


def test_the_readme_says_what_the_rule_of_exclude_finds():
    lines = [
        line for line in scale._suspects(scale._table(DATA / "suspects.csv")) if line["score"] == "averaged weights"
    ]
    assert all(line["wrong"] == "0" for line in lines)  # "never suspects a clean class"
    found = {line["attack"]: line["at_end"] for line in lines}
    words = " ".join(README.split())
    assert f"on {found['Blend']} seeds with Blend, {found['BadNets']} with BadNets and {found['SIG']} with SIG" in words


def test_the_readme_says_how_fast_it_was():
    speed = pd.read_csv(DATA / "gpu-speed.csv")["images_per_second"]
    for number in (3791, 22490, 65913, 73682, 158571, 72484, 118545, 143727):
        assert number in set(speed) and f"{number:,}" in README


# Taking runs in


def test_a_finished_run_is_taken_in_without_weights(made, copy):
    one = made(0)
    assert main(["report", "--from", str(copy), "--add", one.folder.name, "--to", str(copy.parent)]) == 0
    folder = copy / one.folder.name
    assert sorted(path.name for path in folder.iterdir()) == ["env.json", "history.csv", "metrics.json", "params.json"]
    assert kept.history(folder).to_dict("records") == [{"stage": "isolate", "epoch": 1}]
    assert one.folder.name in (copy / "runs.csv").read_text()
    assert len(kept.load(copy)) == len(rows()) + 1


def test_a_damaged_run_is_not_taken_in(made, copy):
    one = made(0)
    (one.folder / "history.jsonl").write_text('{"stage": "isolate", "epoch": 2}\n')
    with pytest.raises(Damaged, match="is not what the run wrote"):
        kept.add(one.folder, copy)
    assert not (copy / one.folder.name).exists()


def told(capsys, *arguments: str) -> str:
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_what_cannot_be_made_is_told_in_one_line(copy, tmp_path, capsys, folders):
    (tmp_path / "empty").mkdir()
    assert "holds no numbers of runs" in told(capsys, "--from", str(tmp_path / "empty"))
    assert "needs --from" in told(capsys, "--add", "abc")
    assert "begins 0 runs" in told(capsys, "--from", str(copy), "--add", "abc")
    (copy / "ddbcd978d0f5" / "history.csv").write_bytes(b"\xff")
    assert "history.csv cannot be read" in told(capsys, "--from", str(copy), "--to", str(tmp_path / "pages"))
    assert not (tmp_path / "pages" / "paper-scale.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ddbcd978d0f5/metrics.json", "{}", "lacks attack_success_rate"),
        ("ddbcd978d0f5/history.csv", "stage,epoch\nisolate,1\n", "has 1 epochs of phase 1 and not 20"),
        ("ddbcd978d0f5/history.csv", "a,b\n1,2\n", "make no page"),
        ("ddbcd978d0f5/params.json", "[", "is damaged"),
        ("gpu-speed.csv", "", "make no page"),
        ("gpu-speed.csv", "what,images_per_second,measured_by\na,b,c\n", "make no page"),
        ("suspects.csv", "key,attack\na,b\n", "make no page"),
    ],
)
def test_spoilt_numbers_make_no_page_and_are_told_in_one_line(copy, tmp_path, capsys, name, content, message):
    (copy / name).write_text(content)
    assert message in told(capsys, "--from", str(copy), "--to", str(tmp_path / "pages"))
    assert not (tmp_path / "pages" / "paper-scale.html").exists()


@pytest.mark.parametrize("more", ["--as-is", "--dataset digits", "--seeds 1 2", "--preset paper", "--attacks all"])
def test_what_has_no_effect_is_refused(copy, capsys, more):
    assert "leave" in told(capsys, "--from", str(copy), *more.split())


def test_runs_of_a_smaller_scale_make_no_page(made, tmp_path):
    kept.add(made(0).folder, tmp_path / "data")
    with pytest.raises(UserError, match="holds no run at the paper's scale"):
        scale.write(tmp_path / "data", tmp_path)
