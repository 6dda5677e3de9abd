"""Nothing that lies about on the machine has a part in a run, and a run leaves nothing lying about."""

from __future__ import annotations

import errno
import functools
import getpass
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import psutil
import pytest
from trivial import DONE, SLEEPS, command, job, wait_until

from ablkit import environment, execute, lock, private, process
from ablkit.cli import main
from ablkit.errors import UserError

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
