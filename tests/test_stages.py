"""No stage is trained twice: what any training has come through is taken by every other, to the same bits."""

from __future__ import annotations

import itertools
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, toy, train_toy, weights
from safetensors.torch import save_file

from ablkit import attacks, data, training
from ablkit.metrics import after_epoch
from ablkit.runs import durations, methods
from ablkit.runs.folder import drop_checkpoints
from ablkit.runs.parameters import check, defaults
from ablkit.training import Store, kept
from ablkit.training.checkpoint import CHECKPOINT
from ablkit.training.course import Course

SHORT = replace(TOY_RECIPE, isolation_epochs=2, finetune_epochs=2, unlearn_epochs=1, trajectories="loss")
EPOCHS = 5


class Killed(BaseException):
    """What no part of a training catches."""


class Epochs(list):
    """Stage and number of each epoch that is really trained."""

    killed_before: tuple[str, int] | None = None
    """The stage that is killed as it begins, and how many of its name have begun before; once."""

    def begins(self, stage: str, epoch: int) -> None:
        if epoch == 0 and (stage, self.count((stage, 1))) == self.killed_before:
            self.killed_before = None
            raise Killed


@pytest.fixture
def trained(monkeypatch) -> Epochs:
    epochs, one_epoch = Epochs(), Course._epoch

    def counted(course: Course, index: int, stage, state, evaluate):
        epochs.begins(stage.name, state.epoch)
        record = one_epoch(course, index, stage, state, evaluate)
        epochs.append((stage.name, state.epoch))
        return record

    monkeypatch.setattr(Course, "_epoch", counted)
    return epochs


def without_times(history: list[dict]) -> list[dict]:
    return [{name: value for name, value in record.items() if "seconds" not in name} for record in history]


def assert_same(one: training.Trained, other: training.Trained) -> None:
    """Everything that a training leaves is the same, to the bit."""
    assert np.array_equal(weights(one), weights(other))
    assert without_times(one.history) == without_times(other.history)
    assert [list(record) for record in one.history] == [list(record) for record in other.history]
    assert np.array_equal(one.isolated, other.isolated)
    assert (one.losses is None) == (other.losses is None)
    assert one.losses is None or np.array_equal(one.losses, other.losses)
    assert one.trajectories.keys() == other.trajectories.keys()
    assert all(np.array_equal(values, other.trajectories[name]) for name, values in one.trajectories.items())


# A sweep of runs

RATES, UNLEARNING, WAYS = (0.03, 0.04, 0.05, 0.08, 0.1), (1, 2, 3), ("abl", "pixel_noise")
SWEEP = list(itertools.product(RATES, UNLEARNING, WAYS))
SMALL = {"dataset": "digits", "precision": "fp32", "train_size": 100, "isolation_epochs": 2, "finetune_epochs": 1}


@pytest.fixture
def run(data_root, tmp_path, monkeypatch):
    """Carry out a run, and what it starts from where that is missing, with runs and cache in a folder of that name."""
    monkeypatch.setenv("ABLKIT_DATA", str(data_root))

    def carry_out(root: Path, p) -> training.Trained:
        def need(notebook: str, p, **changes) -> Path:
            base = p.model_copy(update=changes)
            folder = folder_of(root, base)
            if not (folder / "losses.npy").exists():
                made = carry_out(root, base)
                tensors = {name: value.contiguous() for name, value in made.model.state_dict().items()}
                save_file(tensors, folder / "model.safetensors")
                np.save(folder / "isolated.npy", made.isolated)
                np.save(folder / "losses.npy", made.losses)
            return folder

        watch = after_epoch.measure(test, poisoned, p.isolation_rate, p.monitor_images, p.precision)
        folder_of(root, p).mkdir(parents=True, exist_ok=True)
        return methods.train(p, clean, poisoned, watch, folder_of(root, p), need)

    first = parameters()
    clean, test = data.load(first.dataset, seed=first.seed, **first.drawing())
    test = test.take(np.arange(100))
    poisoned = attacks.poison(clean, **first.poisoning())

    def named(name: str, **changes) -> training.Trained:
        monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / name / "cache"))
        return carry_out(tmp_path / name, parameters(**changes))

    return named


