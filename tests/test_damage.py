"""A damaged run costs itself alone: commands name it in one line, and it hides no other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from damages import DAMAGES, NO_FILE, cut, fill

from ablkit import runs
from ablkit.cli import main
from ablkit.files import write_json
from ablkit.runs import execute, seals
from ablkit.runs.job import Job
from ablkit.runs.parameters import check, defaults
from ablkit.sweep import board, slots
from ablkit.training.checkpoint import CHECKPOINT

# Commands


@pytest.fixture
def two(folders):
    """A whole run and one to be damaged, both done."""
    return [fill(folders / "run" / f"{letter * 12}", seed, "metrics.json") for seed, letter in enumerate("ab")]


def told(capsys, *arguments: str) -> tuple[str, str]:
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr()


COMMANDS = [
    ["runs"],
    ["runs", "-p", "seed", "0"],
    ["runs", "--state", "done"],
    ["runs", "--delete-failed"],
    ["export", "run"],
    ["attacks"],
]


@pytest.mark.parametrize("name", ["params.json", "metrics.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_named_in_one_warning_and_hides_no_other(two, tmp_path, monkeypatch, capsys, name, damage):
    monkeypatch.chdir(tmp_path)
    whole, damaged = two
    for command in COMMANDS:
        assert told(capsys, *command)[1] == ""  # the twin
    DAMAGES[damage](damaged / name)
    for command in COMMANDS:
        out, warning = told(capsys, *command)
        assert warning.startswith(f"ablkit: 1 run is damaged and left out: {damaged.name} ({name} ")
        assert warning.count("\n") == 1
        assert "nan" not in out
        if command[0] == "runs" and "--delete-failed" not in command:
            assert f"{whole.name}  done" in out
            assert damaged.name not in out
            assert "1 runs in" in out
    assert "clean_accuracy                       0.75" in told(capsys, "runs", whole.name)[0]
    assert runs.load("run")["key"].tolist() == [whole.name]
    assert damaged.exists()


@pytest.mark.parametrize("name", ["params.json", "env.json", "metrics.json", "files.json"])
def test_a_damaged_run_is_shown_as_far_as_it_can_be_read(two, capsys, name):
    folder = fill(two[1], 1, "metrics.json", "env.json", "history.jsonl")
    seals.seal(folder, folder / "metrics.json")
    lines = {"params.json": "seed", "env.json": "gpu", "metrics.json": "clean_accuracy", "files.json": "files.json"}
    assert all(f"{line} " in told(capsys, "runs", folder.name)[0] for line in list(lines.values())[:3])
    (folder / name).write_text("{")
    said = told(capsys, "runs", folder.name)[0]
    assert f"{name} is damaged (" in said
    assert [f"  {line} " in said for line in lines.values()][:3] == [other != name for other in lines][:3]


def test_what_a_run_left_is_checked_where_it_is_shown(two, capsys):
    fill(two[1], 1, "history.jsonl")
    seals.seal(two[1], two[1] / "metrics.json")
    (two[1] / "history.jsonl").write_text("")
    assert "history.jsonl is damaged (it is not what the run wrote)" in told(capsys, "runs", two[1].name)[0]


def test_a_run_without_its_parameters_is_damaged_and_one_that_has_not_begun_is_none(two, folders, capsys):
    (two[1] / "params.json").unlink()
    (folders / "run" / "cccccccccccc").mkdir()
    out, warning = told(capsys, "runs")
    assert "1 runs in" in out
    assert warning.startswith(f"ablkit: 1 run is damaged and left out: {two[1].name} (params.json does not exist)")


@pytest.mark.parametrize("other", ["half", True])
def test_a_metric_of_several_kinds_is_no_column(two, tmp_path, other, capsys):
    for folder, value in zip(two, (0.5, other), strict=True):
        write_json(folder / "metrics.json", {"own": value})
    assert main(["export", "run", "--to", str(tmp_path / "results")]) == 2
    assert "'own' is a number in some runs of run and none in others" in capsys.readouterr().err
    assert not list(tmp_path.glob("results*"))
    write_json(two[0] / "metrics.json", {"own": other})
    assert "results.parquet" in told(capsys, "export", "run", "--to", str(tmp_path / "results"))[0]


def test_many_damaged_runs_are_counted_in_one_short_line(folders, capsys):
    for seed in range(12):
        cut(fill(folders / "run" / f"{seed:012}", seed) / "params.json")
    warning = told(capsys, "runs")[1]
    assert warning.startswith("ablkit: 12 runs are damaged and left out: 000000000000 (params.json ")
    assert "and 7 more; delete the folder" in warning
    assert warning.count("\n") == 1


def test_a_share_that_was_not_measured_is_no_number(two, capsys):
    assert "CA 75.0%, ASR -" in told(capsys, "runs")[0]
    (two[1] / "metrics.json").write_text('{"clean_accuracy": NaN}')
    out, warning = told(capsys, "runs")
    assert "%" not in out.replace("CA 75.0%", "")
    assert "NaN is no number of JSON" in warning


def test_a_folder_that_may_not_be_entered_is_named(two, capsys, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != two[1] and real(path, mode))  # but for root
    for file in two[1].iterdir():
        file.unlink()
    out, err = told(capsys, "runs")
    assert two[0].name in out and two[1].name in err and err.count("\n") == 1


@pytest.mark.parametrize("share", [7e300, -0.5, 1.01])
def test_a_share_outside_of_its_range_is_damage(two, capsys, share):
    write_json(two[1] / "metrics.json", {"clean_accuracy": share})
    out, err = told(capsys, "runs")
    assert two[0].name in out and "clean_accuracy" in err and len(out) < 2_000


def test_what_records_of_others_hold_is_printed_harmless_and_short(two, capsys):
    (two[1] / "metrics.json").unlink()
    write_json(two[1] / "failure.json", {"message": "\x1b]0;mine\x07" + "x" * 100_000, "cell": "a"})
    out, _ = told(capsys, "runs")
    assert "\x1b" not in out and "\\x1b" in out and len(out) < 2_000


@pytest.mark.parametrize("damage", DAMAGES)
def test_failed_and_unfinished_runs_with_damage_are_left_out_too(two, folders, capsys, damage):
    failed = fill(folders / "run" / "cccccccccccc", 2, "failure.json")
    unfinished = fill(folders / "run" / "dddddddddddd", 3, "history.jsonl")
    assert "4 runs in" in told(capsys, "runs")[0]
    DAMAGES[damage](failed / "failure.json")
    DAMAGES[damage](unfinished / "history.jsonl")
    out, warning = told(capsys, "runs")
    assert "2 runs in" in out
    assert warning.startswith(f"ablkit: 2 runs are damaged and left out: {failed.name} (failure.json ")
    told(capsys, "runs", "--delete-failed")
    assert failed.exists()


def test_a_failed_run_that_a_process_has_in_hand_is_not_deleted(folders, capsys):
    folder, other = (fill(folders / "run" / f"{letter * 12}", 0, "failure.json") for letter in "ab")
    with execute.locked(folder):
        out, _ = told(capsys, "runs", "--delete-failed")
    assert f"left {folder}: another process has it in hand" in out
    assert "1 failed runs deleted" in out
    assert (folder.exists(), other.exists()) == (True, False)
    # The twin: once it is let go, it is deleted.
    assert "1 failed runs deleted" in told(capsys, "runs", "--delete-failed")[0]
    assert not folder.exists()


# What runs and sweeps look up


@pytest.fixture
def job(folders, data_root):
    """A run that is wanted, on the digits."""
    return Job("run", "abl", check("run", defaults("run", "smoke") | {"dataset": "digits"}))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_job_with_damaged_metrics_is_not_done(job, damage):
    fill(job.folder, 0, "metrics.json")
    write_json(job.folder / "params.json", job.facts)
    seals.seal(job.folder, job.folder / "metrics.json")
    assert (job.state, job.metrics()["clean_accuracy"]) == ("done", 0.75)
    DAMAGES[damage](job.folder / "metrics.json")
    assert job.state == "damaged"


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_board_and_the_plan_of_a_sweep_survive_damage(job, damage, monkeypatch):
    fill(job.folder, 0, "history.jsonl", "metrics.json", "failure.json")
    facts = {"device": "cuda", "peak_memory_bytes": 7}
    write_json(job.folder / "env.json", facts)
    write_json(job.folder / "params.json", {"notebook": "run", "parameters": job.parameters.model_dump()})
    (job.folder / CHECKPOINT).touch()

    from ablkit import sweep

    (job.folder / "log.txt").write_text("said")
    looked_up = {
        "history.jsonl": (lambda: board._epoch(job), "isolate 2", ""),
        "env.json": (lambda: slots._largest_peak([job]), 7, 0),
        "failure.json": (lambda: sweep._cell(job), " in cell train", ""),
    }
    for name, (look, whole, otherwise) in looked_up.items():
        assert look() == whole
        DAMAGES[damage](job.folder / name)
        assert look() == otherwise
    assert sweep._last_lines(job.folder / "log.txt") == ["said"]
    if damage in NO_FILE:
        DAMAGES[damage](job.folder / "log.txt")
        assert sweep._last_lines(job.folder / "log.txt") == []
