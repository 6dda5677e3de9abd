"""Runs of trivial notebooks, without the seconds that a training and importing torch take."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nbformat

from ablkit.files import write_json
from ablkit.runs import durations, environment
from ablkit.runs.job import Job
from ablkit.runs.parameters import check, defaults

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


def job(**changes: object) -> Job:
    return Job("run", "", check("run", defaults("run", "smoke") | {"precision": "fp32"} | changes))


def wanted(seed: int, **changes: object) -> Job:
    return job(**{"train_size": 200, "seed": seed} | changes)


def timed(took: float | None, **changes: object) -> Job:
    """A run that has ended on this machine, or whose time is not known."""
    made = job(**{"train_size": 200} | changes)
    facts = {"device": "cpu", "precision": "fp32", "processor": environment.name_of("cpu")}
    write_json(made.folder / "params.json", made.facts)
    write_json(made.folder / "env.json", facts | ({durations.NOTED: took} if took is not None else {}))
    write_json(made.folder / "metrics.json", {})
    return made


def metrics(wanted: Job) -> dict:
    return json.loads((wanted.folder / "metrics.json").read_text())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "ablkit.cli", "run", "run", "--preset", "smoke", *arguments]


def wait_until(true, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
