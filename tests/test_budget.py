"""A sweep with a budget starts what can end in time, stops the rest at the end, and loses nothing."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from pathlib import Path

import pytest
from trivial import DONE, job

from ablkit import durations, environment, execute
from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.execute import RunFailed
from ablkit.files import write_json
from ablkit.jobs import Job
from ablkit.sweep import budget, file, local, slots, sweep
from ablkit.sweep.board import Board
from ablkit.sweep.budget import Plan
from ablkit.sweep.expected import Expected

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


def finished(took: float | None, **changes: object) -> Job:
    """A run that has ended on this machine, or whose time is not known."""
    made = job(**{"train_size": 200} | changes)
    facts = {"device": "cpu", "precision": "fp32", "processor": environment.name_of("cpu")}
    write_json(made.folder / "params.json", made.facts)
    write_json(made.folder / "env.json", facts | ({durations.NOTED: took} if took is not None else {}))
    write_json(made.folder / "metrics.json", {})
    return made


def wanted(seed: int, **changes: object) -> Job:
    return job(**{"train_size": 200, "seed": seed} | changes)


def plan(*jobs: Job, left: float = 60, **options) -> tuple[Plan, list[str]]:
    told: list[str] = []
    return Plan(list(jobs), Expected(list(jobs)), time.monotonic() + left, told.append, **options), told


def all_of(made: Plan) -> list[int]:
    """The seeds of the runs that a plan hands out, each of which ends before the next."""
    taken = []
    while one := made.take(threading.Event()):
        taken.append(one.parameters.seed)
        made.end(one, None)
    return taken


# What is expected


def test_a_run_is_expected_to_take_the_median_of_those_that_differ_by_their_seed(cells, folders):
    cells(DONE)
    for seed, took in enumerate((10.0, 20.0, 90.0)):
        finished(took, seed=seed)
    finished(500.0, seed=0, attack="blend")
    one = wanted(7)
    assert Expected([one]).seconds(one) == 20


def test_another_attack_is_the_measure_only_where_none_of_the_same_has_ended(cells, folders):
    cells(DONE)
    finished(500.0, attack="blend")
    one = wanted(7)
    assert Expected([one]).seconds(one) == 500
    finished(20.0)
    assert Expected([one]).seconds(one) == 20


@pytest.mark.parametrize(
    "other",
    [
        {"train_size": 300},
        {"method": "none"},
        {"unlearn_epochs": 9},
        {"model": "wrn-16-1"},
        {"threads": 2},
        {"batch_size": 16},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_run_of_another_size_or_method_is_no_measure(cells, folders, other):
    cells(DONE)
    finished(20.0, **other)
    one = wanted(7)
    assert Expected([one]).seconds(one) is None
    same = wanted(7, **other)
    assert Expected([same]).seconds(same) == 20  # the twin


@pytest.mark.parametrize(
    "facts",
    [{"processor": "another one"}, {"precision": "bf16"}, {"device": "cuda"}, {"wall_seconds": None}, {"gpu": {}}],
    ids=lambda facts: next(iter(facts)),
)
def test_a_run_of_another_machine_or_without_a_known_time_is_no_measure(cells, folders, facts):
    cells(DONE)
    made, one = finished(20.0), wanted(7)
    assert Expected([one]).seconds(one) == 20  # the twin
    path = made.folder / "env.json"
    write_json(path, json.loads(path.read_text()) | facts)
    assert Expected([one]).seconds(one) is None


def test_runs_of_the_same_sweep_come_first_as_they_have_as_many_beside_them(cells, folders):
    cells(DONE)
    finished(20.0)
    one, other = wanted(7), wanted(8)
    expected = Expected([one, other])
    expected.learn(other, 44.0)
    assert expected.seconds(one) == 44


# What is started


def test_a_run_that_does_not_fit_is_passed_over_for_a_later_one_that_does(cells, folders):
    cells(DONE)
    finished(100.0, seed=50, method="abl")
    finished(10.0, seed=50, method="none")
    jobs = [wanted(1, method="none"), wanted(2, method="abl"), wanted(3, method="none")]
    assert all_of(plan(*jobs)[0]) == [1, 3]
    assert all_of(plan(*jobs, left=200)[0]) == [1, 2, 3]
    assert all_of(plan(*jobs, left=5)[0]) == []


def test_of_what_is_unknown_one_run_alone_is_the_measure(cells, folders):
    cells(DONE)
    made, told = plan(wanted(1), wanted(2), wanted(3), wanted(4, method="none"))
    first, other = made.take(threading.Event()), made.take(threading.Event())
    assert (first.parameters.seed, other.parameters.seed) == (1, 4)  # of another kind, so its own measure
    assert made._next() is None
    assert "nothing tells how long it takes" in told[0] and "; 2 more wait for that measure" in told[0]
    assert len(told) == 2 and "wait" not in told[1]
    made.end(first, 30.0)
    second = made.take(threading.Event())
    assert second.parameters.seed == 2
    made.end(second, 300.0)
    assert made._next() is None  # 165 s by now


def test_where_the_measure_fails_the_next_one_is_it(cells, folders):
    cells(DONE)
    made, told = plan(wanted(1), wanted(2))
    made.end(made.take(threading.Event()), None)
    assert made.take(threading.Event()).parameters.seed == 2
    assert len(told) == 2


def test_a_stopped_run_needs_what_is_left_of_it(cells, folders):
    cells(DONE)
    finished(100.0, seed=50)
    one = wanted(1)
    assert all_of(plan(one)[0]) == []
    write_json(one.folder / "checkpoint.safetensors", {})
    assert all_of(plan(one)[0]) == []  # nobody knows how far it is
    durations.keep(one.folder, 70.0)
    made, _ = plan(one)
    assert made.seconds_left(one) == pytest.approx(30)
    assert all_of(made) == [1]
    durations.keep(one.folder, 400.0)
    assert plan(one)[0].seconds_left(one) == pytest.approx(10)  # longer than expected, and not yet done
    (one.folder / durations.SPENT).write_text('{"seconds": NaN}')
    assert plan(one)[0].seconds_left(one) == 100


def test_a_time_limit_bounds_what_is_expected(cells, folders):
    cells(DONE)
    finished(100.0, seed=50)
    one = wanted(1)
    assert all_of(plan(one, timeout=20.0)[0]) == [1]
    assert all_of(plan(one)[0]) == []


# What is kept


def test_what_a_run_takes_is_noted_before_it_is_sealed(cells, folders):
    cells(ENVIRONMENT, DONE)
    one = wanted(0)
    outcome = execute.carry_out(one)
    noted = json.loads((one.folder / "env.json").read_text())[durations.NOTED]
    assert 0 < noted == round(outcome.seconds, 1) < 120
    assert one.is_done()
    write_json(one.folder / "env.json", {"device": "cpu", durations.NOTED: noted + 1})
    assert not one.is_done()  # the twin


def test_what_earlier_attempts_took_counts(cells, folders):
    cells(CHECKPOINT, ENVIRONMENT, "assert (folder / 'mended').exists()", DONE)
    one = wanted(0)
    with pytest.raises(RunFailed):
        execute.carry_out(one)
    spent = durations.earlier(one.folder)
    assert spent > 0
    write_json(one.folder / durations.SPENT, {"seconds": spent + 1000})
    (one.folder / "mended").touch()
    assert execute.carry_out(one).seconds > spent + 1000
    assert not (one.folder / durations.SPENT).exists()


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError])
def test_an_attempt_that_is_interrupted_keeps_what_it_took(cells, folders, monkeypatch, end):
    cells(DONE)
    one = wanted(0)

    def interrupted(*_: object) -> None:
        assert durations.earlier(one.folder) == 0  # no checkpoint yet
        write_json(one.folder / "checkpoint.safetensors", {})
        time.sleep(0.2)
        raise end

    monkeypatch.setattr(execute.process, "run_child", interrupted)
    with pytest.raises(end):
        execute.carry_out(one)
    assert 0.2 <= durations.earlier(one.folder) < 60
    write_json(one.folder / durations.SPENT, {"seconds": 1000})

    def killed(*_: object) -> None:
        assert durations.earlier(one.folder) is None  # as whoever kills the runner leaves it
        raise end

    monkeypatch.setattr(execute.process, "run_child", killed)
    with pytest.raises(end):
        execute.carry_out(one)
    assert durations.earlier(one.folder) >= 1000


def test_what_nobody_kept_is_not_noted(cells, folders):
    cells(CHECKPOINT, ENVIRONMENT, DONE)
    one = wanted(0)
    write_json(one.folder / "checkpoint.safetensors", {})  # of an attempt whose runner was killed
    assert execute.carry_out(one).seconds is None
    assert durations.NOTED not in json.loads((one.folder / "env.json").read_text())


# The whole of it


def counts(text: str) -> dict[str, int]:
    (line,) = re.findall(r"^\d+ done, \d+ failed, \d+ stopped .*$", text, re.MULTILINE)
    return {words: int(number) for number, words in re.findall(r"(\d+) ([a-z ]+)", line)}


def test_at_the_end_running_ones_are_stopped_with_their_checkpoint_and_the_same_command_goes_on(
    cells, folders, asked, capsys
):
    cells(CHECKPOINT, "import time\nif seed and not there: time.sleep(1000)", DONE)
    path = asked("seed: [0, 1, 2]")
    finished(1.0, seed=50)
    begun = time.monotonic()
    assert main(["sweep", str(path), "--workers", "2", "--budget", "0.6"]) == 0
    assert 30 < time.monotonic() - begun < 60
    text = capsys.readouterr().out
    done, *others = file.read(path)
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
    finished(600.0, seed=50)
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
    from ablkit.lock import locked

    cells(DONE)
    path = asked("seed: [0, 1]")
    held, _ = file.read(path)
    finished(1.0, seed=50)
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
    mine = slots.shard(file.read(path), "0/3")
    assert 0 < len(mine) < 6
    assert main(["sweep", str(path), "--shard", "0/3", "--workers", "2", "--budget", "5"]) == 0
    assert counts(capsys.readouterr().out)["done"] == len(mine)
    assert {one.folder for one in mine} == {p.parent for p in folders.glob("run/*/metrics.json")}


def test_no_time_left_starts_nothing(cells, folders, asked):
    cells(DONE)
    jobs, stream = file.read(asked("seed: [0]")), io.StringIO()
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
