"""The pages say what was run, and open in a real browser without an error or a request."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import pytest

from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.files import Busy
from ablkit.metrics.paper import PaperValue, lookup
from ablkit.report import ledger
from ablkit.report.plan import jobs

COMMAND = ["report", "--preset", "smoke", "--attacks", "badnets", "cba"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory, data_root, smoke_runs):
    """The pages of a smoke report, and what building them printed."""
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLKIT_DATA", str(data_root))
        patch.setenv("ABLKIT_RUNS", str(smoke_runs))
        assert main([*COMMAND, "--to", str(root / "site")]) == 0
        yield root / "site"


def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on the path: install it to test the pages (apt-get install chromium)")
    assert found, "continuous integration needs Chromium"
    return found


def open_page(page: Path, folder: Path, width: int = 800) -> tuple[list[str], list[str]]:
    """Open a page in headless Chromium; return its console lines and the addresses that it asked for."""
    log = folder / f"{page.stem}-net.json"
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    flags += " --disable-component-update --disable-default-apps --disable-extensions --virtual-time-budget=3000"
    command = [browser(), *flags.split(), f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    command += [f"--window-size={width},900", "--enable-logging=stderr", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<title>" in done.stdout, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    own = re.findall(r'"url":"((?:https?|wss?)://[^"]*)"', log.read_text())
    # The browser asks for things of its own; a page's requests name the page as where they come from.
    text = log.read_text()
    events = [line for line in text.splitlines() if '"initiator":"file://' in line or '"initiator":"null"' in line]
    asked = [url for line in events for url in re.findall(r'"url":"([^"]*)"', line) if url in own]
    return console, asked


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("*.html"))


def test_there_is_an_index_and_a_page_for_each_run(site):
    names = [page.name for page in pages(site)]
    assert names == [
        "attacks-digits.html",
        "index.html",
        "loss_gap-digits-badnets-seed0.html",
        "loss_gap-digits-cba-seed0.html",
        "run-digits-badnets-abl-seed0.html",
        "run-digits-badnets-none-seed0.html",
        "run-digits-cba-abl-seed0.html",
        "run-digits-cba-none-seed0.html",
    ]


def test_pages_open_without_console_lines_or_requests(site, tmp_path):
    for page in pages(site):
        assert open_page(page, tmp_path) == ([], [])


def test_a_page_that_fetches_and_fails_is_found(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<title>bad</title><img src='http://127.0.0.1:9/x.png'><script>console.error('broken')</script>",
        encoding="utf-8",
    )
    console, asked = open_page(bad, tmp_path)
    assert any("broken" in line for line in console)
    assert asked == ["http://127.0.0.1:9/x.png"]


def test_pages_are_self_contained_and_their_links_lead_somewhere(site):
    for page in pages(site):
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
        for target in re.findall(r'(?:src|href)="([^"#:]+)"', text):
            assert (site / target).is_file(), f"{page.name} -> {target}"
        for image in re.findall(r"<img[^>]*>", text):
            assert re.search(r'alt="[A-Z][^"]{15,}"', image), image[:200]
        assert "prefers-color-scheme: dark" in text
        assert 'name="viewport"' in text


def test_a_run_page_says_what_was_run(site):
    text = (site / "run-digits-badnets-abl-seed0.html").read_text(encoding="utf-8")
    for fact in ("before isolation", "after fine-tuning", "after unlearning", "isolation precision", "target class"):
        assert fact in text
    for fact in (
        "commit: ",
        "processor: ",
        "precision: ",
        "data: ",
        "torch: ",
        "started: ",
        "peak memory: ",
        "ablkit run run --preset smoke",
    ):
        assert fact in text
    assert text.count("<pre>stage") <= 1, "the printed epochs stand in one block"
    # The values that ran, not the defaults of the cell that papermill overrides.
    assert "train_size = 600" in re.sub("<[^>]*>", "", text)
    assert "10000" not in text


def test_figures_are_not_blank(site, tmp_path):
    runs = Path(os.environ["ABLKIT_RUNS"])
    found = sorted(runs.glob("*/*/figures/*.png"))
    assert {path.stem for path in found} >= {
        "poisoned-images",
        "training-curves",
        "loss-gap",
        "gallery",
        "attack-results",
    }
    for path in found:
        assert matplotlib.image.imread(path)[..., :3].std() > 0.05


def test_a_second_call_runs_nothing(site, capsys):
    times = {page: page.stat().st_mtime for page in Path(os.environ["ABLKIT_RUNS"]).glob("*/*/metrics.json")}
    assert main([*COMMAND, "--to", str(site)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("done before") == 7
    assert "after unlearning" in printed
    assert printed.rstrip().endswith(str(site / "index.html"))
    assert {page: page.stat().st_mtime for page in times} == times


def test_failed_and_missing_runs_stand_on_the_index(site, tmp_path):
    from ablkit.files import write_json
    from ablkit.report.site import build

    needed = jobs("smoke", [0, 1], {})
    write_json(needed[3].folder / "failure.json", {"message": "cell train: it broke"})
    index, _ = build(needed, tmp_path / "site", "ablkit report", "smoke")
    text = index.read_text(encoding="utf-8")
    (needed[3].folder / "failure.json").unlink()
    assert "failed: cell train: it broke" in text
    assert "missing: ablkit run" in text


def test_as_it_is_the_report_runs_nothing_and_says_what_is_missing(tmp_path, data_root, monkeypatch):
    monkeypatch.setenv("ABLKIT_DATA", str(data_root))
    monkeypatch.setenv("ABLKIT_RUNS", str(tmp_path / "runs"))
    assert main([*COMMAND, "--as-is", "--to", str(tmp_path / "site")]) == 0
    text = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert text.count("missing: ablkit run") == 7
    assert text.count("Not all runs are done") == 2  # each attack says so
    assert not (tmp_path / "runs").exists()


def test_a_run_that_fails_does_not_keep_the_others_from_the_page(site, tmp_path, monkeypatch, capsys):
    from ablkit.files import write_json
    from ablkit.report import plan
    from ablkit.sweep import local

    # One run of the site that is done, and one that is missing and fails.
    chosen = [job for job in jobs("smoke", [0, 9], {}) if job.notebook == "run"][1:3]
    assert [job.state for job in chosen] == ["done", "missing"]
    real = local.carry_out

    def dies(job, **options):
        if job.parameters.seed == 9:
            write_json(job.folder / "failure.json", {"message": "the kernel died in cell train", "cell": "train"})
            raise UserError("the kernel died in cell train")
        return real(job, **options)

    monkeypatch.setattr(local, "carry_out", dies)
    monkeypatch.setattr(plan, "jobs", lambda *_: chosen)
    assert main(["report", "--preset", "smoke", "--to", str(tmp_path / "site")]) == 1
    text = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "failed: the kernel died in cell train" in text
    assert "run-digits-badnets-abl-seed0.html" in text
    shutil.rmtree(chosen[1].folder)


def test_a_report_waits_for_what_another_process_has_in_hand(site, monkeypatch, capsys):
    from ablkit.report import plan
    from ablkit.sweep import local

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


def test_the_papers_numbers_come_with_their_mark():
    verified = lookup("attack_success_rate", attack="badnets", method="abl")
    recalled = lookup("attack_success_rate", attack="badnets", method="none")
    assert (str(verified), str(recalled)) == ("3.0%", "100.0%*")
    assert lookup("attack_success_rate", attack="badnets", method="abl", dataset="digits") is None


@pytest.mark.parametrize(
    ("values", "mark", "full", "verdict"),
    [
        ([0.04, 0.05, 0.06], "verified", True, "reproduced"),
        ([0.07, 0.08, 0.08], "verified", True, "close"),
        ([0.5, 0.5, 0.5], "verified", True, "missed"),
        ([0.04, 0.05, 0.06], "recalled", True, "not judged: number from memory"),
        ([0.04, 0.05, 0.06], "verified", False, "not judged: reduced scale"),
        ([0.04], "verified", True, "not judged: fewer than three seeds"),
        ([], "verified", True, "not run"),
    ],
)
def test_verdicts_follow_the_rule(values, mark, full, verdict):
    published = PaperValue(0.03, mark, "a source")
    assert ledger.verdict("attack_success_rate", values, published, full_scale=full) == verdict


def test_the_metrics_of_the_pages_are_those_of_the_runs(site):
    for file in site.glob("files/*/metrics.json"):
        shares = json.loads(file.read_text())
        assert all(0 <= v <= 1 for k, v in shares.items() if "accuracy" in k or "rate" in k or "precision" in k)


def test_figures_lie_beside_their_numbers_and_pictures_in_the_page_alone(site):
    drawn = {path.stem for path in site.glob("files/*/*.svg")}
    assert "training-curves" in drawn and "poisoned-images" not in drawn
    assert drawn == {path.stem for path in site.glob("files/*/*.csv")}
