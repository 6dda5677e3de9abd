"""`ablkit report` runs what is missing, takes the finished runs in, and writes the site of them."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import matplotlib.image
import pytest
from browser import chromium

from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.files import Busy, write_json
from ablkit.report import build, plan
from ablkit.report.plan import jobs, runs_of
from ablkit.sweep import local

COMMAND = ["report", "--preset", "smoke", "--attacks", "badnets", "cba", "--with", "loss_gap", "attacks"]


@pytest.fixture(scope="module")
def site(tmp_path_factory, data_root, smoke_runs):
    """The site of a smoke report."""
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLKIT_DATA", str(data_root))
        patch.setenv("ABLKIT_RUNS", str(smoke_runs))
        assert main([*COMMAND, "--to", str(root / "site")]) == 0
        yield root / "site"


def text(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def test_the_index_shows_each_attack_before_and_after(site):
    rows = re.findall(r'<tr><th><a href="attack-(\w+)\.html">', text(site, "index.html"))
    assert sorted(rows) == ["badnets", "cba"]
    assert "digits, 600 images" in text(site, "index.html")
    assert "Missing" not in text(site, "index.html")


def test_every_run_is_there_with_its_numbers_and_command(site):
    folders = sorted(path.parent.name for path in site.glob("data/*/metrics.json"))
    assert len(folders) == 4
    page = text(site, "runs.html")
    for folder in folders:
        metrics = json.loads((site / "data" / folder / "metrics.json").read_text())
        assert all(0 <= v <= 1 for k, v in metrics.items() if v is not None and re.search("accuracy|precision", k))
        assert f"data/{folder}/params.json" in page
    assert page.count("ablkit run run --preset smoke") == 4


def test_pages_open_without_console_lines_requests_or_broken_pictures(site, tmp_path):
    with chromium(tmp_path) as window:
        for page in sorted(site.glob("*.html")):
            for width in (390, 1440):
                found = window.open(page, width)
                assert (found.scroll_width, found.console, found.requests, found.broken) == (width, [], [], 0), (
                    page.name
                )


def test_the_executed_notebooks_have_figures_that_are_not_blank(site):
    found = sorted(Path(os.environ["ABLKIT_RUNS"]).glob("*/*/figures/*.png"))
    names = {path.stem for path in found}
    assert names >= {"poisoned-images", "training-curves", "loss-gap-none", "loss-gap-abl", "gallery", "attack-results"}
    for path in found:
        assert matplotlib.image.imread(path)[..., :3].std() > 0.05


def test_a_second_call_runs_nothing_and_changes_no_page(site, capsys):
    times = {page: page.stat().st_mtime for page in Path(os.environ["ABLKIT_RUNS"]).glob("*/*/metrics.json")}
    before = {path.name: path.read_bytes() for path in site.glob("*.html")}
    assert main([*COMMAND, "--to", str(site)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("done before") == 6
    assert "BadNets  n = 1" in printed
    assert printed.rstrip().endswith(str(site / "index.html"))
    assert {page: page.stat().st_mtime for page in times} == times
    assert {path.name: path.read_bytes() for path in site.glob("*.html")} == before


def test_failed_and_missing_runs_stand_on_the_index(site, tmp_path, capsys):
    needed = jobs("smoke", [0, 1], {})
    failing = next(job for job in needed if job.state == "missing")
    write_json(failing.folder / "failure.json", {"message": "cell train: it broke"})
    command = ["report", "--preset", "smoke", "--seeds", "0", "1", "--as-is", "--to", str(tmp_path / "site")]
    assert main(command) == 0
    shutil.rmtree(failing.folder)
    page = text(tmp_path / "site", "index.html")
    assert ">failed<" in page and "cell train: it broke" in page
    assert ">missing<" in page and "ablkit run run --preset smoke" in page.partition("<h2>Missing")[2]


def test_as_it_is_the_report_runs_nothing_and_says_what_is_missing(tmp_path, data_root, monkeypatch):
    monkeypatch.setenv("ABLKIT_DATA", str(data_root))
    monkeypatch.setenv("ABLKIT_RUNS", str(tmp_path / "runs"))
    assert main([*COMMAND, "--as-is", "--to", str(tmp_path / "site")]) == 0
    page = text(tmp_path / "site", "index.html")
    assert page.count(">missing<") == 6
    assert "nothing to compare" in page
    assert not (tmp_path / "runs").exists()


def test_the_runs_of_a_comparison_are_taken_in_too():
    needed = jobs("smoke", [0, 1], {}, ("badnets",), ("table1",))
    methods = {job.parameters.method for job in runs_of(needed)}
    assert methods == {"none", "abl", "exclude", "fine_pruning", "mcr", "nad", "oracle"}
    assert len(runs_of(needed)) == 2 * len(methods), "each once"
    assert len(runs_of(jobs("smoke", [0, 1], {}))) == 4


def test_a_run_that_fails_does_not_keep_the_others_from_the_page(site, tmp_path, monkeypatch):
    # One run of the site that is done, and one that is missing and fails.
    chosen = jobs("smoke", [0, 9], {})
    chosen = [next(j for j in chosen if j.state == state and j.title == "ABL") for state in ("done", "missing")]
    real = local.carry_out

    def dies(job, **options):
        if job.parameters.seed == 9:
            write_json(job.folder / "failure.json", {"message": "the kernel died in cell train", "cell": "train"})
            raise UserError("the kernel died in cell train")
        return real(job, **options)

    monkeypatch.setattr(local, "carry_out", dies)
    monkeypatch.setattr(build, "jobs", lambda *_: chosen)
    assert main(["report", "--preset", "smoke", "--to", str(tmp_path / "site")]) == 1
    assert "the kernel died in cell train" in text(tmp_path / "site", "index.html")
    assert chosen[0].folder.name in text(tmp_path / "site", "runs.html")
    shutil.rmtree(chosen[1].folder)


def test_a_damaged_run_is_left_out_and_named(site, tmp_path, capsys):
    done = next(job for job in jobs("smoke", [0], {}) if job.title == "ABL")
    history = done.folder / "history.jsonl"
    whole = history.read_bytes()
    history.write_bytes(whole[:-20])
    try:
        command = ["report", "--preset", "smoke", "--as-is", "--to", str(tmp_path / "site")]
        assert main(command) == 1
    finally:
        history.write_bytes(whole)
    assert f"run/{done.folder.name} is damaged and left out: damaged: history.jsonl" in capsys.readouterr().out
    assert ">damaged<" in text(tmp_path / "site", "index.html")
    assert not (tmp_path / "site" / "data" / done.folder.name).exists()


def test_a_report_waits_for_what_another_process_has_in_hand(site, monkeypatch, capsys):
    (done,) = [job for job in jobs("smoke", [0], {}) if job.title == "ABL"]
    seen = iter([True, True, False])
    monkeypatch.setattr(local, "is_busy", lambda folder: next(seen))
    real, calls = local.carry_out, []

    def busy_at_first(job, **options):
        calls.append(job)
        if len(calls) == 1:
            raise Busy("another process fills it")
        return real(job, **options)

    monkeypatch.setattr(local, "carry_out", busy_at_first)
    monkeypatch.setattr(local.time, "sleep", lambda seconds: None)
    assert plan.run_missing([done]) == {}
    assert len(calls) == 2 and "another process has it in hand" in capsys.readouterr().out
