"""Runs that share a GPU compute at the same time: MPS is started for them alone, and nothing of it stays.

NVIDIA's program is played by a script that writes down how it is called, and waits until it is told to quit.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import psutil
import pytest

from ablkit.sweep import gpu_sharing
from ablkit.sweep.slots import Slot

SCRIPT = """#!/bin/sh
if [ "$1" = -f ]; then
    test -d "$CUDA_MPS_PIPE_DIRECTORY" && echo "started $$" >>"$SEEN"
    while [ ! -e "$CUDA_MPS_PIPE_DIRECTORY/quit" ]; do sleep 0.02; done
    echo ended >>"$SEEN"
else
    read word
    echo "told $word" >>"$SEEN"
    [ -n "$DEAF" ] || touch "$CUDA_MPS_PIPE_DIRECTORY/quit"
fi
"""


@pytest.fixture
def seen(tmp_path, monkeypatch) -> Path:
    """Put the script first in the PATH; return the file in which it writes."""
    script = tmp_path / "bin" / "nvidia-cuda-mps-control"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen.txt"))
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    return tmp_path / "seen.txt"


def room(*gpus: str) -> list[Slot]:
    return [Slot(f"slot {k}", {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}) for k, gpu in enumerate(gpus)]


def wait_for(seen: Path, line: str) -> str:
    until = time.monotonic() + 30
    while not (seen.exists() and line in seen.read_text()):
        assert time.monotonic() < until, f"it never said {line!r}"
        time.sleep(0.01)
    return seen.read_text()


def test_two_runs_on_a_gpu_find_mps_and_afterwards_it_is_gone(seen):
    slots = room("0", "0")
    with gpu_sharing.shared(slots):
        number = int(wait_for(seen, "started").split()[1])
        assert psutil.pid_exists(number)
        pipes = {slot.environment["CUDA_MPS_PIPE_DIRECTORY"] for slot in slots}
        assert len(pipes) == 1 and os.path.isdir(*pipes)
    assert seen.read_text().split("\n")[1:3] == ["told quit", "ended"]
    assert not psutil.pid_exists(number) and not os.path.exists(*pipes)
    assert all(set(slot.environment) == {"CUDA_VISIBLE_DEVICES"} for slot in slots)


def test_one_that_does_not_quit_is_killed(seen, monkeypatch):
    monkeypatch.setattr(gpu_sharing, "_SECONDS", 0.3)
    monkeypatch.setenv("DEAF", "1")
    with gpu_sharing.shared(room("0", "0")):
        number = int(wait_for(seen, "started").split()[1])
    assert not psutil.pid_exists(number)
    assert "ended" not in seen.read_text()


def test_it_ends_where_the_sweep_fails(seen):
    with pytest.raises(KeyboardInterrupt), gpu_sharing.shared(room("0", "0")):
        wait_for(seen, "started")
        raise KeyboardInterrupt
    assert "ended" in seen.read_text()


@pytest.mark.parametrize("gpus", [("",), ("", ""), ("0",), ("0", "1")])
def test_where_no_two_runs_share_a_gpu_nothing_is_started(seen, gpus):
    slots = room(*gpus)
    with gpu_sharing.shared(slots):
        assert all("CUDA_MPS_PIPE_DIRECTORY" not in slot.environment for slot in slots)
    assert not seen.exists()


def test_the_users_own_is_used(seen, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/mine")
    slots = room("0", "0")
    with gpu_sharing.shared(slots):
        assert "CUDA_MPS_PIPE_DIRECTORY" not in slots[0].environment  # the run has it from the user's environment
    assert not seen.exists()


def test_without_it_a_line_says_that_runs_take_turns(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    with gpu_sharing.shared(room("0", "0")):
        pass
    said = capsys.readouterr().out
    assert "nvidia-cuda-mps-control is not here, so runs on one GPU take turns" in said and said.count("\n") == 1
