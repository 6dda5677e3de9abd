"""Looking through the runs on the disk: listing, showing, clearing away, exporting."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ablkit.errors import UserError, shortened, shown, unknown
from ablkit.files import Busy, inert, locked, write_whole
from ablkit.paths import runs_root
from ablkit.runs import bundle, records, seals
from ablkit.runs.folder import load
from ablkit.runs.parameters import NOTEBOOKS, nearest

_LONGEST = 400
"""Characters of a line about a run: its records may come from anybody."""


def show_all(wanted: dict[str, str], only: str | None = None) -> None:
    """Print a line for each run whose parameters have the `wanted` values and which is in the state `only`."""
    found = [one for one in _runs(wanted) if only in (None, records.state(one[0]))]
    for folder, values, outcome in found:
        print(
            shortened(
                f"{folder.name}  {records.state(folder):<11}{folder.parent.name}: {_short(folder, values)}{outcome}",
                _LONGEST,
            )
        )
    print(f"{len(found)} runs in {runs_root()}")


def find(key: str) -> Path:
    """The folder of the one run whose key begins with `key`; raises UserError for none or several."""
    found = [folder for folder in records.folders() if key and folder.name.startswith(key)]
    if len(found) != 1:
        names = ", ".join(folder.name for folder in found[:10]) + (", ..." if found[10:] else "")
        way_out = f": {names}; write more of it" if found else "; `ablkit runs` lists them"
        raise UserError(f"{shown(key)} begins {len(found)} runs{way_out}")
    return found[0]


def show(key: str) -> None:
    """Print all that can be read of the one run whose key begins with `key`, and which of its files are damaged.

    Raises UserError for none or several.
    """
    folder = find(key)
    print(f"{folder}: {records.state(folder)}")
    for name, read in _FILES.items():
        # That of a run which was started has been written first.
        if not os.path.lexists(folder / name) and name != "params.json":
            continue
        try:
            values = read(folder) or {}
        except records.Damaged as error:
            print(f"{error.path.name} {error.reason}")
            continue
        print(name)
        for entry, value in values.items():
            text = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
            print(f"  {shortened(entry):<36} {shortened(text, _LONGEST)}")


_FILES: dict[str, Callable[[Path], dict | None]] = {
    "params.json": records.parameters,
    "env.json": records.environment,
    "metrics.json": records.metrics,
    "failure.json": records.failure,
    "files.json": seals.check_sealed,
    "left_out.json": seals.left_out,
}


def finished(keys: list[str]) -> tuple[list[Path], int]:
    """The finished runs of these keys, by default all here; and how many of them are damaged.

    Damaged ones are named in one warning. Raises UserError for a key of no finished run.
    """
    if keys:
        found = [find(key) for key in keys]
        for folder in found:
            if (state := records.state(folder)) not in ("done", "damaged"):  # of these `bundle.check` says more
                raise UserError(f"{folder.name} is {state}; only finished runs are bundled")
        if len(found) == 1:
            bundle.check(found[0])  # there is no other one that could be bundled without it
        return _whole(found)
    return _whole(records.folders(None, "metrics.json"))


def _whole(folders: list[Path]) -> tuple[list[Path], int]:
    """Those that can be bundled, and how many cannot: these are named in one warning."""
    whole = records.readable(folders, lambda folder: bundle.check(folder) or folder)
    return whole, len(folders) - len(whole)


def delete_failed(wanted: dict[str, str]) -> None:
    """Delete the folders of failed runs with the `wanted` values, but those that a process has in hand."""
    deleted = 0
    for folder, values, _ in _runs(wanted):
        if records.state(folder) != "failed":
            continue
        try:
            with locked(folder):
                if records.state(folder) != "failed":
                    continue  # another process has run it since it was listed
                shutil.rmtree(folder)
        except Busy:
            print(f"left {folder}: another process has it in hand")
            continue
        except OSError as error:
            raise UserError(f"{folder} cannot be deleted ({error.strerror}); make it writable") from None
        deleted += 1
        print(shortened(f"deleted {folder}: {_short(folder, values)}", _LONGEST))
    print(f"{deleted} failed runs deleted")


def making_costs() -> dict[str, str]:
    """Attack -> what finished runs say that it takes to make it, with its default settings, on the largest set."""
    costs, known = {}, {}
    for run in load("run").to_dict("records"):
        took, images = run.get("poisoning_seconds"), run.get("training_images")
        if run.get("attack_settings") == "" and run.get("released") is False and pd.notna(took) and pd.notna(images):
            known.setdefault(run.get("attack"), []).append((images, took))
    for name, own in known.items():
        largest = max(images for images, _ in own)
        seconds = [took for images, took in own if images == largest]
        costs[name] = (
            f"{statistics.median(seconds):.0f} s to make on {largest:,.0f} images (median of {len(seconds)} runs here)"
        )
        if not any(seconds):
            costs[name] = "nothing to train or optimise"
    return costs


def export(notebook: str, to: Path) -> list[Path]:
    """Write the finished runs of a notebook as `to`.csv and `to`.parquet; return both paths.

    Raises UserError for an unknown notebook, where no run is done, and where a metric of the user's own is not always
    of one kind.
    """
    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    frame = load(notebook)
    if frame.empty:
        raise UserError(f"no finished run of {notebook} in {runs_root()}; run `ablkit sweep` or `ablkit run` first")
    frame = frame.drop(columns="folder")
    paths = [to.with_name(f"{to.name}.{ending}") for ending in ("csv", "parquet")]
    for column in frame.columns:
        kinds = {str if isinstance(value, str) else type(value) for value in frame[column].dropna()}
        if len(kinds) > 1 and kinds & {str, bool}:
            raise UserError(
                f"{shown(column)} is a number in some runs of {notebook} and none in others; move these to another"
                " folder of runs"
            )
    write_whole(paths[0], lambda path: frame.map(inert).to_csv(path, index=False))
    write_whole(paths[1], lambda path: frame.to_parquet(path, index=False))
    return paths


def _runs(wanted: dict[str, str]) -> list[tuple[Path, dict, str]]:
    """The runs whose parameters have the wanted values, as text: folder, parameters, and what came out.

    Damaged ones are left out, and named in one warning.
    """
    names = {name for model in NOTEBOOKS.values() for name in model.model_fields}
    for name in wanted:
        if name not in names:
            raise unknown("parameter", name, names)
    found = records.readable(records.folders(), lambda folder: (folder, records.parameters(folder), _outcome(folder)))
    return [one for one in found if all(_same(one[1].get(name), text) for name, text in wanted.items())]


def _same(value: object, text: str) -> bool:
    """Whether a parameter has the value that a user wrote: 0.1 is 0.10, True is true."""
    if isinstance(value, float):
        try:
            return value == float(text)
        except ValueError:
            return False
    return str(value).lower() == text.lower()


def _short(folder: Path, values: dict) -> str:
    """The parameters that are always named, then what differs from the nearest preset."""
    names = ("dataset", "attack", "attack_names", "method", "seed", "seeds", "preset", "changes")
    notebook = folder.parent.name
    preset, others = nearest(notebook, values) if notebook in NOTEBOOKS else ("quick", {})
    told = {name: values[name] for name in names if values.get(name, "") != ""}
    told |= ({"preset": preset} if preset != "quick" else {}) | others
    return ", ".join(f"{name} {value}" for name, value in told.items())


def _outcome(folder: Path) -> str:
    state = records.state(folder)
    if state == "failed":
        return f"; {records.failure(folder)['message']}"
    if state in ("done", "damaged"):  # for a damaged one this raises what is wrong with it
        metrics = records.metrics(folder)
        names = (("CA", "clean_accuracy"), ("ASR", "attack_success_rate"))
        shares = [(title, metrics[name]) for title, name in names if name in metrics]
        return "".join(f", {title} {'-' if share is None else f'{share:.1%}'}" for title, share in shares)
    if not os.path.lexists(folder / "history.jsonl"):
        return ""
    last = records.history(folder)[-1]
    return f"; {last['stage']} {last['epoch']}"
