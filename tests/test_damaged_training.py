"""A checkpoint or a cache that does not serve is dropped with a line, and what it held is made again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ordered, toy
from damages import DAMAGES, NO_FILE, cut, replaced, strictly, zeroed_tail

from ablkit import models
from ablkit.attacks.attacker import cache, training
from ablkit.errors import UserError
from ablkit.training import checkpoint
from ablkit.training.checkpoint import CHECKPOINT, Progress

# Checkpoints


def small_model(seed: int) -> torch.nn.Module:
    return models.build("wrn-10-1", 10, seed=seed)


def stepped(model: torch.nn.Module) -> torch.optim.SGD:
    """An optimiser of the model with momentum."""
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimiser.step()
    return optimiser


def losses_of(epochs: int) -> dict:
    return {"loss": (epochs, 20)}


@pytest.fixture
def saved_checkpoint(tmp_path) -> Path:
    """A checkpoint of the training `mine` in its first stage."""
    model, path = small_model(1), tmp_path / "abc" / CHECKPOINT
    history = [{"stage": "isolate", "epoch": 1, "loss": float("nan")}]
    progress = Progress(1, history, {"loss": np.linspace(0, 1, 20, dtype=np.float32)[None]})
    checkpoint.save(path, "mine", progress, model, stepped(model))
    return path


def rewritten(change):
    """Damage that leaves a file whose digest is right."""

    def damage(path: Path) -> None:
        tensors, facts = checkpoint.read(path)
        change(tensors, facts)
        checkpoint.write(path, tensors, facts)

    return damage


def without_facts(path: Path) -> None:
    from safetensors.torch import save_file

    save_file(checkpoint.read(path)[0], path)


def telling(text: str):
    return rewritten(lambda tensors, facts: facts.update(progress=text))


CHECKPOINTS = NO_FILE | {
    "cut": cut,
    "empty": replaced(""),
    "no text": replaced(bytes(range(256))),
    "an endless header": replaced(b"\xff" * 64),
    "zeroed tail": zeroed_tail,
    "no facts": without_facts,
    "another loss": lambda path: path.write_bytes(path.read_bytes().replace(b"isolate", b"finetun")),
    "another training's": rewritten(lambda tensors, facts: facts.update(identity="other")),
    "a strange key": rewritten(lambda tensors, facts: tensors.update(strange=torch.zeros(1))),
    "a strange weight": rewritten(lambda tensors, facts: tensors.update({"model.strange": torch.zeros(1)})),
    "a missing weight": rewritten(lambda tensors, facts: tensors.pop("model.head.weight")),
    "another shape": rewritten(lambda tensors, facts: tensors.update({"model.head.weight": torch.zeros(3)})),
    "another type": rewritten(lambda t, facts: t.update({"model.head.weight": t["model.head.weight"].double()})),
    "momentum of none": rewritten(lambda tensors, facts: tensors.update({"momentum.999": torch.zeros(1)})),
    "momentum of a text": rewritten(lambda tensors, facts: tensors.update({"momentum.x": torch.zeros(1)})),
    "momentum of another shape": rewritten(lambda tensors, facts: tensors.update({"momentum.0": torch.zeros(1)})),
    "losses of another set": rewritten(lambda t, facts: t.update({"trajectory.loss": torch.zeros(1, 21)})),
    "losses of more epochs": rewritten(lambda t, facts: t.update({"trajectory.loss": torch.zeros(2, 20)})),
    "no losses": rewritten(lambda tensors, facts: tensors.pop("trajectory.loss")),
    "no progress": rewritten(lambda tensors, facts: facts.pop("progress")),
    "cut progress": telling('{"stage": '),
    "a list of progress": telling("[1]"),
    "deep progress": telling("[" * 100_000),
    "a text for a number": telling('{"epoch": "1", "history": [{}]}'),
    "epochs without records": telling('{"epoch": 3, "history": [{}]}'),
    "records without epochs": telling('{"epoch": 0, "history": [{}]}'),
    "records of another form": telling('{"epoch": 1, "history": [1]}'),
}


def test_a_whole_checkpoint_is_gone_on_from_and_strict(saved_checkpoint, capsys):
    model = small_model(2)
    progress, momentum = checkpoint.load(saved_checkpoint, "mine", model, losses_of)
    assert (progress.epoch, progress.trajectories["loss"].shape) == (1, (1, 20))
    assert len(momentum) == len(list(model.parameters()))
    assert not torch.equal(model.head.weight, small_model(2).head.weight)
    assert strictly(checkpoint.read(saved_checkpoint)[1]["progress"])["history"][0]["loss"] is None
    assert (saved_checkpoint.exists(), capsys.readouterr().out) == (True, "")


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_checkpoint_that_does_not_serve_is_dropped_with_a_line(saved_checkpoint, damage, capsys):
    CHECKPOINTS[damage](saved_checkpoint)
    model = small_model(2)
    assert checkpoint.load(saved_checkpoint, "mine", model, losses_of) == (Progress(), {})
    said = capsys.readouterr().out
    assert said.startswith(f"abc/{CHECKPOINT} is dropped: ")
    assert said.endswith("; its training starts again\n")
    assert said.count("\n") == 1
    assert len(said) < 400
    assert not os.path.lexists(saved_checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), small_model(2).parameters(), strict=True))


OF_ATTACKERS = [
    *(
        name
        for name in CHECKPOINTS
        if name in NO_FILE or name in ("cut", "empty", "no text", "zeroed tail", "no facts")
    ),
    "another training's",
    "a strange key",
]


@pytest.mark.parametrize("damage", [*OF_ATTACKERS, "no number", "fewer than none", "a state of none"])
def test_an_attacker_s_checkpoint_that_does_not_serve_is_dropped_with_a_line(tmp_path, damage, capsys):
    model, path = small_model(1), tmp_path / "abc" / CHECKPOINT
    parts = {"model": (model, stepped(model))}
    fresh = small_model(2)
    again = {"model": (fresh, torch.optim.SGD(fresh.parameters(), 0.1, momentum=0.9))}
    training.save(path, 5, parts)
    assert training.load(path, again) == 5  # the twin
    assert torch.equal(fresh.head.weight, model.head.weight)
    more = {
        "no number": rewritten(lambda tensors, facts: facts.update(finished="many")),
        "fewer than none": rewritten(lambda tensors, facts: facts.update(finished="-1")),
        "a state of none": rewritten(lambda t, facts: t.update({"model/optimiser/99/step": torch.zeros(1)})),
    }
    (CHECKPOINTS | more)[damage](path)
    capsys.readouterr()
    before = fresh.head.weight.clone()
    model.head.weight.data.zero_()
    assert training.load(path, again) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"abc/{CHECKPOINT} is dropped: ")
    assert said.count("\n") == 1
    assert not os.path.lexists(path)
    assert torch.equal(fresh.head.weight, before)


def test_an_attacker_s_loss_that_is_no_number_ends_its_training_and_is_not_kept(tmp_path, capsys):
    model = small_model(1)
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    rates = {}

    def trained(losses: dict[int, float]) -> None:
        def one_epoch(epoch: int) -> dict[str, float]:
            rates[epoch] = sgd.param_groups[0]["lr"]
            return {"loss": losses.get(epoch, 1.0)}

        training.run(tmp_path, "toy", {"model": (model, sgd)}, 3, one_epoch, lambda epoch: 1.0 / (epoch + 1), "stop")

    with pytest.raises(UserError, match="the loss of the toy is nan in epoch 2; stop"):
        trained({1: float("nan")})
    # The twin: what was finite is kept, and the training goes on from there.
    rates.clear()
    trained({})
    assert rates == {1: 0.1 / 2, 2: 0.1 * (1.0 / 3)}
    assert [line.partition(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"toy: epoch {epoch} of 3" for epoch in (1, 2, 3)
    ]


# The cache of what attacks train


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Ask the cache for a tensor; returns the answer, how often it was made, and the folder."""
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / "cache"))
    order = ordered(toy(20, 1), np.arange(3))
    made = []

    def make(folder: Path):
        made.append(folder)
        return {"x": torch.arange(100)}, {"share": 0.5}

    make.__module__ = "ablkit.attacks.trojan"  # a maker's code is in the key, so that it must be the package's

    def ask():
        tensors, record = cache.keep("kind", order, {}, make)
        assert torch.equal(tensors["x"], torch.arange(100))
        assert record.keys() == {"share", "kind_seconds"}
        return len(made), made[0]

    return ask


