"""A run depends on what its key stands for, and on nothing that lies about on the machine."""

from __future__ import annotations

import errno
import functools
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import nbformat
import psutil
import pytest

from ablkit import environment, execute, lock, notebooks, private, process, provenance, runs
from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.jobs import Job
from ablkit.parameters import check, defaults

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
DONE = """
import json, os, pathlib
pathlib.Path(os.environ["ABLKIT_RUN_FOLDER"], "metrics.pending.json").write_text(json.dumps({"seed_seen": seed}))
"""
"""What a finished notebook leaves, without the seconds that importing torch takes."""
SLEEPS = "import time; print('asleep', flush=True); time.sleep(1000)"
STARTS = 'from ablkit import runs\nruns.start("run", globals()).finish({"seed_seen": seed})'


def write_notebook(folder: Path, *cells: str, **metadata: object) -> Path:
    """A run.ipynb of the real one's parameters cell and some others."""
    made = nbformat.read(NOTEBOOKS / "run.ipynb", as_version=4)
    made.cells = [cell for cell in made.cells if cell.id == "parameters"]
    made.cells += [nbformat.v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(cells, 1)]
    made.metadata.update(metadata)
    folder.mkdir(exist_ok=True)
    nbformat.write(made, folder / "run.ipynb")
    return folder / "run.ipynb"


@pytest.fixture
def cells(folders, tmp_path, monkeypatch):
    """Put a run.ipynb of the given cells in the place of the repository's."""
    monkeypatch.setenv("ABLKIT_NOTEBOOKS", str(tmp_path / "notebooks"))
    return functools.partial(write_notebook, tmp_path / "notebooks")


def job(**changes: object) -> Job:
    return Job("run", "", check("run", defaults("run", "smoke") | {"precision": "fp32"} | changes))


def metrics(wanted: Job) -> dict:
    return json.loads((wanted.folder / "metrics.json").read_text())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "ablkit.cli", "run", "run", "--preset", "smoke", *arguments]


def wait_until(true, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


# What the key stands for


def test_a_notebook_that_is_edited_after_its_key_is_known_runs_as_it_was(cells):
    cells(DONE)
    wanted = job()
    key = wanted.folder.name
    cells(DONE.replace("seed}", "-1}"))
    outcome = execute.carry_out(wanted)
    assert outcome.folder == wanted.folder and wanted.state == "done"
    assert metrics(wanted) == {"seed_seen": 0}
    # The twin: what is planned now is another run.
    assert job().folder.name != key
    assert metrics(Job("run", "", execute.execute("run", wanted.parameters) and wanted.parameters)) == {"seed_seen": -1}


def test_a_process_that_imports_other_code_than_the_runners_refuses(cells, monkeypatch):
    cells(DONE)
    monkeypatch.setattr(provenance, "planned", lambda: "text digest")
    with pytest.raises(UserError, match="ablkit has changed since this run was planned; start the same command again"):
        execute.carry_out(job())
    assert job().state == "failed"
    monkeypatch.undo()


def test_other_words_are_the_same_code_and_another_statement_is_not(monkeypatch):
    sources = provenance._SOURCES
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"metrics.py": sources["metrics.py"] + "\n# more\n"})
    provenance.check_unchanged()
    for changed in (sources["metrics.py"] + "\nx = 1\n", "half sav(", None):
        now = {**sources, "metrics.py": changed} if changed else {k: v for k, v in sources.items() if k != "metrics.py"}
        monkeypatch.setattr(provenance, "_read", lambda now=now: now)
        with pytest.raises(UserError, match=r"ablkit/metrics\.py has changed since this process imported it"):
            provenance.check_unchanged()
    # What decides no result may change.
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"cli.py": "x = 1"})
    provenance.check_unchanged()


