"""Finished runs that nothing was run for, and the archives of them."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
from trivial import job

from ablkit import models
from ablkit.cli import main
from ablkit.files import write_bytes, write_json, write_text
from ablkit.report import pictures
from ablkit.runs import seals
from ablkit.runs.job import Job
from ablkit.training import checkpoint


def finish(seed: int, **changes: object) -> Job:
    """Make a finished run of 20 images without running it, and return it."""
    one = job(**{"seed": seed} | changes)
    folder = one.folder
    checkpoint.write_history(folder, [{"stage": "isolate", "epoch": 1}])
    checkpoint.write(folder / "model.safetensors", models.build("wrn-10-1", 10, seed=seed).state_dict(), {})
    np.save(folder / "isolated.npy", np.array([3, 1, 2]))
    np.save(folder / "poisoned.npy", np.array([1, 3, 8]))
    np.save(folder / "losses.npy", np.linspace(0, 1, 20, dtype=np.float32))
    np.savez(folder / "trajectories.npz", first=np.zeros(3), second=np.arange(4))
    for name in ("loss-gap.csv", "loss-gap.png"):
        write_text(folder / "figures" / name, f"{name} of {seed}")
    write_text(
        folder / "figures" / "loss-gap.svg", f'<svg xmlns="http://www.w3.org/2000/svg"><desc>{seed}</desc></svg>'
    )
    write_bytes(folder / "figures" / "isolated-images.png", pictures.isolated(*images(seed)))
    write_text(folder / "log.txt", "what it printed")
    return with_metrics(one, {"clean_accuracy": 0.5, "seed_seen": seed})


def with_metrics(one: Job, metrics: dict) -> Job:
    """Finish a run with these metrics and whatever its folder holds."""
    write_json(one.folder / "params.json", one.facts)
    write_json(one.folder / "env.json", {"device": "cpu", "torch": "2", "wall_seconds": 3.5})
    write_json(one.folder / "notebook.ipynb", {"cells": [], "metadata": {}})
    write_json(one.folder / "metrics.json", metrics)
    seals.seal(one.folder, one.folder / "metrics.json")
    assert one.is_done()
    return one


def images(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twenty images, those of them that were isolated, and which are poisoned."""
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    return pixels, np.array([3, 1, 2]), np.isin(np.arange(20), [1, 3, 8])


def packed(tmp_path: Path, *options: str) -> Path:
    assert main(["runs", "bundle", *options, "--to", str(tmp_path / "runs.tar.gz")]) == 0
    return tmp_path / "runs.tar.gz"


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


def content(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refusal(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and len(told) < 700 and "unexpected" not in told
    return told