def with_record(change):
    def damage(path: Path) -> None:
        notes = json.loads(path.read_text())
        change(notes)
        path.write_text(json.dumps(notes))

    return damage


CACHE = [
    *(("tensors.safetensors", name) for name in (*NO_FILE, "cut", "empty", "no text", "zeroed tail", "gone")),
    *(("record.json", name) for name in DAMAGES),
    ("record.json", "another training's"),
    ("record.json", "a text for a number"),
    ("record.json", "not a number"),
    ("record.json", "no record"),
]


@pytest.mark.parametrize(("name", "damage"), CACHE)
def test_what_is_damaged_in_the_cache_is_made_again_with_a_line(kept, name, damage, capsys):
    _, folder = kept()
    assert (kept()[0], capsys.readouterr().out) == (1, "")  # the twin
    more = {
        "zeroed tail": zeroed_tail,
        "gone": Path.unlink,
        "another training's": with_record(lambda notes: notes.update(key="other")),
        "a text for a number": with_record(lambda notes: notes["record"].update(share="half")),
        "not a number": with_record(lambda notes: notes["record"].update(share=float("nan"))),
        "no record": with_record(lambda notes: notes.pop("record")),
    }
    (DAMAGES | more)[damage](folder / name)
    assert kept()[0] == 2
    said = capsys.readouterr().out
    assert said.startswith(f"{folder.name}/record.json is dropped: ")
    assert said.count("\n") == 1
    assert (kept()[0], capsys.readouterr().out) == (2, "")


def test_what_killed_writers_left_in_the_cache_goes(kept):
    _, folder = kept()
    whole = {path.name for path in folder.iterdir()}
    (folder / ".tensors.safetensors.123.tmp").write_text("half")
    (folder / CHECKPOINT).write_text("half")
    assert {path.name for path in folder.iterdir()} > whole
    assert kept()[0] == 1
    assert {path.name for path in folder.iterdir()} == whole


def test_a_cache_that_cannot_be_written_is_one_line(kept, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(UserError, match="is no folder; set ABLKIT_CACHE to one"):
        kept()
