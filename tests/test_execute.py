"""Done or failed without doubt: kills, failing cells and time-outs are failures, and a killed run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import psutil
import pytest
from conftest import COSTS
from PIL import Image

from ablkit import data
from ablkit.errors import UserError
from ablkit.report import findings, pictures
from ablkit.runs import arrays, drawings, durations, execute, notebooks
from ablkit.runs.execute import RunFailed
from ablkit.runs.folder import FOLDER_VARIABLE
from ablkit.runs.parameters import check, defaults

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LONGER = ("-p", "finetune_epochs", "6")
EPOCHS = 2 + 6 + 2
SMOKE = {"dataset": "digits", "precision": "fp32", "train_size": 300}


def parameters(**changes):
    return check("run", defaults("run", "smoke") | SMOKE | changes)


def result(folder: Path) -> dict:
    """The metrics without what no two runs share."""
    return {k: v for k, v in json.loads((folder / "metrics.json").read_text()).items() if k not in COSTS}


def epochs_in(folder: Path) -> int:
    """How many epochs the history of a run holds."""
    return len((folder / "history.jsonl").read_text().splitlines())


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of run.ipynb's parameters cell and some others."""
    made = nbformat.read(NOTEBOOKS / "run.ipynb", as_version=4)
    made.cells = [cell for cell in made.cells if cell.id == "parameters"]
    made.cells += [nbformat.v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(cells, 1)]
    nbformat.write(made, path)
    return path


@pytest.fixture
def run_cells(folders, tmp_path, monkeypatch):
    """Run a notebook of the given cells in the place of run.ipynb; returns the lines that it printed."""

    def run(*cells: str, timeout: float | None = None) -> list[str]:
        monkeypatch.setattr(notebooks, "path_of", lambda name: notebook(tmp_path / "own.ipynb", *cells))
        lines: list[str] = []
        execute.execute("run", parameters(), timeout=timeout, show=lines.append)
        return lines

    return run


FINISH = """
from ablkit import runs
runs.start("run", globals()).finish({"a": 1})
"""


def test_a_finished_notebook_is_done_and_is_not_run_again(run_cells, folders):
    assert run_cells("print('hello')", FINISH) == ["hello"]
    (folder,) = (folders / "run").iterdir()
    assert json.loads((folder / "metrics.json").read_text()) == {"a": 1}
    assert "hello" in (folder / "log.txt").read_text()
    assert run_cells("print('hello')", FINISH) == []


def test_the_last_words_of_a_kernel_are_logged_and_not_shown(run_cells, folders):
    words = "Assertion failed: pfd.revents & POLLIN (src/signaler.cpp:238)"
    assert run_cells(f"print('hello')\nprint({words!r})", FINISH) == ["hello"]
    (folder,) = (folders / "run").iterdir()
    assert words in (folder / "log.txt").read_text()


@pytest.mark.parametrize(
    ("cell", "error", "message"),
    [
        ("1 / 0", RunFailed, "cell cell-1: ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", UserError, "the kernel died in cell cell-1"),
        ("from ablkit.errors import UserError\nraise UserError('do that')", UserError, "do that"),
        ("1", RunFailed, "without run.finish"),
        ("import os, signal; os.kill(os.getppid(), 9)", UserError, "the run's process died with exit code -9"),
    ],
    ids=["failing-cell", "killed-kernel", "user-error", "no-result", "killed-runner"],
)
def test_a_notebook_that_does_not_end_well_is_a_failure(run_cells, folders, cell, error, message):
    with pytest.raises(error, match=message):
        run_cells(cell, "print('never run')")
    (folder,) = (folders / "run").iterdir()
    assert not (folder / "metrics.json").exists()
    assert message in json.loads((folder / "failure.json").read_text())["message"]
    # The twin: mended, the same run is done, and no failure is left.
    run_cells(FINISH)
    (folder,) = [f for f in (folders / "run").iterdir() if (f / "metrics.json").exists()]
    assert not (folder / "failure.json").exists()


def test_a_time_out_is_a_failure_and_leaves_no_process(run_cells):
    sleeping = "import time; print('asleep'); time.sleep(1000)"
    before = psutil.Process().children(recursive=True)  # such as a helper of multiprocessing, of another test
    with pytest.raises(RunFailed, match="stopped after 15 s in cell cell-1"):
        run_cells(sleeping, timeout=15.0)
    assert set(psutil.Process().children(recursive=True)) <= set(before)


def start(folders: Path, *options: str) -> subprocess.Popen:
    """The real command line in a process of its own."""
    command = [sys.executable, "-m", "ablkit.cli", "run", "run", "--preset", "smoke"]
    for name, value in SMOKE.items():
        command += ["-p", name, str(value)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*command, *options], **pipes, text=True)


def wait_for_checkpoint(folders: Path, child: subprocess.Popen) -> Path:
    while child.poll() is None:
        found = [folder for folder in folders.glob("run/*") if durations.has_checkpoint(folder)]
        if found:
            return found[0]
        time.sleep(0.05)
    pytest.fail(f"ended before its first checkpoint: {child.communicate()}")


