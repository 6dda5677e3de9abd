"""A file is there whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest

from ablkit import files
from ablkit.errors import UserError
from ablkit.files import read_json, write_json, write_text, write_whole

FULL = """
import resource, signal, sys
from pathlib import Path
from ablkit.errors import UserError
from ablkit.files import write_text
from ablkit.models import build
from ablkit.training import checkpoint
from torch.optim import SGD
# The kernel refuses to let files grow beyond 1 kB: what a full disk looks like to a writer.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = Path(sys.argv[1])
write_text(path, "small")
try:
    write_text(path, "x" * 100_000)
except UserError as error:
    print(error)
try:
    model = build("wrn-10-1", 10)
    checkpoint.save(path.with_name("c.safetensors"), "x", checkpoint.Progress(), model, SGD(model.parameters(), 0.1))
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_said_and_leaves_the_former_content(tmp_path):
    path = tmp_path / "file.txt"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"no room left to write {path}: free some space")
    assert second.startswith(f"no room left to write {tmp_path / 'c.safetensors'}: free some space")
    assert path.read_text() == "small"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_failed_writer_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file.txt", "\udcff")
    assert list(tmp_path.iterdir()) == []


def test_writers_on_two_machines_share_no_temporary_file(tmp_path, monkeypatch):
    paths = []
    for name in ("node-1", "node-2", "node-1"):
        monkeypatch.setattr(files.platform, "node", lambda name=name: name)
        write_whole(tmp_path / "a", lambda path: (paths.append(path), path.touch()))
    first, second, again = paths
    assert first != second and first == again  # the twin: one process writes into one
    assert first.parent == tmp_path and str(os.getpid()) in first.name and "node-1" in first.name


def test_no_name_of_a_machine_makes_a_temporary_name_too_long_or_a_path(tmp_path, monkeypatch):
    monkeypatch.setattr(files.platform, "node", lambda: "../a host" * 40)
    write_text(tmp_path / ("x" * 200), "whole")  # the longest name that a user may give a file
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 200]


def test_json_comes_back_and_damage_is_said(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1})
    assert read_json(tmp_path / "a.json") == {"b": 1}
    (tmp_path / "a.json").write_text('{"b": ')
    with pytest.raises(UserError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_numpy_on_a_full_disk_is_no_room_left(tmp_path):
    """The error has no number, and so no text of the system's."""
    error = OSError("192 requested and 0 written")
    with (
        pytest.raises(UserError, match=r"no room left to write .*/a: free some space"),
        files.saying_why(tmp_path / "a"),
    ):
        raise error
    with pytest.raises(OSError, match="something else"), files.saying_why(tmp_path / "a"):  # the twin
        raise OSError("something else")


def test_what_may_not_be_read_is_neither_damaged_nor_missing(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"b": 1})
    denied = PermissionError(errno.EACCES, "Permission denied")
    for name in ("stat", "open"):  # of a folder above it, and of the file itself
        with monkeypatch.context() as patch:  # the tests may run as root, who reads everything
            patch.setattr(os if name == "stat" else io, name, lambda *_, **__: (_ for _ in ()).throw(denied))
            with pytest.raises(files.Unreadable) as caught:
                read_json(tmp_path / "a.json")
        assert (
            str(caught.value) == f"{tmp_path / 'a.json'} cannot be read: Permission denied; allow yourself to read it"
        )
    assert files.status_of(tmp_path / "b") is None and files.status_of(tmp_path / "a.json" / "b") is None
    with pytest.raises(UserError, match="does not exist") as caught:  # the twin
        read_json(tmp_path / "b.json")
    assert not isinstance(caught.value, files.Unreadable)
