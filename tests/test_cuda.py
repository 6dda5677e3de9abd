"""On a GPU: what a CPU computes, graphs that change nothing and keep no memory, resuming, bf16. `pytest -m cuda`."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, toy, train_toy, weights

from ablkit import attacks, exclusion
from ablkit.training import graphs, isolate, per_example_losses

pytestmark = pytest.mark.cuda
SHORT = replace(TOY_RECIPE, finetune_epochs=2, finetune_drop_epoch=1, unlearn_epochs=2)
on_gpu = partial(train_toy, SHORT, device="cuda")


def test_the_first_epoch_loses_what_it_loses_on_a_cpu():
    losses = [train_toy(SHORT, device=device).history[0]["loss"] for device in ("cpu", "cuda")]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert on_gpu(seed=1).history[0]["loss"] != pytest.approx(losses[0], rel=1e-4)


def test_graphs_change_no_bit(monkeypatch):
    many, replays, replay = attacks.poison(toy(2000, 1)), [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (replays.append(graph), replay(graph)))
    captured = weights(on_gpu(poisoned=many))
    assert len(replays) > 100
    replays.clear()
    monkeypatch.setattr(graphs, "FIRST_STEPS", 10**9)
    assert np.array_equal(weights(on_gpu(poisoned=many)), captured)
    assert not replays


def test_the_graphs_of_many_epochs_take_the_memory_of_one():
    reserved = []

    def look(*_) -> dict:
        reserved.append(torch.cuda.memory_reserved())
        return {}

    train_toy(replace(SHORT, finetune_epochs=20), attacks.poison(toy(2000, 1)), device="cuda", evaluate=look)
    assert reserved[-1] <= 1.1 * reserved[3]


def test_a_compiled_training_learns_what_a_plain_one_learns(monkeypatch):
    many = attacks.poison(toy(2000, 1))
    plain = on_gpu(poisoned=many)
    monkeypatch.setattr(graphs, "WORTH_COMPILING", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own words on its way; a refusal shows in the next line
        compiled, again = on_gpu(poisoned=many), on_gpu(poisoned=many)
    assert np.array_equal(weights(compiled), weights(again))
    assert compiled.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=0.01)
    assert not np.array_equal(weights(compiled), weights(plain))


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path):
    def stop(model, stage: str, epoch: int, last: bool) -> dict:
        if stage == "finetune":
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        on_gpu(folder=tmp_path, checkpoint_seconds=0.0, evaluate=stop)
    resumed = on_gpu(folder=tmp_path)
    assert np.array_equal(weights(resumed), weights(on_gpu()))
    assert resumed.history[0]["stage"] == "isolate"


def test_a_graph_averages_the_weights_as_single_steps_do(monkeypatch):
    many = attacks.poison(toy(2000, 1))
    recipe = replace(SHORT, isolation_epochs=2, isolation_score="averaged", trajectories="fresh_statistics")
    train = partial(train_toy, recipe, many, device="cuda")
    captured = train()
    monkeypatch.setattr(graphs, "FIRST_STEPS", 10**9)
    single = train()
    assert np.array_equal(captured.losses, single.losses)
    for name, values in captured.trajectories.items():
        assert np.array_equal(values, single.trajectories[name])
    assert np.array_equal(weights(captured), weights(single))
    plain = train_toy(replace(recipe, trajectories="", isolation_score="loss"), many, device="cuda")
    assert plain.history[1]["loss"] == captured.history[1]["loss"]  # the average takes no part in the training


def test_what_is_excluded_on_a_gpu_is_what_is_excluded_on_a_cpu():
    many = attacks.poison(toy(2000, 1))
    recipe = replace(SHORT, average_decay=0.95, finetune_epochs=1)
    found = [
        exclusion.exclude(many.data, recipe, device=device, precision="fp32", report=None).suspects
        for device in ("cpu", "cuda")
    ]
    assert found[0].classes.tolist() == found[1].classes.tolist() == [many.target]
    assert len(np.intersect1d(found[0].images, found[1].images)) > 0.9 * len(found[0].images)


def test_bf16_isolates_what_fp32_isolates():
    poisoned = attacks.poison(toy(2000, 1))
    model = train_toy(replace(SHORT, unlearn_epochs=0), poisoned, device="cuda").model
    isolated = [  # as many as are poisoned: their losses and those of the others have a gap between them
        set(isolate(per_example_losses(model, poisoned.data.images, poisoned.data.labels, precision), 0.1))
        for precision in ("fp32", "bf16")
    ]
    assert len(isolated[0] & isolated[1]) >= 0.98 * len(isolated[0])
