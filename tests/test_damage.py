"""Whatever is wrong with a file, it costs its own run or training, is named in one line, and hides nothing else."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import toy

from ablkit import attacks, data, execute, methods, models, records, runs
from ablkit.attacks import epochs, surrogates
from ablkit.attacks.craft import Order
from ablkit.cli import main
from ablkit.defenses import DEFENSES
from ablkit.defenses.defense import Repaired
from ablkit.errors import UserError
from ablkit.files import write_json
from ablkit.jobs import Job
from ablkit.parameters import check, defaults
from ablkit.runs import SIDE_BY_SIDE
from ablkit.sweep import board, slots, together
from ablkit.training import checkpoint
from ablkit.training.abl import CHECKPOINT
from ablkit.training.checkpoint import Progress

LARGE = 1 << 25


def replaced(text: str | bytes):
    """Damage that puts another content in the place of the file's."""
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def instead(make):
    """Damage that puts something else than a regular file in its place."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


NO_FILE = {
    "a pipe": instead(os.mkfifo),
    "a folder": instead(Path.mkdir),
    "a link to nowhere": instead(lambda path: path.symlink_to("nowhere")),
}
DAMAGES = NO_FILE | {
    "cut": cut,
    "empty": replaced(""),
    "no text": replaced(bytes(range(256))),
    "a list": replaced("[1]"),
    "a text": replaced('"x"'),
    "null": replaced("null"),
    "deep": replaced("[" * 100_000),
    "deep objects": replaced('{"a":' * 100_000),
    "nested": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": {"b": 1}}'),
    "nan": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": NaN}'),
    "infinite": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": 1e999}'),
    "huge": replaced(f'{{"message": "m", "stage": "s", "epoch": 1, "a": {10**400}}}'),
    "endless": replaced(f'{{"a": {"1" * 10_000}}}'),
    "half a character": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": "\\ud800"}'),
    "marked and cut": replaced(b'\xef\xbb\xbf{"a": '),
    "another coding": replaced('{"a": 1}'.encode("utf-16")),
    "large": lambda path: os.truncate(path, LARGE),
}
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


WHOLE = {
    "metrics.json": {"clean_accuracy": 0.75, "attack_success_rate": None, "seconds": 1.5},
    "env.json": {"device": "cpu", "torch": "2", "peak_memory_bytes": 1},
    "failure.json": {"message": "it broke", "cell": "train"},
}


def fill(folder: Path, seed: int, *files: str) -> Path:
    """A run of that seed, with its parameters and the named files."""
    parameters = check("run", defaults("run", "smoke") | {"seed": seed})
    write_json(folder / "params.json", {"notebook": "run", "parameters": parameters.model_dump()})
    for name in files:
        if name == "history.jsonl":
            checkpoint.write_history(folder, [{"stage": stage, "epoch": 2} for stage in ("the one before", "isolate")])
        else:
            write_json(folder / name, WHOLE[name])
    return folder


def one_line(error: pytest.ExceptionInfo, path: Path) -> str:
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
    return text


# Reading


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
    records.seal(folder)
    lines = {"params.json": "seed", "env.json": "gpu", "metrics.json": "clean_accuracy", "files.json": "files.json"}
    assert all(f"{line} " in told(capsys, "runs", folder.name)[0] for line in list(lines.values())[:3])
    (folder / name).write_text("{")
    said = told(capsys, "runs", folder.name)[0]
    assert f"{name} is damaged (" in said
    assert [f"  {line} " in said for line in lines.values()][:3] == [other != name for other in lines][:3]


def test_what_a_run_left_is_checked_where_it_is_shown(two, capsys):
    fill(two[1], 1, "history.jsonl")
    records.seal(two[1])
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
    assert (job.state, job.metrics()["clean_accuracy"]) == ("done", 0.75)
    DAMAGES[damage](job.folder / "metrics.json")
    assert job.state == "missing"


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_board_and_the_plan_of_a_sweep_survive_damage(job, damage, monkeypatch):
    fill(job.folder, 0, "history.jsonl", "metrics.json", "failure.json")
    facts = {"device": "cuda", "peak_memory_bytes": 7}
    write_json(job.folder / "env.json", facts)
    write_json(job.folder / "params.json", {"notebook": "run", "parameters": job.parameters.model_dump()})
    write_json(job.folder / SIDE_BY_SIDE, facts)
    (job.folder / CHECKPOINT).touch()

    from ablkit import sweep

    (job.folder / "log.txt").write_text("said")
    looked_up = {
        "history.jsonl": (lambda: board._epoch(job), "isolate 2", ""),
        "env.json": (lambda: slots._largest_peak([job]), 7, 0),
        SIDE_BY_SIDE: (lambda: together._is_trained(job), True, False),
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


# What other runs build on


@pytest.fixture
def base(tmp_path):
    """A finished run of 20 images: model, isolated examples, losses and history, sealed."""
    folder = fill(tmp_path / "base", 0, "history.jsonl")
    model = models.build("wrn-10-1", 10, seed=1)
    checkpoint.write(folder / "model.safetensors", model.state_dict(), {})
    np.save(folder / "isolated.npy", np.array([3, 1, 2]))
    np.save(folder / "losses.npy", np.linspace(0, 1, 20, dtype=np.float32))
    records.seal(folder)
    return folder


def zeroed_tail(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes(20))


@pytest.mark.parametrize("damage", [*NO_FILE, "cut", "empty", "zeroed tail", "gone"])
@pytest.mark.parametrize("name", records.SEALED)
def test_what_others_build_on_is_held_to_its_seal(base, name, damage):
    records.check_sealed(base)  # the twin
    {**DAMAGES, "zeroed tail": zeroed_tail, "gone": Path.unlink}[damage](base / name)
    with pytest.raises(records.Damaged) as error:
        records.check_sealed(base)
    one_line(error, base / name)


@pytest.mark.parametrize("damage", [*DAMAGES, "gone", "an empty object"])
def test_a_run_without_a_whole_seal_is_damaged(base, damage):
    {**DAMAGES, "gone": Path.unlink, "an empty object": replaced("{}")}[damage](base / "files.json")
    with pytest.raises(records.Damaged, match=f"^{base}/"):
        records.check_sealed(base)


def test_a_run_that_nothing_builds_on_has_an_empty_seal(tmp_path):
    records.seal(tmp_path)
    records.check_sealed(tmp_path)


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
@pytest.mark.parametrize("name", ["isolated", "losses"])
def test_a_damaged_array_is_named(base, name, damage):
    read = getattr(records, name)
    assert len(read(base, 20))  # the twin
    (ARRAYS | DAMAGES)[damage](base / f"{name}.npy")
    with pytest.raises(records.Damaged) as error:
        read(base, 20)
    one_line(error, base / f"{name}.npy")


def test_only_a_run_that_kept_no_losses_has_none(base):
    (base / "losses.npy").unlink()
    assert records.losses(base, 20) is None


def strictly(text: str) -> object:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_all_that_a_defence_writes_is_strict_json(base, tmp_path, monkeypatch, capsys):
    p = check("run", defaults("run", "smoke") | {"model": "wrn-10-1", "method": "nad"})
    before = [{"stage": "isolate", "epoch": 1, "seconds": 1.0, "clean_loss": 0.5}, {"stage": "finetune", "epoch": 1}]
    checkpoint.write_history(base, before)
    repair = replace(DEFENSES["nad"], repair=lambda given, settings, evaluate: Repaired(given.model, [], {}))
    monkeypatch.setitem(DEFENSES, "nad", repair)
    monkeypatch.setattr(execute, "need", lambda *_, **__: base)
    monkeypatch.setattr(data, "clean_images", lambda *_, **__: toy(20, 2))
    poisoned = attacks.poison(toy(20, 1))
    folder = tmp_path / "defence"
    trained = methods.train(p, toy(20, 1), poisoned, lambda *_: {"clean_accuracy": float("nan")}, folder)
    # What a record lacks, it lacks afterwards too.
    assert trained.history[:2] == before
    lines = [strictly(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert lines[:2] == before
    assert lines[2]["clean_accuracy"] is None
    records.seal(folder)
    for path in [*base.rglob("*.json*"), *folder.rglob("*.json*")]:
        text = path.read_text()
        assert all(strictly(part) for part in ([text] if path.suffix == ".json" else text.splitlines()))
    assert "nan" not in capsys.readouterr().out
    # The twin.
    with pytest.raises(AssertionError, match="NaN is no JSON"):
        strictly(json.dumps({"a": float("nan")}))


# Checkpoints


def small_model(seed: int) -> torch.nn.Module:
    return models.build("wrn-10-1", 10, seed=seed)


def stepped(model: torch.nn.Module) -> torch.optim.SGD:
    """An optimiser of the model with momentum."""
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimiser.step()
    return optimiser


SIZES = {"losses": 20, "isolated": 3}


@pytest.fixture
def saved_checkpoint(tmp_path) -> Path:
    """A checkpoint of the training `mine` in its last stage."""
    model, path = small_model(1), tmp_path / "abc" / CHECKPOINT
    history = [{"stage": "isolate", "epoch": 1, "loss": float("nan")}]
    progress = Progress(2, 1, history, np.linspace(0, 1, 20, dtype=np.float32), np.array([3, 1, 2]))
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
    "losses of another set": rewritten(lambda tensors, facts: tensors.update(losses=torch.zeros(21))),
    "isolated of another set": rewritten(lambda t, facts: t.update(isolated=torch.tensor([3, 1, 20]))),
    "isolated without losses": rewritten(lambda tensors, facts: tensors.pop("losses")),
    "no progress": rewritten(lambda tensors, facts: facts.pop("progress")),
    "cut progress": telling('{"stage": '),
    "a list of progress": telling("[1]"),
    "deep progress": telling("[" * 100_000),
    "a text for a number": telling('{"stage": "2", "epoch": 1, "history": [{}]}'),
    "a negative stage": telling('{"stage": -1, "epoch": 1, "history": [{}]}'),
    "epochs without records": telling('{"stage": 2, "epoch": 3, "history": [{}]}'),
    "records of another form": telling('{"stage": 2, "epoch": 1, "history": [1]}'),
}


def test_a_whole_checkpoint_is_gone_on_from_and_strict(saved_checkpoint, capsys):
    model = small_model(2)
    progress, momentum = checkpoint.load(saved_checkpoint, "mine", model, SIZES)
    assert (progress.stage, progress.epoch, progress.isolated.tolist()) == (2, 1, [3, 1, 2])
    assert len(momentum) == len(list(model.parameters()))
    assert not torch.equal(model.head.weight, small_model(2).head.weight)
    assert strictly(checkpoint.read(saved_checkpoint)[1]["progress"])["history"][0]["loss"] is None
    assert (saved_checkpoint.exists(), capsys.readouterr().out) == (True, "")


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_checkpoint_that_does_not_serve_is_dropped_with_a_line(saved_checkpoint, damage, capsys):
    CHECKPOINTS[damage](saved_checkpoint)
    model = small_model(2)
    assert checkpoint.load(saved_checkpoint, "mine", model, SIZES) == (Progress(), {})
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
    epochs.save(path, 5, parts)
    assert epochs.load(path, again) == 5  # the twin
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
    assert epochs.load(path, again) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"abc/{CHECKPOINT} is dropped: ")
    assert said.count("\n") == 1
    assert not os.path.lexists(path)
    assert torch.equal(fresh.head.weight, before)


# The cache of what attacks train


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Ask the cache for a tensor; returns the answer, how often it was made, and the folder."""
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / "cache"))
    order = Order(toy(20, 1), np.arange(3), 0, 0, False, "cpu", "fp32")
    made = []

    def make(folder: Path):
        made.append(folder)
        return {"x": torch.arange(100)}, {"share": 0.5}

    def ask():
        tensors, record = surrogates.keep("kind", order, {}, make)
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
    with pytest.raises(UserError, match=r"Not a directory; name a place that you may write"):
        kept()
