"""Of all processes that want to fill a folder one does, and whatever ends it, it leaves nothing lying about."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import shutil
import signal
import subprocess
import threading
import warnings
from pathlib import Path

import psutil
import pytest
from trivial import DONE, SLEEPS, command, job, wait_until

from ablkit import files, runs
from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.runs import execute, private
from ablkit.runs import folder as run_folder
from ablkit.sweep import local
from ablkit.sweep.board import Board
from ablkit.sweep.slots import Slot

SPIES = ("psutil", "torch", "pandas", "papermill", "IPython", "json", "ablkit", "sitecustomize")


def started(*options: str) -> tuple[subprocess.Popen, psutil.Process]:
    """The real command, and its child once that has its kernel."""
    hear = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    # Without that variable, too, each line is there at once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    line = command("-p", "precision", "fp32", *options)
    runner = subprocess.Popen(line, stdout=subprocess.PIPE, preexec_fn=hear, env=environment)
    assert b"asleep" in runner.stdout.readline()
    return runner, psutil.Process(runner.pid).children()[0]


def test_a_folder_stays_held_by_a_frozen_child_of_a_dead_runner(cells, own_temporary):
    cells(SLEEPS, DONE)
    runner, child = started()
    kernels = child.children(recursive=True)
    child.suspend()
    runner.kill()
    runner.communicate()
    assert files.is_busy(job().folder)
    with pytest.raises(files.Busy):
        execute.carry_out(job())
    child.resume()
    wait_until(lambda: not files.is_busy(job().folder))
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
    wait_until(lambda: not files.is_busy(job().folder))
    assert list(own_temporary.iterdir()) == []
    left = {path.name for path in job().folder.iterdir()} - {"notebook.ipynb", "log.txt", "params.json", ".lock"}
    assert left <= {"failure.json"}


def test_links_and_pipes_in_a_run_folder_are_neither_followed_nor_waited_for(cells, tmp_path):
    cells(DONE)
    precious, folder = tmp_path / "precious", job().folder
    precious.write_text("mine")
    folder.mkdir(parents=True)
    for name in ("notebook.ipynb", "metrics.json"):
        (folder / name).symlink_to(precious)
    os.mkfifo(folder / "log.txt")
    for name in ("failure.json", ".x.tmp"):  # folders in place of files
        (folder / name).mkdir()
    (folder / "figures").symlink_to(tmp_path)
    assert execute.carry_out(job()).was_done is False
    assert precious.read_text() == "mine" and not (folder / "notebook.ipynb").is_symlink()
    assert (folder / "log.txt").is_file() and tmp_path.is_dir()
    assert execute.carry_out(job()).was_done is True


@pytest.mark.parametrize("make", [lambda path, other: path.symlink_to(other), lambda path, other: os.mkfifo(path)])
def test_a_lock_that_is_no_regular_file_is_refused(tmp_path, make):
    (tmp_path / "precious").write_text("mine")
    make(tmp_path / files.LOCK, tmp_path / "precious")
    with pytest.raises(UserError, match="is no regular file; delete it"), files.locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_frozen_kernel_does_not_outlive_its_child(cells, own_temporary):
    cells(SLEEPS, DONE)
    runner, child = started()
    kernel = child.children(recursive=True)[0]
    kernel.suspend()
    child.kill()
    runner.communicate(timeout=60)
    assert runner.returncode == 2
    wait_until(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE)
    assert not files.is_busy(job().folder) and list(own_temporary.iterdir()) == []


def test_on_ctrl_c_only_processes_of_runs_that_still_run_are_killed():
    class Interrupted(Board):
        def draw(self) -> None:
            if ended.is_set():
                raise KeyboardInterrupt

    def attempt(item, slot, tell, stopped):
        if item == "ended":
            tell(stranger.pid)  # its number, which somebody else's process has got since
            ended.set()
        else:
            stopped.wait()

    ended = threading.Event()
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        with pytest.raises(KeyboardInterrupt):
            local.in_slots(
                ["ended", "runs"], [Slot("a", {}), Slot("b", {})], Interrupted([], 2, io.StringIO()), attempt
            )
        assert stranger.poll() is None
        stranger.kill()


def test_a_folder_that_another_process_fills_is_busy_in_jupyter_too(folders):
    first = runs.start("run", {"dataset": "digits", "seed": 5})
    runs.start("run", {"dataset": "digits", "seed": 6})  # lets go of the first
    with files.locked(first.folder), pytest.raises(files.Busy):
        runs.start("run", {"dataset": "digits", "seed": 5})
    run_folder._held.close()


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
    (own_temporary / "abl-of-somebody" / ".lock").touch()  # as a copied run folder has one
    with private.private_folder() as (first, _), private.private_folder() as (second, _):
        assert first.is_dir() and second.is_dir() and first != second
        assert first.stat().st_mode & 0o077 == 0
    assert [path.name for path in own_temporary.iterdir()] == ["abl-of-somebody"]


@pytest.mark.parametrize("looks", [True, False])
def test_a_folder_that_is_deleted_while_it_is_waited_for_has_one_holder(tmp_path, monkeypatch, looks):
    def deleted_first(descriptor: int, folder: Path, wait: bool, taken=files._take) -> bool:
        monkeypatch.setattr(files, "_take", taken)
        shutil.rmtree(folder)
        return taken(descriptor, folder, wait)

    monkeypatch.setattr(files, "_take", deleted_first)
    if not looks:  # the twin: a holder who does not look whether the file is still there
        monkeypatch.setattr(files, "_is_at", lambda path, descriptor: True)
    before = len(os.listdir("/proc/self/fd"))
    with files.locked(tmp_path / "run"):
        second = contextlib.nullcontext() if not looks else pytest.raises(files.Busy)
        with second, files.locked(tmp_path / "run"):
            pass
        assert len(os.listdir("/proc/self/fd")) == before + 1
    with files.locked(tmp_path / "run"):  # it was let go
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_whoever_waits_for_a_folder_that_its_holder_deletes_holds_the_new_one(tmp_path):
    def wait() -> None:
        with files.locked(tmp_path / "run", wait=True):
            held.set()
            done.wait()

    held, done, waiter = threading.Event(), threading.Event(), threading.Thread(target=wait)
    with files.locked(tmp_path / "run"):
        waiter.start()
        assert not held.wait(0.2)
        shutil.rmtree(tmp_path / "run")
    assert held.wait(60)
    with pytest.raises(files.Busy), files.locked(tmp_path / "run"):
        pass
    done.set()
    waiter.join()
    assert not files.is_busy(tmp_path / "run")


def test_a_file_system_without_locks_is_said_and_goes_on(tmp_path, monkeypatch):
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.warns(UserWarning, match="has no locks"), files.locked(tmp_path / "run"):
        pass
    with warnings.catch_warnings(), files.locked(tmp_path / "run2"):  # once is enough
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
