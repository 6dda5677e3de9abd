"""Whatever is wrong with the record of a run, its reader names the file in one line; what others build on is sealed."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import toy
from damages import DAMAGES, NO_FILE, WHOLE, fill, one_line, replaced, strictly, zeroed_tail

from ablkit import attacks, data, models
from ablkit.defenses import DEFENSES
from ablkit.defenses.defense import Repaired
from ablkit.files import write_json
from ablkit.metrics import after_epoch
from ablkit.runs import arrays, methods, records, seals
from ablkit.runs.parameters import check, defaults
from ablkit.training import checkpoint

READERS = {
    "params.json": records.parameters,
    "metrics.json": records.metrics,
    "env.json": records.environment,
    "failure.json": records.failure,
    "history.jsonl": records.history,
}
SHAPES = [
    ("params.json", {"notebook": "runn", "parameters": {}}),
    ("params.json", {"notebook": ["run"], "parameters": {}}),
    ("params.json", {"notebook": "run", "parameters": [1]}),
    ("params.json", {"notebook": "run", "parameters": {"seed": "many"}}),
    ("params.json", {"notebook": "run", "parameters": {"seed": None}}),
    ("params.json", {"notebook": "run", "parameters": {"unknown": [1]}}),
    ("metrics.json", {"clean_accuracy": "0.5"}),
    ("metrics.json", {"clean_accuracy_before": True}),
    ("metrics.json", {"training_images": "many"}),
    ("env.json", {"peak_memory_bytes": "much"}),
    ("env.json", {"gpu": {"name": "x"}}),
    ("failure.json", {"cell": "train"}),
    ("failure.json", {"message": 3, "cell": "train"}),
    ("failure.json", {"message": "broke", "cell": None}),
    ("history.jsonl", {"stage": 1, "epoch": 1}),
    ("history.jsonl", {"stage": "isolate", "epoch": "1"}),
    ("history.jsonl", {"stage": "isolate", "epoch": True}),
    ("history.jsonl", {"epoch": 1}),
    ("history.jsonl", {"stage": "isolate", "epoch": 1, "loss": "low"}),
]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_named_in_one_line(tmp_path, name, damage):
    folder = fill(tmp_path / "abc", 0, *READERS.keys() - {"params.json"})
    assert READERS[name](folder)  # the twin
    DAMAGES[damage](folder / name)
    with pytest.raises(records.Damaged) as error:
        READERS[name](folder)
    one_line(error, folder / name)


@pytest.mark.parametrize(("name", "content"), SHAPES)
def test_a_record_of_another_shape_is_damaged(tmp_path, name, content):
    write_json(tmp_path / name, content)
    (tmp_path / name).write_text(" ".join((tmp_path / name).read_text().split()))
    with pytest.raises(records.Damaged) as error:
        READERS[name](tmp_path)
    one_line(error, tmp_path / name)


def test_a_record_that_may_not_be_read_is_damaged(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    fill(tmp_path, 0)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(records.Damaged, match=r"params.json cannot be read: Permission denied; delete its folder"):
        records.parameters(tmp_path)


def test_records_of_an_older_version_are_whole(tmp_path):
    write_json(tmp_path / "params.json", {"notebook": "run", "parameters": {"gone": 1, "gamma": 1}, "code": {"a": []}})
    assert records.parameters(tmp_path) == {"gone": 1, "gamma": 1}
    write_json(tmp_path / "env.json", {"torch": "2", "gpu": None})
    assert records.environment(tmp_path) == {
        "torch": "2", "gpu": None, "processor": "unknown", "cores": "unknown", "python": "unknown"
    }  # fmt: skip
    write_json(tmp_path / "failure.json", {"message": "it broke"})
    assert records.failure(tmp_path) == {"message": "it broke", "cell": "unknown"}
    (tmp_path / "history.jsonl").write_bytes(b'\xef\xbb\xbf{"stage": "isolate", "epoch": 1}')
    assert records.history(tmp_path) == [{"stage": "isolate", "epoch": 1}]


# What other runs build on


@pytest.fixture
def base(tmp_path):
    """A finished run of 20 images: model, isolated examples, losses and history, sealed."""
    folder = fill(tmp_path / "base", 0, "history.jsonl")
    model = models.build("wrn-10-1", 10, seed=1)
    checkpoint.write(folder / "model.safetensors", model.state_dict(), {})
    np.save(folder / "isolated.npy", np.array([3, 1, 2]))
    np.save(folder / "losses.npy", np.linspace(0, 1, 20, dtype=np.float32))
    np.save(folder / "excluded.npy", np.array([4, 5]))
    np.save(folder / "poisoned.npy", np.array([1, 3, 8]))
    np.savez_compressed(folder / "trajectories.npz", loss=np.ones((2, 20), np.float16))
    write_json(folder / "env.json", WHOLE["env.json"])
    write_json(folder / "notebook.ipynb", {"cells": []})
    write_json(folder / "metrics.json", WHOLE["metrics.json"])
    seals.seal(folder, folder / "metrics.json")
    return folder


@pytest.mark.parametrize("damage", [*NO_FILE, "cut", "empty", "zeroed tail", "gone"])
@pytest.mark.parametrize("name", seals.SEALED)
def test_what_others_build_on_is_held_to_its_seal(base, name, damage):
    seals.check_sealed(base)  # the twin
    {**DAMAGES, "zeroed tail": zeroed_tail, "gone": Path.unlink}[damage](base / name)
    with pytest.raises(records.Damaged) as error:
        seals.check_sealed(base)
    one_line(error, base / name)


@pytest.mark.parametrize("damage", [*DAMAGES, "gone", "an empty object"])
def test_a_run_without_a_whole_seal_is_damaged(base, damage):
    {**DAMAGES, "gone": Path.unlink, "an empty object": replaced("{}")}[damage](base / "files.json")
    with pytest.raises(records.Damaged, match=f"^{base}/"):
        seals.check_sealed(base)


def test_a_run_that_nothing_builds_on_has_an_empty_seal(tmp_path):
    seals.seal(tmp_path, tmp_path / "metrics.json")
    seals.check_sealed(tmp_path)


SMALL = check("run", defaults("run", "smoke") | {"model": "wrn-10-1"})


@pytest.mark.parametrize("damage", [*NO_FILE, "cut", "empty", "no text", "another model", "other classes", "gone"])
def test_a_damaged_model_is_named(base, damage):
    assert not methods.load_model(base, SMALL, 10).training  # the twin

    def other(name: str, classes: int):
        return lambda path: checkpoint.write(path, models.build(name, classes).state_dict(), {})

    more = {"another model": other("wrn-16-1", 10), "other classes": other("wrn-10-1", 11), "gone": Path.unlink}
    {**DAMAGES, **more}[damage](base / "model.safetensors")
    with pytest.raises(records.Damaged) as error:
        methods.load_model(base, SMALL, 10)
    one_line(error, base / "model.safetensors")


def saved(array: object):
    return lambda path: np.save(path, array, allow_pickle=True)


ARRAYS = {
    "pickled": saved(np.array([{}], dtype=object)),
    "a pickle": replaced(pickle.dumps([1])),
    "an archive": lambda path: zipfile.ZipFile(path, "w").close(),
    "a negative shape": replaced(
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '<i8', 'fortran_order': False, 'shape': (-3,), }   \n"
    ),
    "an endless shape": replaced(
        b"\x93NUMPY\x01\x00\x56\x00{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999999999,), }      \n"
    ),
    "two axes": saved(np.zeros((2, 2), dtype=np.int64)),
    "complex": saved(np.zeros(20, dtype=complex)),
    "too long": saved(np.arange(21)),
}


@pytest.mark.parametrize("damage", [*NO_FILE, "cut", "empty", "no text", *ARRAYS])
@pytest.mark.parametrize("name", ["isolated", "losses", "excluded"])
def test_a_damaged_array_is_named(base, name, damage):
    read = getattr(arrays, name)
    assert len(read(base, 20))  # the twin
    (ARRAYS | DAMAGES)[damage](base / f"{name}.npy")
    with pytest.raises(records.Damaged) as error:
        read(base, 20)
    one_line(error, base / f"{name}.npy")


@pytest.mark.parametrize("damage", [*NO_FILE, "cut", "empty", "no text", "an array", "one axis", "a pickle inside"])
def test_damaged_trajectories_are_named(base, damage):
    assert arrays.trajectories(base, 20)["loss"].shape == (2, 20)  # the twin
    more = {
        "an array": lambda path: path.write_bytes((base / "losses.npy").read_bytes()),
        "one axis": lambda path: np.savez(path, loss=np.ones(20, np.float16)),
        "a pickle inside": lambda path: np.savez(path, loss=np.array([{}], dtype=object)),
    }
    (more | DAMAGES)[damage](base / "trajectories.npz")
    with pytest.raises(records.Damaged) as error:
        arrays.trajectories(base, 20)
    one_line(error, base / "trajectories.npz")


def test_only_a_run_that_kept_no_losses_has_none(base):
    for name in ("losses.npy", "excluded.npy", "trajectories.npz"):
        (base / name).unlink()
    assert arrays.losses(base, 20) is arrays.excluded(base, 20) is None
    assert arrays.trajectories(base, 20) == {}


def test_all_that_a_defence_writes_is_strict_json(base, tmp_path, monkeypatch, capsys):
    p = check("run", defaults("run", "smoke") | {"model": "wrn-10-1", "method": "nad"})
    before = [{"stage": "isolate", "epoch": 1, "seconds": 1.0, "clean_loss": 0.5}, {"stage": "finetune", "epoch": 1}]
    checkpoint.write_history(base, before)
    repair = replace(DEFENSES["nad"], repair=lambda given, settings, evaluate: Repaired(given.model, [], {}))
    monkeypatch.setitem(DEFENSES, "nad", repair)
    monkeypatch.setattr(data, "clean_images", lambda *_, **__: toy(20, 2))
    poisoned = attacks.poison(toy(20, 1))
    folder = tmp_path / "defence"
    watch = after_epoch.measure(toy(20, 3), poisoned, 0.1)
    monkeypatch.setattr(after_epoch.Measurements, "__call__", lambda *_: {"clean_accuracy": float("nan")})
    trained = methods.train(p, toy(20, 1), poisoned, watch, folder, lambda *_, **__: base)
    # What a record lacks, it lacks afterwards too.
    assert trained.history[:2] == before
    lines = [strictly(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert lines[:2] == before
    assert lines[2]["clean_accuracy"] is None
    seals.seal(folder, folder / "metrics.json")
    for path in [*base.rglob("*.json*"), *folder.rglob("*.json*")]:
        text = path.read_text()
        assert all(strictly(part) for part in ([text] if path.suffix == ".json" else text.splitlines()))
    assert "nan" not in capsys.readouterr().out
    # The twin.
    with pytest.raises(AssertionError, match="NaN is no JSON"):
        strictly(json.dumps({"a": float("nan")}))
