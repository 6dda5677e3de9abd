"""Where data and runs live: beside the notebooks in a clone, or where ABLKIT_DATA, ABLKIT_RUNS and ABLKIT_CACHE say."""

from __future__ import annotations

import os
from pathlib import Path

from ablkit.errors import UserError, shown


def project() -> Path:
    """The clone that this package lies in; for a copy elsewhere the one around the current folder, or that folder."""
    own = Path(__file__).resolve().parents[1]
    if _is_clone(own):
        return own
    here = _current()
    return next((folder for folder in (here, *here.parents) if _is_clone(folder)), here)


def notebooks_root() -> Path:
    """The folder of the notebooks; ABLKIT_NOTEBOOKS names another, for changed copies of them."""
    return _root("ABLKIT_NOTEBOOKS", "notebooks")


def data_root() -> Path:
    """The folder that holds one prepared folder for each data set."""
    return _root("ABLKIT_DATA", "data")


def runs_root() -> Path:
    """The folder that holds every run."""
    return _root("ABLKIT_RUNS", "runs")


def cache_root() -> Path:
    """The folder of what attacks and stages have trained; ABLKIT_CACHE names another. Deleting it costs only time."""
    return _root("ABLKIT_CACHE", ".cache")


def check_writable(root: Path, variable: str) -> None:
    """Raise UserError with the variable that sets `root` where nothing can be written there; nothing is made."""
    there = next(folder for folder in (root, *root.parents) if os.path.lexists(folder))
    if os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK):
        return
    reason = f"{there} may not be written" if os.path.isdir(there) else f"{there} is no folder"
    raise UserError(f"cannot write to {root}: {reason}; set {variable} to a folder you may write")


def _is_clone(folder: Path) -> bool:
    # Two files, as many a folder holds notebooks, and site-packages may.
    return all(os.path.isfile(folder / name) for name in ("pyproject.toml", "notebooks/run.ipynb"))


def _current() -> Path:
    try:
        return Path.cwd()
    except OSError:
        raise UserError("the current folder does not exist any more; change to one that does") from None


def _root(variable: str, name: str) -> Path:
    """The folder that an environment variable names, where ~ is the home folder; by default `name` in the project."""
    given = os.environ.get(variable)
    try:
        root = Path(given).expanduser() if given else project() / name
        root = (root if root.is_absolute() else _current() / root).resolve()
    except (OSError, RuntimeError) as error:  # nobody of that name, or links in a circle
        raise UserError(f"{variable} {shown(given)} names no folder ({error}); set it to one") from None
    if os.path.lexists(root) and not os.path.isdir(root):
        raise UserError(f"{root} is no folder; set {variable} to one")
    return root
