"""The fault drill: a sweep that is killed, starved and damaged ends with the result of an undisturbed one."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from conftest import COSTS

from ablkit import runs

SEED, RUNS, KILLS = 7, 8, 3
SWEEP = f"""
notebook: run
preset: smoke
params: {{train_size: 200, precision: fp32, isolation_epochs: 1, finetune_epochs: 1, unlearn_epochs: 1}}
grid:
  seed: {list(range(RUNS // 2))}
  method: [none, abl]
"""

# Two of the runs train for real, without figures and tables; the others only stand for runs, as importing torch in
# each would be most of the drill's time.
LIGHT = """
import json, os, pathlib, time
folder = pathlib.Path(os.environ["ABLKIT_RUN_FOLDER"])
if seed >= 1:
    time.sleep(1)
    (folder / "metrics.pending.json").write_text(json.dumps({"clean_accuracy": seed / 100 + (method == "abl") / 1000}))
"""
TRAINS = """
if seed < 1:
    from ablkit import attacks, data, runs, training
    from ablkit.metrics import after_epoch, summary
    run = runs.start("run", globals())
    p = run.parameters
    train, test = data.load(p.dataset, train_size=p.train_size, seed=p.seed)
    poisoned = attacks.poison(train, **p.poisoning())
    trained = training.train(
        poisoned.data, p.recipe(), method=p.method, seed=p.seed,
        evaluate=after_epoch.measure(test, poisoned, p.isolation_rate), folder=run.folder, precision=p.precision,
    )
    run.finish(summary.of_run(trained.history, trained.isolated, poisoned), model=trained.model)
"""


def light_notebook(folder: Path) -> None:
    """A run.ipynb of the real one's parameters and the cells above."""
    made = nbformat.read(Path(__file__).parents[1] / "notebooks" / "run.ipynb", as_version=4)
    made.cells = [cell for cell in made.cells if cell.id == "parameters"]
    made.cells += [nbformat.v4.new_code_cell(LIGHT, id="light"), nbformat.v4.new_code_cell(TRAINS, id="trains")]
    folder.mkdir()
    nbformat.write(made, folder / "run.ipynb")


def start(file: Path, root: Path, before=None) -> subprocess.Popen:
    """The real command in a process of its own."""
    command = [sys.executable, "-m", "ablkit.cli", "sweep", str(file), "--workers", "2"]
    environment = {**os.environ, "ABLKIT_RUNS": str(root), "ABLKIT_DRILL": str(root)}
    with open(file.with_name(f"{root.name}.log"), "a") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, preexec_fn=before)


def of_the_drill(root: Path) -> list[psutil.Process]:
    """Every process of a sweep into `root`, however orphaned."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ABLKIT_DRILL") == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def finished(root: Path) -> dict[str, int]:
    """Key -> time at which its metrics were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("run/*/metrics.json")}


def frame(root: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setenv("ABLKIT_RUNS", str(root))
    return runs.load("run").drop(columns=[*COSTS, "folder"])


def fill_the_disk(file: Path, root: Path) -> None:
    """Run the sweep where there is hardly any room, and leave what it left."""
    small = root.with_name("small")
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode == 0:
        try:
            assert start(file, small).wait(timeout=300) == 1
            assert "Traceback" not in file.with_name("small.log").read_text()
            shutil.copytree(small, root, dirs_exist_ok=True)
        finally:
            subprocess.run(["umount", "-l", str(small)], check=True)
    else:  # only root may mount; a limit on the size of files meets the same code: EFBIG in place of ENOSPC
        limit = 64 * 1024
        assert start(file, root, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))).wait(300) == 1
    assert not finished(root)


def kill_at_random(file: Path, root: Path, chance: random.Random) -> None:
    """Start the sweep and kill one of its processes: a child, a kernel, or the parent itself."""
    parent = start(file, root)
    time.sleep(chance.uniform(3, 9))
    victims = of_the_drill(root)
    if victims:
        victim = chance.choice([*victims, psutil.Process(parent.pid)] if parent.poll() is None else victims)
        victim.send_signal(signal.SIGKILL)
    time.sleep(chance.uniform(0, 2))
    if parent.poll() is None:
        parent.kill()
    parent.wait()


def damage(root: Path) -> int:
    """Truncate every checkpoint and spoil the parameters of every third run; return how many checkpoints there were."""
    checkpoints = list(root.rglob("checkpoint.safetensors"))
    for path in checkpoints:
        os.truncate(path, path.stat().st_size // 2)
    for path in sorted(root.glob("run/*/params.json"))[::3]:
        path.write_text('{"notebook": "ru')
    return len(checkpoints)


def wait_for_checkpoint(file: Path, root: Path) -> None:
    """Run the sweep until a training is under way, and kill its parent."""
    parent, until = start(file, root), time.monotonic() + 120
    while not list(root.rglob("checkpoint.safetensors")) and time.monotonic() < until:
        time.sleep(0.02)
    parent.kill()
    parent.wait()


def wait_until_gone(root: Path) -> None:
    """Orphans notice the end of their parent by themselves."""
    until = time.monotonic() + 20
    while (left := of_the_drill(root)) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left


def test_after_kills_a_full_disk_and_damage_the_result_is_that_of_an_undisturbed_sweep(
    tmp_path, data_root, monkeypatch
):
    monkeypatch.setenv("ABLKIT_DATA", str(data_root))
    monkeypatch.setenv("ABLKIT_NOTEBOOKS", str(tmp_path / "notebooks"))
    light_notebook(tmp_path / "notebooks")
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    calm, drilled = tmp_path / "calm", tmp_path / "drilled"
    assert start(file, calm).wait() == 0
    assert len(finished(calm)) == RUNS

    chance = random.Random(SEED)
    drilled.mkdir()
    part = tmp_path / "part.yaml"  # those that train: the others are small enough to fit
    part.write_text(SWEEP.replace(str(list(range(RUNS // 2))), "[0]"))
    fill_the_disk(part, drilled)
    wait_for_checkpoint(file, drilled)
    wait_until_gone(drilled)
    assert damage(drilled) > 0
    log = tmp_path / "drilled.log"
    before = len(log.read_text().splitlines())  # what was done till then may be damaged, and is done again
    seen: dict[str, int] = {}
    for _ in range(KILLS):
        kill_at_random(file, drilled, chance)
        wait_until_gone(drilled)
        seen |= {key: when for key, when in finished(drilled).items() if key not in seen}
    both = [start(file, drilled), start(file, drilled)]
    assert [sweep.wait() for sweep in both] == [0, 0]

    assert not of_the_drill(calm) + of_the_drill(drilled)
    # Lost: none. Done twice: none, as what was done once was never written again.
    assert len(finished(drilled)) == RUNS
    assert {key: finished(drilled)[key] for key in seen} == seen
    pd.testing.assert_frame_equal(frame(drilled, monkeypatch), frame(calm, monkeypatch), check_exact=True)
    # Of the two sweeps at once, too, each run was done by one alone.
    lines = log.read_text().splitlines()[before:]
    ended = [line.split()[1] for line in lines if line.startswith("done") and "done before" not in line]
    assert ended and len(ended) == len(set(ended))
    # The twin: the frame tells runs apart, so equality of two is no accident.
    assert frame(calm, monkeypatch)["clean_accuracy"].nunique() > RUNS // 2  # of the made-up ones each differs