def parameters(**changes):
    return check("run", defaults("run", "smoke") | SMALL | changes)


def folder_of(root: Path, p) -> Path:
    return root / "-".join(map(str, (p.method, p.isolation_rate, p.unlearn_epochs)))


def test_a_sweep_of_rates_epochs_and_ways_to_unlearn_trains_phase_1_once_and_loses_nothing(run, trained, capsys):
    done = {}

    def sweep() -> None:
        for rate, epochs, way in SWEEP:
            done[rate, epochs, way] = run("shared", isolation_rate=rate, unlearn_epochs=epochs, method=way)

    trained.killed_before = ("finetune", 2)
    with pytest.raises(Killed):
        sweep()
    assert 0 < len(done) < len(SWEEP)
    sweep()
    ascents = [("unlearn", k + 1) for epochs in UNLEARNING for k in range(epochs)]
    once = [("isolate", 1), ("isolate", 2), *([("finetune", 1), *ascents] * len(RATES))]
    assert sorted(trained) == sorted(once)
    assert "stage isolate: trained before, taken from stages/" in capsys.readouterr().out
    for number, (rate, epochs, way) in enumerate(SWEEP[::7]):
        trained.clear()
        alone = run(f"alone-{number}", isolation_rate=rate, unlearn_epochs=epochs, method=way)
        assert_same(done[rate, epochs, way], alone)
        assert ("isolate", 1) in trained and ("finetune", 1) in trained  # the twin: it trained all itself
    assert not np.array_equal(weights(done[SWEEP[0]]), weights(done[SWEEP[-2]]))


@pytest.mark.parametrize("method", ["abl", "none", "oracle", "exclude"])
def test_every_run_with_a_phase_1_keeps_the_loss_of_each_image_after_each_epoch(run, method, monkeypatch):
    seen, one_epoch = [], Course._epoch

    def looked_at(course: Course, index: int, stage, state, evaluate):
        record = one_epoch(course, index, stage, state, evaluate)
        if stage.name == "isolate":
            images, labels = (array.numpy() for array in course.on_device)
            seen.append(training.per_example_losses(course.model, images, labels, "fp32"))
        return record

    monkeypatch.setattr(Course, "_epoch", looked_at)
    kept = run("one", method=method, isolation_epochs=2).trajectories["loss"]
    assert kept.dtype == np.float16
    assert np.array_equal(kept, np.stack(seen[:2]).astype(np.float16))
    assert not np.array_equal(kept[0], kept[1])
    again = run("one", method=method, isolation_epochs=2)
    assert np.array_equal(again.trajectories["loss"], kept)  # from the cache, too


def test_a_stopped_run_goes_on_as_long_as_its_stages_are_kept_and_a_finished_one_leaves_no_note(run, trained, tmp_path):
    trained.killed_before = ("finetune", 0)
    with pytest.raises(Killed):
        run("one")
    (folder,) = (tmp_path / "one").glob("abl-*")
    assert durations.has_checkpoint(folder)
    shutil.rmtree(tmp_path / "one" / "cache")
    assert not durations.has_checkpoint(folder)
    run("one")
    assert durations.has_checkpoint(folder)
    drop_checkpoints(folder)
    assert not durations.has_checkpoint(folder)
    assert [path.name for path in folder.iterdir()] == ["history.jsonl"]


def test_a_run_that_is_forced_trains_again(run, trained, monkeypatch):
    first = run("one")
    epochs = list(trained)
    assert_same(first, run("one"))
    assert list(trained) == epochs  # the twin
    monkeypatch.setenv(kept.AGAIN, "1")
    assert_same(first, run("one"))
    assert list(trained) == epochs * 2


# Trainings


