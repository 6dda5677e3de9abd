"""A sweep with a budget starts what can end in time, stops the rest at the end, and loses nothing."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path

import pytest
from trivial import DONE, timed, wanted

from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.runs import durations
from ablkit.runs.job import Job
from ablkit.sweep import budget, definition, local, slots, sweep
from ablkit.sweep.board import Board
from ablkit.sweep.budget import Plan

SWEEP = "notebook: run\npreset: smoke\nparams: {{precision: fp32, train_size: 200}}\ngrid: {{{grid}}}\n"
CHECKPOINT = """
import os, pathlib, time
folder = pathlib.Path(os.environ["ABLKIT_RUN_FOLDER"])
there = (folder / "checkpoint.safetensors").exists()
(folder / "checkpoint.safetensors").write_bytes(b"half of it")
print("goes on" if there else "begins", flush=True)
"""
ENVIRONMENT = """
import json, os, pathlib
pathlib.Path(os.environ["ABLKIT_RUN_FOLDER"], "env.json").write_text(json.dumps({"device": "cpu"}))
"""


@pytest.fixture
def asked(tmp_path):
    """Write a sweep file of a grid, and return its path."""

    def write(grid: str) -> Path:
        (tmp_path / "sweep.yaml").write_text(SWEEP.format(grid=grid))
        return tmp_path / "sweep.yaml"

    return write


def counts(text: str) -> dict[str, int]:
    (line,) = re.findall(r"^\d+ done, \d+ failed, \d+ stopped .*$", text, re.MULTILINE)
    return {words: int(number) for number, words in re.findall(r"(\d+) ([a-z ]+)", line)}


def test_at_the_end_running_ones_are_stopped_with_their_checkpoint_and_the_same_command_goes_on(
    cells, folders, asked, capsys
):
    cells(CHECKPOINT, "import time\nif seed and not there: time.sleep(1000)", DONE)
    path = asked("seed: [0, 1, 2]")
    timed(1.0, seed=50)
    begun = time.monotonic()
    assert main(["sweep", str(path), "--workers", "2", "--budget", "0.6"]) == 0
    assert time.monotonic() - begun > 30
    text = capsys.readouterr().out
    done, *others = definition.read(path)
    assert counts(text) == {"done": 1, "failed": 0, "stopped with a checkpoint": 2, "not started": 0}
    assert "the other 2 are expected to take: about" in text and "the same command goes on from here" in text
    assert all((one.folder / "checkpoint.safetensors").exists() for one in others)
    assert not list(folders.rglob("failure.json"))
    assert all(durations.earlier(one.folder) > 0 for one in others)
    assert main(["sweep", str(path), "--workers", "2", "--budget", "5"]) == 0
    text = capsys.readouterr().out
    assert counts(text) == {"done": 3, "failed": 0, "stopped with a checkpoint": 0, "not started": 0}
    assert "expected to take" not in text
    assert all("goes on" in (one.folder / "log.txt").read_text() for one in others)
    assert "goes on" not in (done.folder / "log.txt").read_text()


def test_what_is_not_started_is_counted_and_its_time_told(cells, folders, asked, capsys):
    cells(DONE)
    timed(600.0, seed=50)
    assert main(["sweep", str(asked("seed: [0, 1], method: [abl, none]")), "--workers", "2", "--budget", "3"]) == 0
    text = capsys.readouterr().out
    assert counts(text) == {"done": 2, "failed": 0, "stopped with a checkpoint": 0, "not started": 2}
    assert "the other 2 are expected to take: about 10 m 00 s, 2 at a time; the same command goes on from here" in text


def test_a_failing_run_is_tried_twice_and_the_others_go_on(cells, folders, asked, capsys):
    cells("assert seed", DONE)
    assert main(["sweep", str(asked("seed: [0, 1]")), "--budget", "5"]) == 1
    text = capsys.readouterr().out
    assert counts(text) == {"done": 1, "failed": 1, "stopped with a checkpoint": 0, "not started": 0}
    assert text.count("cell cell-1: AssertionError") == 3


@pytest.mark.parametrize(("second", "counted"), [(local.STOPPED, 1), ("done", 0)])
def test_a_failure_whose_second_try_is_stopped_stays_a_failure(cells, folders, monkeypatch, second, counted):
    cells(DONE)
    one, tries = wanted(0), iter(["failed", second])
    board = Board([one], 1, io.StringIO())

    def within(plan: Plan, *_: object) -> dict[Job, str]:
        board.states[one] = next(tries)
        return {one: "out of memory"} if board.states[one] == "failed" else {}

    monkeypatch.setattr(budget, "_within", within)
    failed, told = budget.run([one], [slots.Slot("here", {})], board, time.monotonic() + 60)
    assert failed == ({one: "out of memory"} if counted else {})
    assert f"{counted} failed" in told and "1 stopped" not in told


def test_what_another_process_has_in_hand_is_done_once_it_lets_go(cells, folders, asked, capsys):
    from ablkit.files import locked

    cells(DONE)
    path = asked("seed: [0, 1]")
    held, _ = definition.read(path)
    timed(1.0, seed=50)
    with locked(held.folder):
        threading.Timer(6, (held.folder / "let go").touch).start()
        told: list[int] = []
        beside = threading.Thread(target=lambda: told.append(main(["sweep", str(path), "--budget", "1"])))
        beside.start()
        while not (held.folder / "let go").exists():
            time.sleep(0.1)
    beside.join()
    assert told == [0]
    text = capsys.readouterr().out
    assert "another process has it in hand" in text
    assert counts(text)["done"] == 2


def test_a_shard_with_a_budget_takes_its_own_runs(cells, folders, asked, capsys):
    cells(DONE)
    path = asked("seed: [0, 1, 2, 3, 4, 5]")
    mine = slots.shard(definition.read(path), "0/3")
    assert 0 < len(mine) < 6
    assert main(["sweep", str(path), "--shard", "0/3", "--workers", "2", "--budget", "5"]) == 0
    assert counts(capsys.readouterr().out)["done"] == len(mine)
    assert {one.folder for one in mine} == {p.parent for p in folders.glob("run/*/metrics.json")}


def test_no_time_left_starts_nothing(cells, folders, asked):
    cells(DONE)
    jobs, stream = definition.read(asked("seed: [0]")), io.StringIO()
    room = slots.make(jobs, 1)
    failed, told = budget.run(jobs, room, Board(jobs, 1, stream), time.monotonic())
    assert (failed, stream.getvalue()) == ({}, "")
    assert counts(told)["not started"] == 1 and "nothing tells how long" in told
    assert not folders.exists()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x", "", "1e9", "1e400", "\u0663"])
def test_what_is_no_budget_is_one_line(asked, folders, capsys, value):
    assert main(["sweep", str(asked("seed: [0]")), "--budget", value]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "is no time to run for: give a number of minutes above 0" in told
    assert not folders.exists()


def test_a_budget_does_not_go_with_ray(asked, folders, capsys):
    path = asked("seed: [0]")
    assert main(["sweep", str(path), "--budget", "5", "--ray", "local"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "--budget with --ray" in told
    with pytest.raises(UserError, match="--budget nan is no time"):
        sweep(path, budget=float("nan"))
    assert not folders.exists()


def test_the_clock_of_slots_lets_everything_end_that_ends_in_time(folders):
    board, slot = Board([], 1, io.StringIO()), [slots.Slot("here", {})]
    assert local.in_slots([1, 2], slot, board, lambda item, *_: item * 2, time.monotonic() + 60) == {1: 2, 2: 4}
    with pytest.raises(local.TimeIsUp):
        local.in_slots([1], slot, board, lambda item, _, __, stopped: stopped.wait(60), time.monotonic() + 1)
