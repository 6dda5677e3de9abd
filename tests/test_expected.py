"""What a run is expected to take, which run a budget starts next, and what is kept of the time that runs take."""

from __future__ import annotations

import json
import threading
import time

import pytest
from trivial import DONE, timed, wanted

from ablkit.files import write_json
from ablkit.runs import durations, execute
from ablkit.runs.execute import RunFailed
from ablkit.runs.job import Job
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
        timed(took, seed=seed)
    timed(500.0, seed=0, attack="blend")
    one = wanted(7)
    assert Expected([one]).seconds(one) == 20


def test_another_attack_is_the_measure_only_where_none_of_the_same_has_ended(cells, folders):
    cells(DONE)
    timed(500.0, attack="blend")
    one = wanted(7)
    assert Expected([one]).seconds(one) == 500
    timed(20.0)
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
    timed(20.0, **other)
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
    made, one = timed(20.0), wanted(7)
    assert Expected([one]).seconds(one) == 20  # the twin
    path = made.folder / "env.json"
    write_json(path, json.loads(path.read_text()) | facts)
    assert Expected([one]).seconds(one) is None


def test_runs_of_the_same_sweep_come_first_as_they_have_as_many_beside_them(cells, folders):
    cells(DONE)
    timed(20.0)
    one, other = wanted(7), wanted(8)
    expected = Expected([one, other])
    expected.learn(other, 44.0)
    assert expected.seconds(one) == 44


# What is started


def test_a_run_that_does_not_fit_is_passed_over_for_a_later_one_that_does(cells, folders):
    cells(DONE)
    timed(100.0, seed=50, method="abl")
    timed(10.0, seed=50, method="none")
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
    timed(100.0, seed=50)
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
    timed(100.0, seed=50)
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