def test_a_digest_is_that_of_the_code_that_was_imported(tmp_path):
    copy = tmp_path / "ablkit"
    shutil.copytree(Path(provenance.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import pathlib; from ablkit import provenance; f = pathlib.Path(provenance.__file__).with_name('metrics.py')"
        "; f.write_text(f.read_text() + 'x = 1\\n'); print(provenance.package_digest('metrics.py'))"
    )
    asked = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    first, second = (
        subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, env=asked, check=True)
        for _ in range(2)
    )
    assert first.stdout.strip() == provenance.package_digest("metrics.py") != second.stdout.strip()


def test_the_number_of_threads_is_part_of_the_key():
    assert job(threads=1).folder == job().folder != job(threads=2).folder
    for wrong in (0, -1, 10**6):
        with pytest.raises(UserError, match=r"threads .* must be 1 to 1024"):
            check("run", {"threads": wrong})


def test_a_notebook_that_sets_other_parameters_than_the_planned_ones_is_refused(cells):
    cells("seed = 7", STARTS)
    with pytest.raises(UserError, match=r"not the one that was planned: seed = 7 differs"):
        execute.carry_out(job())
    assert json.loads((job().folder / "params.json").read_text())["parameters"]["seed"] == 0
    # The twin: the same cell with the planned value is no other run.
    cells("seed = 0", STARTS)
    assert execute.carry_out(job()).was_done is False


def test_what_is_done_is_never_relabelled(cells):
    cells(DONE)
    wanted = job(seed=3)
    execute.carry_out(wanted)
    record = wanted.folder / "params.json"
    other = json.loads(record.read_text())
    other["parameters"]["seed"] = 4
    record.write_text(json.dumps(other))
    assert execute.carry_out(job(seed=3)).was_done is False  # it was made again
    assert execute.carry_out(job(seed=3)).was_done is True


# Notebooks that cannot be run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "run.ipynb, line 1 is no JSON, so no notebook (it is empty)"),
        ('{\n "cells": [\n<<<<<<< ours\n', "run.ipynb, line 3 is no JSON, so no notebook (it holds the marks of a me"),
        ("[1]", "run.ipynb is no notebook: it has no list of cells"),
        ('{"cells": [3]}', "run.ipynb: cell 1 is no cell of a notebook"),
        ("[" * 100_000, "is no JSON, so no notebook"),
        (b"\xff\xfe\x00", "is damaged: it is no text"),
    ],
)
def test_a_damaged_notebook_is_named_with_its_line(cells, folders, tmp_path, capsys, content, message):
    path = cells(DONE)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["run", "run", "--preset", "smoke"]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not folders.exists()


def test_a_notebook_without_its_tag_is_refused_before_anything_starts(cells, folders, capsys):
    path = cells(DONE)
    made = nbformat.read(path, as_version=4)
    made.cells[0].metadata.pop("tags")
    nbformat.write(made, path)
    assert main(["run", "run", "--preset", "smoke", "-p", "seed", "3"]) == 2
    assert "has 0 cells with the tag 'parameters'" in capsys.readouterr().err
    assert not folders.exists()


def test_a_byte_order_mark_and_missing_metadata_do_no_harm(cells):
    path = cells(DONE)
    content = json.loads(path.read_text())
    content["metadata"] = {}
    path.write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    execute.carry_out(job(seed=5))
    assert metrics(job(seed=5)) == {"seed_seen": 5}


# What lies about


SPIES = ("psutil", "torch", "pandas", "papermill", "IPython", "json", "ablkit", "sitecustomize")


