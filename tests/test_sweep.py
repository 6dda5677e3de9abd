"""Sweeps: what a file asks for, where its runs go, and what becomes of those that fail."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest

from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.runs import environment, execute, key, notebooks
from ablkit.runs.job import Job
from ablkit.runs.parameters import changed, check, defaults
from ablkit.sweep import definition, local, slots
from ablkit.sweep.board import Board

SWEEPS = Path(__file__).parents[1] / "notebooks" / "sweeps"
TINY = """
notebook: run
preset: smoke
params: {{train_size: 200}}
grid:
  seed: {seeds}
"""
# What a finished notebook leaves, without the seconds that importing torch takes.
TRIVIAL = """
import json, os, pathlib, time
pathlib.Path(os.environ["ABLKIT_RUN_FOLDER"], "metrics.pending.json").write_text(json.dumps({"seed_seen": seed}))
"""
# Which run was done in which process tree: a worker of Ray, or a sweep.
WHO = """
import json, os, pathlib, psutil, time
above = [p for p in psutil.Process().parents() if p.name().startswith("ray::")]
with open(pathlib.Path(os.environ["ABLKIT_TOLD"], "who.jsonl"), "a") as told:
    told.write(json.dumps([seed, f"ray {above[0].pid}" if above else "sweep"]) + "\\n")