def kernel_of(child: subprocess.Popen) -> psutil.Process:
    return next(p for p in psutil.Process(child.pid).children(recursive=True) if "ipykernel" in " ".join(p.cmdline()))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data_root):
    """The folder of a longer run that nobody killed."""
    root = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLKIT_DATA", str(data_root))
        patch.setenv("ABLKIT_RUNS", str(root))
        patch.setenv("ABLKIT_CACHE", str(root / "cache"))
        start(root, *LONGER).communicate()
    (folder,) = (root / "run").iterdir()
    return folder


@pytest.mark.parametrize("victim", ["kernel", "terminated"])
def test_a_killed_run_goes_on_to_the_result_of_an_undisturbed_one(folders, undisturbed, victim, tmp_path, monkeypatch):
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / "cache"))
    options = LONGER
    child = start(folders, *options)
    folder = wait_for_checkpoint(folders, child)
    if victim == "kernel":
        kernel_of(child).kill()
    else:
        child.terminate()
    _, errors = child.communicate()
    assert child.returncode == (2 if victim == "kernel" else 130)
    assert errors.count("\n") <= 2
    assert ("the kernel died" if victim == "kernel" else "the same command goes on") in errors
    assert not (folder / "metrics.json").exists()
    done_before = epochs_in(folder)

    again = start(folders, *options)
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    printed = [line for line in output.splitlines() if line.startswith(("isolate", "finetune", "unlearn"))]
    # Between its checkpoint and its line in the history an epoch is done, and a kill may fall there.
    assert EPOCHS - done_before - 1 <= len(printed) <= EPOCHS - done_before
    assert epochs_in(folder) == EPOCHS
    assert not durations.has_checkpoint(folder)

    assert undisturbed.name == folder.name
    assert result(undisturbed) == result(folder)
    assert (undisturbed / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    ours, theirs = (arrays.trajectories(run, 300)["loss"] for run in (folder, undisturbed))
    assert ours.shape == (2, 300) and np.array_equal(ours, theirs)


def test_plain_papermill_runs_the_notebook(folders, tmp_path):
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / "run.ipynb"), str(tmp_path / "out.ipynb")]
    for name, value in parameters().model_dump().items():
        command += ["-p", name, str(value)]
    environment = {k: v for k, v in os.environ.items() if k != FOLDER_VARIABLE}
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment)
    (folder,) = (folders / "run").iterdir()
    assert 0 <= result(folder)["clean_accuracy"] <= 1


def test_plain_papermill_with_a_misspelt_parameter_fails(folders, tmp_path):
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / "run.ipynb"), str(tmp_path / "out.ipynb")]
    done = subprocess.run([*command, "-p", "gama", "1"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert "'gama' is no parameter of run; did you mean 'gamma'?" in done.stderr
    assert not folders.exists()


def test_run_all_in_jupyter_needs_no_papermill(folders, tmp_path):
    made = nbformat.read(NOTEBOOKS / "run.ipynb", as_version=4)
    cell = next(cell for cell in made.cells if cell.id == "parameters")
    # As a user would who edits the cell: the defaults take minutes.
    cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters().model_dump().items())
    nbclient.NotebookClient(made, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    (folder,) = (folders / "run").iterdir()
    assert (folder / "figures" / "training-curves.svg").exists()
    assert result(folder)["poisoned_images"] == 30
    poisoned = arrays.poisoned(folder, 300)
    assert poisoned.dtype == np.int64 and len(poisoned) == 30
    strips = [folder / "figures" / f"{name}.png" for name in ("isolated-images", "poisoned-images-strip")]
    for strip in strips:
        drawings.check_picture(strip.read_bytes())
    isolated = arrays.isolated(folder, 300)[:20]
    with Image.open(strips[0]) as picture:
        side = data.load("digits", train_size=300)[0].images.shape[1] + 2 * pictures.BORDER
        frames = np.asarray(picture)[0::side, 0::side, 3].ravel()[: len(isolated)] == 255
    assert frames.tolist() == np.isin(isolated, poisoned).tolist()
    shown = made.cells[-1].outputs[-1]["data"]["text/markdown"]
    assert shown == findings.of_run(json.loads((folder / "metrics.json").read_text()), "abl")


def test_the_same_command_twice_gives_the_same_metrics_but_for_times(folders):
    first = execute.execute("run", parameters(), show=lambda line: None).folder
    before = (first / "metrics.json").read_text()
    second = execute.execute("run", parameters(), force=True, show=lambda line: None).folder
    after = (second / "metrics.json").read_text()

    def without_times(text: str) -> list[str]:
        return [line for line in text.splitlines() if not any(f'"{name}"' in line for name in COSTS)]

    assert first == second
    assert without_times(before) == without_times(after)
    assert before != after  # the twin: the second was run
