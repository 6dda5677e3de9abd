"""Where data and runs live: beside the notebooks in a clone, or where ABLKIT_DATA, ABLKIT_RUNS and ABLKIT_CACHE say."""

from __future__ import annotations

import os
from pathlib import Path


def project() -> Path:
    """The clone that this package was installed from, or the current folder where there is none."""
    clone = Path(__file__).resolve().parents[1]
    return clone if (clone / "notebooks").is_dir() else Path.cwd()


def notebooks_root() -> Path:
    """The folder of the notebooks; ABLKIT_NOTEBOOKS names another, for changed copies of them."""
    return Path(os.environ.get("ABLKIT_NOTEBOOKS") or project() / "notebooks").resolve()


def data_root() -> Path:
    """The folder that holds one prepared folder for each data set."""
    return Path(os.environ.get("ABLKIT_DATA") or project() / "data").resolve()


def runs_root() -> Path:
    """The folder that holds every run."""
    return Path(os.environ.get("ABLKIT_RUNS") or project() / "runs").resolve()


def cache_root() -> Path:
    """The folder of what attacks train for themselves; ABLKIT_CACHE names another. Deleting it costs only time."""
    return Path(os.environ.get("ABLKIT_CACHE") or project() / ".cache").resolve()
