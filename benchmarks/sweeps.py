"""What a run costs in a sweep beyond the bare papermill call."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

from ablkit import paths, runs
from ablkit.files import write_json, write_text
from ablkit.runs import environment
from ablkit.sweep import sweep


def bench(json_file: Path | None = None, count: int = 200) -> dict:
    """Print what a run costs in a sweep beyond a bare papermill call of the same notebook, in seconds.

    The notebook does nothing; both sides run `count` of them, two at a time. Returns seconds a run of both sides and
    their difference, and the seconds that reading 2,000 run folders takes.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        notebook = json.loads((paths.notebooks_root() / "run.ipynb").read_text(encoding="utf-8"))
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] == "parameters"]
        notebook["cells"].append({**notebook["cells"][0], "id": "nothing", "metadata": {}, "source": _NOTHING})
        write_json(root / "run.ipynb", notebook)
        changed = {"ABLKIT_NOTEBOOKS": folder, "ABLKIT_RUNS": str(root / "runs"), "ABLKIT_RUN_FOLDER": folder}
        with mock.patch.dict(os.environ, changed):
            figures = {
                "papermill_seconds": _papermill_calls(root, count) * 2 / count,
                "sweep_seconds": _sweep_of(root, count) * 2 / count,
                "load_2000_seconds": _load(root, 2_000),
            }
    figures["overhead_seconds"] = figures["sweep_seconds"] - figures["papermill_seconds"]
    for name, value in figures.items():
        print(f"{name:<20}{value:>8.2f}")
    if json_file:
        write_json(json_file, {**figures, "environment": environment.describe("cpu", "fp32"), "runs": count})
    return figures


_NOTHING = """import json, os, pathlib
metrics = {f"metric_{k}": k / 7 for k in range(40)}  # about as many as a training has
pathlib.Path(os.environ["ABLKIT_RUN_FOLDER"], "metrics.pending.json").write_text(json.dumps(metrics))"""


def _papermill_calls(root: Path, count: int) -> float:
    def call(seed: int) -> None:
        command = [sys.executable, "-m", "papermill", "run.ipynb", f"out-{seed}.ipynb", "-p", "seed", str(seed)]
        subprocess.run([*command, "--no-progress-bar"], cwd=root, check=True, capture_output=True)

    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(call, range(count)))
    return time.perf_counter() - started


def _sweep_of(root: Path, count: int) -> float:
    write_text(root / "sweep.yaml", f"notebook: run\npreset: smoke\ngrid: {{seed: {list(range(count))}}}\n")
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()) as told:
        failed = sweep(root / "sweep.yaml", workers=2)
    if failed:
        raise RuntimeError(f"the sweep of the benchmark failed: {told.getvalue()}")
    return time.perf_counter() - started


def _load(root: Path, count: int) -> float:
    """Seconds that reading as many run folders takes: copies of one."""
    one = next((root / "runs" / "run").glob("*/metrics.json")).parent
    for index in range(count):
        copy = root / "many" / "run" / f"{index:012x}"
        copy.mkdir(parents=True)
        for name in ("params.json", "metrics.json"):
            (copy / name).write_bytes((one / name).read_bytes())
    with mock.patch.dict(os.environ, {"ABLKIT_RUNS": str(root / "many")}):
        started = time.perf_counter()
        assert len(runs.load("run")) == count
        return time.perf_counter() - started