def test_no_file_is_imported_from_the_current_folder_nor_the_notebooks_nor_the_runs(cells, folders, tmp_path):
    cells("import psutil, pandas, json", DONE)
    key = job().folder
    for place in (tmp_path / "here", tmp_path / "notebooks", key):
        place.mkdir(exist_ok=True, parents=True)
        for name in SPIES:
            (place / f"{name}.py").write_text(f"raise SystemExit(print('RAN', {name!r}))")
    done = subprocess.run(command("-p", "precision", "fp32"), cwd=tmp_path / "here", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RAN" not in done.stdout + done.stderr + (key / "log.txt").read_text()
    # The twin: the same files do run where Python is told to look there.
    spied = subprocess.run(
        [sys.executable, "-c", "import psutil"], cwd=tmp_path / "here", capture_output=True, text=True
    )
    assert "RAN psutil" in spied.stdout


def test_settings_of_the_user_for_other_notebooks_do_not_reach_a_run(cells, tmp_path, monkeypatch):
    cells("assert 'PROJECT' not in globals()", DONE)
    home = tmp_path / "home"
    startup = home / ".ipython" / "profile_default" / "startup" / "00.py"
    kernel = home / ".local" / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    config = home / ".jupyter" / "jupyter_config.py"
    for path, text in (
        (startup, "PROJECT = 'thesis'"),
        (kernel, json.dumps({"argv": ["/nowhere/python"], "display_name": "mine", "language": "python"})),
        (config, "raise RuntimeError"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "IPYTHON"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    execute.carry_out(job())
    assert job().state == "done"
    assert sorted(p.name for p in (home / ".ipython" / "profile_default").iterdir()) == ["startup"]  # nothing added


def test_a_folder_of_torch_that_somebody_else_has_taken_does_no_harm(folders, own_temporary, tmp_path):
    (own_temporary / f"torchinductor_{getpass.getuser()}").touch()
    optimise = "import torch; torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)"
    start = "from ablkit import runs; runs.start('run', {'dataset': 'digits'}); "
    asked = {**os.environ, "ABLKIT_CACHE": str(tmp_path / "cache")}
    good = subprocess.run([sys.executable, "-c", start + optimise], capture_output=True, text=True, env=asked)
    assert good.returncode == 0, good.stderr
    # The twin: without a start it is met.
    bare = subprocess.run([sys.executable, "-c", optimise], capture_output=True, text=True, env=asked)
    assert "FileExistsError" in bare.stderr


def test_a_long_folder_for_temporary_files_does_no_harm(cells, tmp_path, monkeypatch):
    cells(DONE)
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    execute.carry_out(job())
    assert job().state == "done"
    monkeypatch.setattr(private, "_LONGEST", 1)
    with pytest.raises(UserError, match="set TMPDIR to one"):
        execute.carry_out(job(seed=1))


# Locks and litter


@pytest.fixture
def own_temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test alone, with a short path."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as short:
        monkeypatch.setenv("TMPDIR", short)
        monkeypatch.setattr("tempfile.tempdir", None)
        yield Path(short)


def started(*options: str) -> tuple[subprocess.Popen, psutil.Process]:
    """The real command, and its child once that has its kernel."""
    hear = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    runner = subprocess.Popen(command("-p", "precision", "fp32", *options), stdout=subprocess.PIPE, preexec_fn=hear)
    assert b"asleep" in runner.stdout.readline()
    return runner, psutil.Process(runner.pid).children()[0]


def test_a_folder_stays_held_by_a_frozen_child_of_a_dead_runner(cells, own_temporary):
    cells(SLEEPS, DONE)
    runner, child = started()
    kernels = child.children(recursive=True)
    child.suspend()
    runner.kill()
    runner.communicate()
    assert lock.is_busy(job().folder)
    with pytest.raises(lock.Busy):
        execute.carry_out(job())
    child.resume()
    wait_until(lambda: not lock.is_busy(job().folder))
    assert not [p for p in (child, *kernels) if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    # What it left is swept by the next run.
    assert list(own_temporary.iterdir())
    cells(DONE)
    execute.carry_out(job(seed=1))
    assert list(own_temporary.iterdir()) == []


@pytest.mark.parametrize("victim", ["interrupted", "kernel", "child"])
def test_whatever_ends_a_run_it_leaves_nothing_for_itself_alone(cells, own_temporary, victim):
    cells(SLEEPS, DONE)
    runner, child = started()
    if victim == "interrupted":
        runner.send_signal(signal.SIGINT)
    elif victim == "child":
        child.kill()
    else:
        child.children(recursive=True)[0].kill()
    runner.communicate()
    assert runner.returncode == (130 if victim == "interrupted" else 2)
    wait_until(lambda: not lock.is_busy(job().folder))
    assert list(own_temporary.iterdir()) == []
    left = {path.name for path in job().folder.iterdir()} - {"notebook.ipynb", "log.txt", "params.json", ".lock"}
    assert left <= {"failure.json"}


def test_what_a_killed_writer_left_is_swept_by_the_next_run_of_that_folder(cells):
    cells(DONE)
    litter = [job().folder / ".model.safetensors.123.tmp", job().folder / "figures" / ".x.svg.9.tmp"]
    for path in litter:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    kept = job().folder / "figures" / "mine.tmp"
    kept.write_bytes(b"whole")
    execute.carry_out(job())
    assert not any(path.exists() for path in litter) and kept.exists()


def test_a_private_folder_in_use_is_not_swept_and_one_of_others_neither(own_temporary):
    (own_temporary / "abl-of-somebody").mkdir()
    with private.private_folder() as (first, _), private.private_folder() as (second, _):
        assert first.is_dir() and second.is_dir() and first != second
        assert first.stat().st_mode & 0o077 == 0
    assert [path.name for path in own_temporary.iterdir()] == ["abl-of-somebody"]


def test_a_file_system_without_locks_is_said_and_goes_on(tmp_path, monkeypatch):
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match="has no locks"), lock.locked(tmp_path / "run"):
        pass
    with warnings.catch_warnings(), lock.locked(tmp_path / "run2"):  # once is enough
        warnings.simplefilter("error")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
def test_a_runs_folder_that_cannot_be_written_is_one_line(cells, monkeypatch, capsys, code):
    cells(DONE)

    def refuse(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["run", "run", "--preset", "smoke"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("ablkit: cannot write ") and os.strerror(code) in told and told.count("\n") == 1


def test_a_runs_folder_that_is_a_file_is_one_line(cells, folders, capsys):
    cells(DONE)
    folders.write_text("mine")
    assert main(["run", "run", "--preset", "smoke"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert folders.read_text() == "mine"


def test_threads_of_the_surroundings_are_not_overridden_in_silence(monkeypatch, capsys):
    monkeypatch.setattr(process, "_say_other", process._say_other.__wrapped__)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert set(process.threads(1).values()) == {"1"}
    assert capsys.readouterr().err == ""
    assert process.threads(3)["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS=1 has no effect" in capsys.readouterr().err


# Whose commit it is


def git(folder: Path, *arguments: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *own, *arguments], check=True, capture_output=True)


def test_the_commit_of_another_repository_is_not_taken_for_ones_own(tmp_path, monkeypatch):
    outer = tmp_path / "outer"
    inner = outer / "unpacked"
    inner.mkdir(parents=True)
    git(outer, "init", "-q")
    git(outer, "commit", "-q", "--allow-empty", "-m", "theirs")
    monkeypatch.setattr(environment, "project", lambda: inner)
    assert environment.commit() == "unknown: no clone of its own, but within another repository"
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))  # as in a hook of theirs
    assert environment.commit() == "unknown: no clone of its own, but within another repository"
    monkeypatch.setattr(environment, "project", lambda: tmp_path)
    assert environment.commit() == "unknown: no clone"
    monkeypatch.setattr(environment, "project", lambda: outer)
    assert len(environment.commit()) == 10
    (outer / "notebooks").mkdir()
    (outer / "notebooks" / "a").write_text("a")
    assert environment.commit().endswith("+changes")


def test_a_run_in_jupyter_after_an_edit_of_the_package_asks_for_a_new_kernel(folders, monkeypatch):
    sources = provenance._SOURCES
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"metrics.py": "x = 1"})
    with pytest.raises(UserError, match="restart the kernel"):
        runs.start("run", dict(job().parameters))
    assert not folders.exists()


def test_the_copy_that_runs_holds_both_notebooks(tmp_path):
    source = notebooks.read("loss_gap")
    assert source.write(tmp_path / "copy").name == "loss_gap.ipynb"
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["loss_gap.ipynb", "run.ipynb", "sweeps"]
    assert (tmp_path / "copy" / "sweeps" / "smoke.yaml").is_file()