def test_nothing_is_shared_with_another_seed_set_method_evaluation_or_number_of_threads(trained, tmp_path):
    store = Store(tmp_path, "measured")
    poisoned = attacks.poison(toy(200, 1))
    train_toy(SHORT, poisoned, store=store)
    assert len(trained) == EPOCHS
    labels = poisoned.data.labels.copy()
    labels[0] = (labels[0] + 1) % 10
    others = {
        "seed": lambda: train_toy(SHORT, poisoned, store=store, seed=1),
        "label": lambda: train_toy(SHORT, replace(poisoned, data=replace(poisoned.data, labels=labels)), store=store),
        "method": lambda: train_toy(SHORT, poisoned, store=store, method="none"),
        "evaluation": lambda: train_toy(SHORT, poisoned, store=replace(store, measured="otherwise")),
        "threads": lambda: train_toy(SHORT, poisoned, store=store),
    }
    for name, other in others.items():
        trained.clear()
        torch.set_num_threads(2 if name == "threads" else 1)
        try:
            other()
        finally:
            torch.set_num_threads(1)
        assert len(trained) == EPOCHS - (name == "method"), name
    trained.clear()
    train_toy(SHORT, poisoned, store=store)
    assert not trained  # the twin


def test_of_two_that_need_a_stage_at_once_one_trains_and_the_other_waits(trained, tmp_path, monkeypatch):
    store, waits, found, said = Store(tmp_path), threading.Event(), [], []
    second = threading.Thread(target=lambda: found.append(train_toy(SHORT, store=store)))

    def say(line: str, **_) -> None:
        said.append(line)
        waits.set()

    def start_the_other(model, stage: str, epoch: int, last: bool) -> dict:
        if not second.ident:
            second.start()
            assert waits.wait(60)
        return {}

    monkeypatch.setattr(kept, "print", say, raising=False)
    found.append(train_toy(SHORT, store=store, evaluate=start_the_other))
    second.join()
    assert "stage isolate: another run is training it" in said[0]
    assert len(trained) == EPOCHS
    assert_same(*found)
    train_toy(SHORT, store=Store(tmp_path / "own"))
    assert len(trained) == 2 * EPOCHS  # the twin


def test_another_training_goes_on_with_a_stage_that_was_interrupted(trained, tmp_path):
    recipe, seen = replace(SHORT, finetune_epochs=3), []

    def stop(record: dict) -> None:
        seen.append(record)
        if (record["stage"], record["epoch"]) == ("finetune", 2):
            raise Killed

    with pytest.raises(Killed):
        train_toy(recipe, store=Store(tmp_path), checkpoint_seconds=0.0, report=stop)
    trained.clear()
    longer = replace(recipe, unlearn_epochs=2)
    went_on = train_toy(longer, store=Store(tmp_path))
    assert trained == [("finetune", 3), ("unlearn", 1), ("unlearn", 2)]
    assert_same(went_on, train_toy(longer))


@pytest.mark.parametrize("damage", ["cut", "spoilt", "another's"])
def test_a_damaged_stage_is_dropped_with_a_line_and_trained_again(trained, tmp_path, damage, capsys):
    whole = train_toy(SHORT, store=Store(tmp_path))
    assert_same(whole, train_toy(SHORT, store=Store(tmp_path)))
    assert (len(trained), capsys.readouterr().out) == (EPOCHS, "")  # the twin
    first, other, _ = sorted(tmp_path.rglob(CHECKPOINT), key=lambda path: path.stat().st_mtime_ns)
    content = first.read_bytes()
    spoilt = {"cut": content[:1000], "spoilt": content[:-1000] + bytes(1000), "another's": other.read_bytes()}
    first.write_bytes(spoilt[damage])
    trained.clear()
    assert_same(whole, train_toy(SHORT, store=Store(tmp_path)))
    assert trained == [("isolate", 1), ("isolate", 2)]
    said = capsys.readouterr().out
    assert f"{first.parent.name}/{CHECKPOINT} is dropped: it " in said
    assert said.count("\n") == 1