"""


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "sweep.yaml").write_text(text)
    return tmp_path / "sweep.yaml"


@pytest.fixture
def cells(folders, tmp_path, monkeypatch):
    """Replace run.ipynb by a notebook of the parameters cell and the given ones."""

    def use(*sources: str) -> None:
        made = nbformat.read(SWEEPS.parent / "run.ipynb", as_version=4)
        made.cells = [cell for cell in made.cells if cell.id == "parameters"]
        made.cells += [nbformat.v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources, 1)]
        nbformat.write(made, tmp_path / "own.ipynb")
        monkeypatch.setattr(notebooks, "path_of", lambda name: tmp_path / "own.ipynb")

    return use


def run(path: Path, workers: int = 2, **options) -> tuple[dict, str]:
    wanted, stream = definition.read(path), io.StringIO()
    room = slots.make(wanted, workers)
    launch = partial(local.attempt, **options)
    return local.run(wanted, room, Board(wanted, len(room), stream), launch), stream.getvalue()


def test_a_file_is_the_product_of_its_grid_with_each_case(tmp_path):
    text = "notebook: run\nparams: {gamma: 0.4}\ngrid: {seed: [0, 1], method: [none, abl]}\n"
    text += "cases: [{attack: badnets}, {attack: sig, poison_rate: 0.5}]\n"
    wanted = [job.parameters for job in definition.read(write(tmp_path, text))]
    assert len(wanted) == 8
    assert {p.gamma for p in wanted} == {0.4}
    assert {(p.attack, p.poison_rate) for p in wanted} == {("badnets", 0.1), ("sig", 0.5)}
    assert len({(p.attack, p.seed, p.method) for p in wanted}) == 8


def test_what_is_asked_for_twice_is_run_once(tmp_path):
    twice = "cases: [{gamma: 0.25}, {gamma: 0.250}]\n"
    assert len(definition.read(write(tmp_path, TINY.format(seeds=[0, 1]) + twice))) == 2


def test_all_mistakes_are_told_at_once_with_the_nearest_names(tmp_path, capsys, folders):
    text = "notebook: run\npreset: smoke\nparams: {gama: 1.0}\n"
    text += "grid: {seed: [0, 1.5], attack: [badnets, badnet], attack_settings: ['', 'varant=grid']}\n"
    assert main(["sweep", str(write(tmp_path, text))]) == 2
    told = capsys.readouterr().err
    for mistake in (
        "'gama' is no parameter of run; did you mean 'gamma'?",
        "parameter seed of run: input should be a valid integer, got 1.5",
        "'badnet' is no attack; did you mean 'badnets'?",
        "'varant' is no setting of badnets; did you mean 'variant'?",
    ):
        assert told.count(mistake) == 1
    assert not folders.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params: {}", "is no sweep; write 'notebook: run'"),
        ("notebook: rnu", "'rnu' is no notebook; did you mean 'run'?"),
        ("notebook: run\ngird: {}", "'gird' is no part of a sweep"),
        ("notebook: run\ngrid: {seed: 3}", "'seed' in grid must be a list of values, got 3"),
        ("notebook: run\ngrid: {seed: [3, 4, 3]}", "'seed' in grid has 3 twice; leave one"),
        ("notebook: run\ngrid: {}\ncases: 3", "cases must be a list"),
        ("notebook: run\ngrid: []", "grid must be a mapping"),
        ("notebook: run\ncases: [3]", "each case must map names to values"),
        ("notebook: [", "cannot be read as YAML"),
        ("notebook: sweep", "asks for the notebook about sweeps, which runs a sweep itself"),
        ("notebook: run\ngrid: {gamma: [1:30.5]}", "is no plain decimal number"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        definition.read(write(tmp_path, text))
    assert message in str(error.value)


def test_what_only_the_data_tell_is_refused_before_anything_starts(tmp_path, folders, capsys):
    text = TINY.format(seeds=[0, 1]) + "  target: [3, 17]\n  isolation_rate: [0.01, 0.0001]\n"
    assert main(["sweep", str(write(tmp_path, text))]) == 2
    told = capsys.readouterr().err
    assert told.count("target 17 is no class of digits; choose 0 to 9") == 1
    assert told.count("isolation_rate 0.0001") == 1
    assert not folders.exists()


def test_a_number_that_yaml_takes_for_a_text_comes_with_a_hint(tmp_path):
    with pytest.raises(UserError, match=r"got '5e-4'; YAML reads a number such as 5e-4 only as 5.0e-4"):
        definition.read(write(tmp_path, "notebook: run\nparams: {weight_decay: 5e-4}"))
    definition.read(write(tmp_path, "notebook: run\nparams: {weight_decay: 5.0e-4}"))


def test_another_sweep_file_of_that_name_is_another_run(tmp_path, folders, monkeypatch):
    monkeypatch.setenv("ABLKIT_NOTEBOOKS", str(tmp_path))
    (tmp_path / "sweeps").mkdir()
    keys = []
    for seeds in ([0], [0, 1], [0]):
        (tmp_path / "sweeps" / "smoke.yaml").write_text(TINY.format(seeds=seeds))
        keys.append(key.folder_of(key.facts_of("sweep", check("sweep", defaults("sweep")), None)))
    assert keys[0] == keys[2] != keys[1]
    with pytest.raises(UserError, match=r"file 'gone\.yaml' is not in"):
        check("sweep", {"file": "gone.yaml"}).path  # noqa: B018


def said(text: str) -> int | None:
    """The number of runs that the comment at the head of a sweep file names first; None where it names none."""
    found = re.search(r"([\d,]+) runs", text.partition("\n#   ablkit")[0])
    return int(found[1].replace(",", "")) if found else None


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("[!k]*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_repository_are_valid_and_have_as_many_runs_as_they_say(path):
    number = len(definition.read(path))
    assert number >= 4 and said(path.read_text()) in (None, number)


def test_the_number_of_runs_that_a_sweep_says_is_found():
    assert said("# All of it: the 1,014 runs of a notebook.\n#   ablkit sweep x.yaml\n# 3 runs") == 1014
    assert sum(said(path.read_text()) is not None for path in SWEEPS.glob("*.yaml")) >= 12


def test_a_preset_in_place_of_the_files_rehearses_the_same_runs_at_another_size(tmp_path):
    path = write(tmp_path, "notebook: run\npreset: paper\ngrid: {seed: [0, 1]}")
    real, rehearsed = definition.read(path), definition.read(path, "smoke")
    assert [job.parameters.seed for job in rehearsed] == [job.parameters.seed for job in real] == [0, 1]
    assert [job.parameters.train_size for job in real] == [0, 0]
    assert all(0 < job.parameters.train_size <= 1_000 for job in rehearsed)
    with pytest.raises(UserError, match="'smok' is no preset; did you mean 'smoke'"):
        definition.read(path, "smok")


def test_shards_share_all_runs_among_them(tmp_path, folders):
    wanted = definition.read(write(tmp_path, TINY.format(seeds=list(range(20)))))
    parts = [slots.shard(wanted, f"{i}/3") for i in range(3)]
    assert sorted(job.folder.name for part in parts for job in part) == sorted(job.folder.name for job in wanted)
    assert all(0 < len(part) < 20 for part in parts)
    slurm = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "3"}
    assert slots.shard(wanted, None, slurm) == parts[1]
    assert slots.shard(wanted, None, {"JOB_COMPLETION_INDEX": "2", "ABLKIT_SHARDS": "3"}) == parts[2]
    assert slots.shard(wanted, None, {}) == wanted


@pytest.mark.parametrize("text", ["3/3", "1", "a/b", "-1/2"])
def test_a_shard_of_another_form_is_refused(text):
    with pytest.raises(UserError, match="must be i/n with i from 0 to n - 1"):
        slots.shard([], text)


def test_slots_share_the_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(slots, "cores", lambda: 8)
    assert [slot.environment for slot in slots.make([], 3)] == [{}, {}, {}]  # threads belong to the run
    with pytest.raises(UserError, match="there is none here"):
        slots.make([], per_gpu=2)
    monkeypatch.setattr(slots.torch.cuda, "device_count", lambda: 2)
    gpu = type("Properties", (), {"total_memory": 10 * 2**30})
    monkeypatch.setattr(slots.torch.cuda, "get_device_properties", lambda index: gpu)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    used = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots.make([], per_gpu=2)]
    assert used == ["0", "1", "0", "1"]


def test_more_runs_than_fit_a_gpu_are_refused(tmp_path, folders, monkeypatch):
    (job,) = definition.read(write(tmp_path, TINY.format(seeds=[0])))
    job.folder.mkdir(parents=True)
    (job.folder / "metrics.json").write_text("{}")
    (job.folder / "params.json").write_text(json.dumps({"notebook": "run", "parameters": job.parameters.model_dump()}))
    (job.folder / "env.json").write_text(json.dumps({"device": "cuda", "peak_memory_bytes": 4 * 2**30}))
    assert slots._fitting([job], 2, 10 * 2**30) == 2
    with pytest.raises(UserError, match=r"--per-gpu 3 needs 12.0 GiB .* the GPU has 10.0; use at most 2"):
        slots._fitting([job], 3, 10 * 2**30)
    monkeypatch.setattr(slots, "cores", lambda: 16)
    assert slots._fitting([job], "auto", 10 * 2**30) == 2
    assert slots._fitting([job], "auto", 80 * 2**30) == 16  # a process each: no more than there are cores
    assert slots._fitting([], "auto", 80 * 2**30) == 1  # nothing measured yet


@pytest.mark.parametrize(
    ("notebook", "other"), [("your_data", ("your_data", {"model": "wrn-40-2"})), ("table1", ("loss_gap", {}))]
)
def test_the_peak_of_comparisons_and_of_data_of_unknown_trust_is_found(folders, notebook, other):
    wanted = Job(notebook, "", check(notebook, changed(notebook, "smoke", {})))
    assert slots._fitting([wanted], "auto", 10 * 2**30) == 1  # nothing measured yet
    for peak, place, changes in ((9, *other), (4, notebook, {})):  # the first, of something else, is the twin
        folder = folders / place / f"{peak}"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
        values = wanted.parameters.model_dump() | changes
        (folder / "params.json").write_text(json.dumps({"notebook": place, "parameters": values}))
        (folder / "env.json").write_text(json.dumps({"device": "cuda", "peak_memory_bytes": peak * 2**30}))
        assert slots._largest_peak([wanted]) == (4 * 2**30 if peak == 4 else 0)
    with pytest.raises(UserError, match="use at most 2"):
        slots._fitting([wanted], 3, 10 * 2**30)


def test_a_sweep_runs_what_is_missing_and_nothing_twice(cells, tmp_path, folders):
    cells(TRIVIAL)
    path = write(tmp_path, TINY.format(seeds=[0, 1, 2]))
    failed, told = run(path)
    assert failed == {}
    assert told.count("started") == 3
    seen = {json.loads(p.read_text())["seed_seen"] for p in folders.glob("run/*/metrics.json")}
    assert seen == {0, 1, 2}
    failed, told = run(write(tmp_path, TINY.format(seeds=[0, 1, 2, 3])))
    assert told.count("done before") == 3


def test_a_failing_run_is_tried_once_more_alone_and_then_listed_with_its_cell(cells, tmp_path, capsys):
    cells("print('before')", "assert seed != 1, 'seed one'", TRIVIAL)
    path = write(tmp_path, TINY.format(seeds=[0, 1, 2]))
    assert main(["sweep", str(path), "--workers", "2"]) == 1
    told = capsys.readouterr().out
    assert told.count("cell cell-2: AssertionError: seed one") == 3  # twice as it happened, once at the end
    assert "1 failed; once more, each alone" in told
    assert "in cell cell-2\n" in told
    assert "| before" in told
    assert "2 done, 0 running, 1 failed" in told


def test_a_run_whose_folder_cannot_be_made_fails_alone_and_is_listed(cells, tmp_path, folders, capsys):
    cells(TRIVIAL)
    path = write(tmp_path, TINY.format(seeds=[0, 1]))
    damaged, _ = definition.read(path)
    damaged.folder.parent.mkdir(parents=True)
    damaged.folder.write_text("mine")
    assert main(["sweep", str(path)]) == 1
    told = capsys.readouterr().out
    assert f"failed    {damaged.folder}" in told
    assert "1 done, 0 running, 1 failed" in told


def test_a_run_that_fails_by_chance_is_done_at_the_second_try(cells, tmp_path):
    flag = tmp_path / "flag"
    once = f"import pathlib\nf = pathlib.Path({str(flag)!r})\nx = f.exists()\nf.touch()\nassert seed != 1 or x"
    cells(once, TRIVIAL)
    flag.unlink(missing_ok=True)
    failed, told = run(write(tmp_path, TINY.format(seeds=[1])))
    assert failed == {}
    assert "once more, each alone" in told


def test_a_run_that_another_sweep_has_in_hand_is_waited_for(cells, tmp_path):
    cells("import time; time.sleep(3)", TRIVIAL)
    path = write(tmp_path, TINY.format(seeds=[0]))
    told: list[str] = []
    threads = [threading.Thread(target=lambda: told.append(run(path)[1])) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(1)
    for thread in threads:
        thread.join()
    assert sorted("another process has it in hand" in text for text in told) == [False, True]
    assert sum("done before" in text for text in told) == 1


def test_the_threads_of_a_run_are_its_own_however_many_run_at_a_time(cells, tmp_path, folders, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setattr(environment, "_say_other", environment._say_other.__wrapped__)
    cells(TRIVIAL.replace("seed}", "f\"{threads} {os.environ['OMP_NUM_THREADS']}\"}"))
    path = write(tmp_path, TINY.format(seeds=[0]) + "  threads: [1, 3]\n")
    run(path, workers=2)
    seen = [json.loads(p.read_text())["seed_seen"] for p in folders.glob("run/*/metrics.json")]
    assert sorted(seen) == ["1 1", "3 3"]  # two runs, as another number of threads rounds differently
    assert "OMP_NUM_THREADS=5 has no effect" in capfd.readouterr().err


def test_a_dry_run_starts_nothing(cells, tmp_path, folders, capsys):
    cells(TRIVIAL)
    assert main(["sweep", str(write(tmp_path, TINY.format(seeds=[0, 1]))), "--dry-run"]) == 0
    assert capsys.readouterr().out.count("missing") == 2
    assert not folders.exists()


CASES = "cases: [{{method: exclude}}, {{method: exclude, method_settings: draws=3}}]"


def test_runs_of_other_settings_are_told_apart(tmp_path, folders, capsys):
    assert main(["sweep", str(write(tmp_path, (TINY + CASES).format(seeds=[0]))), "--dry-run"]) == 0
    lines = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines() if "exclude" in line]
    assert any("draws=3" in line for line in lines) and any("draws=3" not in line for line in lines)


def test_stopping_leaves_no_process_and_no_failure(tmp_path, folders):
    import psutil

    path = write(tmp_path, TINY.format(seeds=[0, 1]))
    child = subprocess.Popen([sys.executable, "-m", "ablkit.cli", "sweep", str(path)], stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not list(folders.glob("run/*/env.json")) and time.monotonic() < until:
        time.sleep(0.1)
    tree = psutil.Process(child.pid).children(recursive=True)
    assert len(tree) >= 2
    child.terminate()  # as Ctrl-C does, also where a shell has made a background process deaf to that
    _, told = child.communicate(timeout=60)
    assert child.returncode == 130
    assert b"the same command goes on from here" in told
    _, alive = psutil.wait_procs(tree, timeout=10)
    assert alive == []
    assert not list(folders.rglob("failure.json"))


def test_the_notebook_about_sweeps_runs_one_and_reads_it(folders):
    lines: list[str] = []
    outcome = execute.execute("sweep", check("sweep", defaults("sweep", "smoke")), show=lines.append)
    metrics = json.loads((outcome.folder / "metrics.json").read_text())
    assert metrics["runs"] == 4
    assert metrics["failed"] == 0
    assert sum("done before" in line for line in lines) == 4  # the second call runs nothing
    assert sum("(n = 2)" in line for line in lines) == 2
    assert any("minus_none" in line for line in lines)
