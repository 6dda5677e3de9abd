"""Trainings of a sweep side by side in one process: runs end as they would alone, and none is lost with its group."""

from __future__ import annotations

import io
import json

import pytest
from conftest import COSTS

from ablkit import methods
from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.files import read_json
from ablkit.jobs import Job
from ablkit.lock import locked
from ablkit.parameters import check, defaults
from ablkit.sweep import local, slots, together
from ablkit.sweep.board import Board

HERE = [slots.Slot("gpu 0", {"OMP_NUM_THREADS": "1"})]


def jobs(*changes: dict) -> list[Job]:
    smoke = defaults("run", "smoke") | {"dataset": "digits", "train_size": 200, "device": "cpu", "precision": "fp32"}
    return [Job("run", "abl", check("run", smoke | change)) for change in changes]


@pytest.fixture(autouse=True)
def on_a_gpu(monkeypatch):
    monkeypatch.setattr(together, "_is_on_gpu", lambda parameters: True)


def trained(wanted: list[Job], number: int = 2, **options) -> str:
    stream = io.StringIO()
    together.train(wanted, number, HERE, Board(wanted, 1, stream), **options)
    return stream.getvalue()


def results(wanted: list[Job]) -> list[dict]:
    failed = local.run(wanted, HERE, Board(wanted, 1, io.StringIO()))
    assert not failed
    return [{name: value for name, value in job.metrics().items() if name not in COSTS} for job in wanted]


def test_notebooks_find_the_trainings_done_and_end_as_alone(folders, tmp_path, monkeypatch):
    wanted = jobs({"seed": 0}, {"seed": 1, "attack": "blend"})
    assert trained(wanted).count("their notebooks come next") == 1
    histories = [(job.folder / "history.jsonl").read_bytes() for job in wanted]
    beside = results(wanted)
    # Its seconds too: the notebook has not trained again.
    assert [(job.folder / "history.jsonl").read_bytes() for job in wanted] == histories
    facts = [read_json(job.folder / "env.json") for job in wanted]
    assert [fact["side_by_side"] for fact in facts] == [2, 2]
    assert all(fact["peak_memory_bytes"] > 0 for fact in facts)
    assert all(fact["device"] == "cpu" and fact["precision"] == "fp32" for fact in facts)
    assert not list(folders.rglob("side_by_side.json")) and not list(folders.rglob("checkpoint.safetensors"))

    monkeypatch.setenv("ABLKIT_RUNS", str(tmp_path / "alone"))
    alone = Job("run", "abl", wanted[1].parameters)
    assert results([alone]) == beside[1:]
    assert "side_by_side" not in read_json(alone.folder / "env.json")


def test_runs_of_one_recipe_go_together_evenly_over_the_gpus(folders, monkeypatch):
    abl, none, _, _, second, third, oracle = wanted = jobs(
        {"seed": 0},
        {"seed": 0, "method": "none"},
        {"seed": 0, "gamma": 0.4},
        {"seed": 0, "method": "nad"},  # starts from another run's model
        {"seed": 1},
        {"seed": 2, "attack": "blend"},
        {"seed": 0, "method": "oracle"},
    )
    assert together._groups(wanted, 8, gpus=1) == [(abl, second, third), (none, oracle)]
    assert together._groups([abl, second, third, *jobs({"seed": 3})], 3, gpus=1)[1][0] == second
    assert [len(group) for group in together._groups(jobs(*({"seed": k} for k in range(9))), 8, gpus=2)] == [5, 4]
    monkeypatch.setattr(together, "_is_on_gpu", lambda parameters: False)
    assert together._groups(wanted, 8, gpus=1) == []


def test_a_training_that_fails_and_one_in_other_hands_leave_the_rest_done(folders, monkeypatch):
    first, fails, elsewhere = wanted = jobs({"seed": 0}, {"seed": 1}, {"seed": 2})
    train = methods.train

    def fails_once(parameters, *others):
        if parameters == fails.parameters:
            raise UserError("the loss is nan")
        return train(parameters, *others)

    monkeypatch.setattr(methods, "train", fails_once)
    with pytest.raises(UserError, match="the loss is nan"), locked(elsewhere.folder):
        together.main([job.parameters.model_dump_json() for job in wanted])
    assert [(job.folder / "checkpoint.safetensors").exists() for job in wanted] == [True, False, False]
    assert [together._is_trained(job) for job in wanted] == [True, False, False]
    assert read_json(first.folder / "side_by_side.json")["side_by_side"] == 2
    # It is seen as a run that is not finished, and is not trained again.
    assert main(["runs", "--state", "unfinished"]) == 0
    assert together._groups(wanted, 8, gpus=1) == [(fails, elsewhere)]


def test_a_group_that_takes_too_long_is_ended(folders):
    assert "each goes on by itself: stopped after 0.2 s" in trained(jobs({"seed": 0}, {"seed": 1}), timeout=0.1)


def test_what_a_group_says_is_passed_on(folders):
    told = trained(jobs(*({"seed": seed, "isolation_learning_rate": 1e30} for seed in range(2))))
    assert "each goes on by itself: the loss is nan in stage isolate" in told


def test_without_a_gpu_and_with_ray_it_is_refused(folders, tmp_path, capsys):
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps({"notebook": "run", "preset": "smoke", "params": {"dataset": "digits"}}))
    for more, way_out in (
        ("2", "use --workers"),
        ("2 --ray local", "use --per-gpu"),
        ("1", "a whole number from 2 to"),
    ):
        assert main(["sweep", str(path), "--side-by-side", *more.split()]) == 2
        assert way_out in capsys.readouterr().err
    assert not folders.exists()
