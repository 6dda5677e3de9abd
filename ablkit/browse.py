"""Looking through the runs on the disk: listing, showing, clearing away, exporting."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from ablkit import runs
from ablkit.errors import UserError, unknown
from ablkit.files import read_json, write_whole
from ablkit.parameters import NOTEBOOKS
from ablkit.paths import runs_root


def state(folder: Path) -> str:
    """`done`, `failed`, or `unfinished`: running, or killed and to be continued."""
    if (folder / "metrics.json").exists():
        return "done"
    return "failed" if (folder / "failure.json").exists() else "unfinished"


def show_all(wanted: dict[str, str], only: str | None = None) -> None:
    """Print a line for each run whose parameters have the `wanted` values and which is in the state `only`."""
    found = [(folder, values) for folder, values in _folders(wanted) if only in (None, state(folder))]
    for folder, values in found:
        print(f"{folder.name}  {state(folder):<11}{folder.parent.name}: {_short(values)}{_outcome(folder)}")
    print(f"{len(found)} runs in {runs_root()}")


def show(key: str) -> None:
    """Print all that is known of the one run whose key begins with `key`; raises UserError for none or several."""
    found = [folder for folder, _ in _folders({}) if folder.name.startswith(key)]
    if len(found) != 1:
        names = ", ".join(folder.name for folder in found)
        raise UserError(f"{key!r} begins {len(found)} runs{f': {names}; write more of it' if found else ''}")
    (folder,) = found
    print(f"{folder}: {state(folder)}")
    for name in ("params.json", "env.json", "metrics.json", "failure.json"):
        if (folder / name).exists():
            values = read_json(folder / name)
            print(name)
            for entry, value in values.get("parameters", values).items():
                print(f"  {entry:<36} {value:.4g}" if isinstance(value, float) else f"  {entry:<36} {value}")


def delete_failed(wanted: dict[str, str]) -> None:
    """Delete the folders of failed runs with the `wanted` values."""
    failed = [(folder, values) for folder, values in _folders(wanted) if state(folder) == "failed"]
    for folder, values in failed:
        shutil.rmtree(folder)
        print(f"deleted {folder}: {_short(values)}")
    print(f"{len(failed)} failed runs deleted")


def making_costs() -> dict[str, str]:
    """Attack -> what finished runs say that it takes to make it, with its default settings, on the largest set."""
    frame, costs = runs.load("run"), {}
    if "poisoning_seconds" not in frame:
        return {}
    known = frame[frame["poisoning_seconds"].notna() & (frame["attack_settings"] == "") & ~frame["released"]]
    for name, own in known.groupby("attack"):
        largest = own[own["training_images"] == own["training_images"].max()]
        seconds, images = largest["poisoning_seconds"], largest["training_images"].iloc[0]
        costs[name] = f"{seconds.median():.0f} s to make on {images:,} images (median of {len(seconds)} runs here)"
        if not seconds.any():
            costs[name] = "nothing to train or optimise"
    return costs


def export(notebook: str, to: Path) -> list[Path]:
    """Write the finished runs of a notebook as `to`.csv and `to`.parquet; return both paths.

    Raises UserError for an unknown notebook and where no run is done.
    """
    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    frame = runs.load(notebook)
    if frame.empty:
        raise UserError(f"no finished run of {notebook} in {runs_root()}; run `ablkit sweep` or `ablkit run` first")
    frame = frame.drop(columns="folder")
    paths = [to.with_name(f"{to.name}.{ending}") for ending in ("csv", "parquet")]
    write_whole(paths[0], lambda path: frame.to_csv(path, index=False))
    write_whole(paths[1], lambda path: frame.to_parquet(path, index=False))
    return paths


def _folders(wanted: dict[str, str]) -> list[tuple[Path, dict]]:
    """The run folders whose parameters have the wanted values, as text, with their parameters."""
    names = {name for model in NOTEBOOKS.values() for name in model.model_fields}
    for name in wanted:
        if name not in names:
            raise unknown("parameter", name, names)
    found = []
    for path in sorted(runs_root().glob("*/*/params.json")):
        values = read_json(path)["parameters"]
        if all(_same(values.get(name), text) for name, text in wanted.items()):
            found.append((path.parent, values))
    return found


def _same(value: object, text: str) -> bool:
    """Whether a parameter has the value that a user wrote: 0.1 is 0.10, True is true."""
    if isinstance(value, float):
        try:
            return value == float(text)
        except ValueError:
            return False
    return str(value).lower() == text.lower()


def _short(values: dict) -> str:
    names = ("dataset", "attack", "attack_names", "method", "seed", "seeds")
    return ", ".join(f"{name} {values[name]}" for name in names if name in values)


def _outcome(folder: Path) -> str:
    if state(folder) == "failed":
        return f"; {read_json(folder / 'failure.json')['message']}"
    if state(folder) == "done":
        metrics = read_json(folder / "metrics.json")
        names = (("CA", "clean_accuracy"), ("ASR", "attack_success_rate"))
        return "".join(f", {title} {metrics[name]:.1%}" for title, name in names if name in metrics)
    records = runs.history(folder) if (folder / "history.jsonl").exists() else pd.DataFrame()
    return "" if records.empty else f"; {records['stage'].iloc[-1]} {records['epoch'].iloc[-1]}"
