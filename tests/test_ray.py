"""A sweep on a Ray cluster: the same runs, shared with another sweep, and reachable for nobody else."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from test_sweep import SWEEPS, TINY, TRIVIAL, WHO, write

from ablkit.cli import main


def reachable(processes: list) -> list[str]:
    """The addresses on which other machines could reach these processes."""
    import psutil

    found = []
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for socket_ in one.net_connections("inet"):
                waits = socket_.status == psutil.CONN_LISTEN or socket_.type == socket.SOCK_DGRAM
                address = ipaddress.ip_address(socket_.laddr.ip.removeprefix("::ffff:")) if waits else None
                if address and not address.is_loopback:
                    found.append(f"{one.name()} on {socket_.laddr}")
    return found


def test_the_look_at_sockets_sees_one_that_others_reach():
    import psutil

    before = reachable([psutil.Process()])
    with socket.create_server(("127.0.0.1", 0)):
        assert reachable([psutil.Process()]) == before
    with socket.create_server(("0.0.0.0", 0)) as server:
        (seen,) = set(reachable([psutil.Process()])) - set(before)
        assert str(server.getsockname()[1]) in seen


def test_ray_and_another_sweep_share_the_runs_and_several_workers_take_them(tmp_path, folders, monkeypatch, capsys):
    import psutil

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    made = nbformat.read(SWEEPS.parent / "run.ipynb", as_version=4)
    made.cells = [cell for cell in made.cells if cell.id == "parameters"]
    made.cells.append(nbformat.v4.new_code_cell(f"{WHO}\ntime.sleep(2){TRIVIAL}", id="who"))
    (tmp_path / "notebooks").mkdir()
    nbformat.write(made, tmp_path / "notebooks" / "run.ipynb")
    monkeypatch.setenv("ABLKIT_NOTEBOOKS", str(tmp_path / "notebooks"))
    monkeypatch.setenv("ABLKIT_TOLD", str(tmp_path))
    path = write(tmp_path, TINY.format(seeds=list(range(8))))
    here = tmp_path / "here"
    here.mkdir()
    (here / "pydantic.py").write_text("raise SystemExit('imported from the current folder')")
    short = Path(tempfile.mkdtemp(dir="/tmp"))  # paths of sockets are short
    command = [sys.executable, "-P", "-m", "ablkit.cli", "sweep", str(path)]
    beside = subprocess.Popen(
        [*command, "--ray", "local"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=here,
        env={**os.environ, "TMPDIR": str(short)},
    )
    until = time.monotonic() + 240
    while not list(folders.glob("run/*/params.json")) and beside.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    assert beside.poll() is None, beside.communicate()[0]
    tree = [psutil.Process(beside.pid), *psutil.Process(beside.pid).children(recursive=True)]
    assert any(one.name().startswith("ray::") for one in tree)
    assert reachable(tree) == []
    ray_folder, *_ = short.glob("abl-*/r[0-9]")
    assert stat.S_IMODE(ray_folder.parent.stat().st_mode) == 0o700
    assert main([*command[4:], "--workers", "2"]) == 0
    told, _ = beside.communicate(timeout=120)
    assert beside.returncode == 0, told
    assert not list(short.glob("abl-*/r[0-9]"))
    shutil.rmtree(short)
    for text in (told, capsys.readouterr().out):
        assert "8 done, 0 running, 0 failed" in text
    # Each run was done once, by more than one worker of the cluster and by the other sweep.
    did = [json.loads(line) for line in (tmp_path / "who.jsonl").read_text().splitlines()]
    assert sorted(seed for seed, _ in did) == list(range(8))
    assert len({worker for _, worker in did if worker.startswith("ray")}) > 1
    assert any(not worker.startswith("ray") for _, worker in did)
