"""The committed numbers of runs, in `reports/data`: all that pages are made of, in every clone and without any run."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pandas as pd

from ablkit import paths
from ablkit.attacks import ATTACKS
from ablkit.data import prepared
from ablkit.errors import UserError, shown
from ablkit.files import inert, write_bytes, write_json, write_text
from ablkit.runs import records, seals
from ablkit.runs.parameters import PRESETS, defaults
from ablkit.runs.records import Damaged

TABLE = "runs.csv"
"""All runs of a folder: key, parameters, metrics and environment, one a row."""
PICTURES = ("isolated-images.png", "poisoned-images-strip.png")
"""The pictures that join the numbers of a run of ABL: strips of images at native size."""
ARRAYS = ("losses.npy", "poisoned.npy")
"""The loss of every training image at the turning epoch, and which of them are poisoned."""
EPOCH = ("clean_accuracy", "target_class_accuracy", "attack_success_rate", "isolation_precision")
EPOCH += ("clean_loss", "poisoned_loss")
"""What pages show of an epoch."""
OF_A_RUN = ("params.json", "env.json", "metrics.json", "history.csv", *ARRAYS, *PICTURES)
"""All that the folder of a committed run may hold."""
BESIDE = (TABLE, "bench.json", "trust.json", "profile.txt", "suspects.csv", "discarded.csv", "gpu-speed.csv")
BESIDE += ("gpu-unfinished.csv", "gpu-unfinished-epochs.csv", "judged-again.csv")
"""The files beside the runs that pages are made of, or that the benchmarks write there."""
_VARIED = ("gamma", "isolation_rate", "isolation_epochs", "target")
"""What whole notebooks or sweeps vary, as they do the poisoning rate: of such runs the numbers are enough."""
LARGEST = 100_000
"""Bytes of an array or picture that is taken in: at the paper's scale losses are twice as large."""
_OF_A_SITE = "· ablkit</title>"
"""What the first page of every site has."""
_PNG = b"\x89PNG\r\n\x1a\n"
_DIGITS = "%.6g"
"""How histories are written: six digits, of which figures show three."""


def add(run: Path, data: Path) -> tuple[Path, list[str]]:
    """Take a finished run into a folder of committed numbers; return its folder there, and what is too large for it.

    `KEY/{params,env,metrics}.json` are the run's own, `KEY/history.csv` has a line for each epoch. Of ABL's runs arrays
    and pictures come along up to LARGEST bytes, but not where only the momentum is a fresh one, as phase 1 is the same,
    not of phase 1 alone, whose history is what is looked at, and not where a setting or the poisoning rate is varied.
    Weights never do. Raises Damaged for a run that is not whole.
    """
    seals.check_sealed(run)
    folder, left_out, kept = data / run.name, [], {}
    files = [*(run / name for name in ARRAYS), *(run / "figures" / name for name in PICTURES)]
    parameters = records.parameters(run)
    for path in files if _brings_pictures(parameters) else ():
        if not path.is_file() or path.is_symlink():
            continue
        if path.stat().st_size > LARGEST:
            left_out.append(path.name)
            continue
        kept[path.name] = path.read_bytes()
        if path.suffix == ".png" and not kept[path.name].startswith(_PNG):
            raise Damaged(path, "is no PNG")
    own = {name: records.an_object(run / f"{name}.json") for name in ("params", "env")}
    metrics = records.metrics(run)
    own["env"] = records.environment(run) | {
        "folder_bytes": sum(f.stat().st_size for f in run.rglob("*") if f.is_file())
    }
    history = pd.DataFrame(records.history(run))
    for name, content in own.items():
        write_json(folder / f"{name}.json", content)
    write_text(folder / "history.csv", history.to_csv(index=False, float_format=_DIGITS))
    for name, content in kept.items():
        write_bytes(folder / name, content)
    write_json(folder / "metrics.json", metrics)  # with it the folder counts as a run
    return folder, left_out


def _brings_pictures(parameters: dict) -> bool:
    carries = parameters.get("carry_momentum", True)
    whole = parameters.get("method") == "abl" and carries and bool(parameters.get("finetune_epochs", 1))
    known = ATTACKS.get(parameters.get("attack", ""))
    is_varied = known and parameters.get("poison_rate") not in (known.quick_rate, defaults("run")["poison_rate"])
    return (
        whole
        and not is_varied
        and any(
            all(parameters.get(name, own[name]) == own[name] for name in _VARIED)
            for own in (defaults("run", preset) for preset in PRESETS)
        )
    )


def write_table(data: Path) -> None:
    """Write the table of all runs of a folder, from their own files; nothing without any."""
    table = load(data).drop(columns="folder")
    if table.empty:
        return
    write_text(data / TABLE, table.map(inert).to_csv(index=False, float_format=_DIGITS))


def load(data: Path) -> pd.DataFrame:
    """The runs of a folder of committed numbers, one a row by key: parameters, metrics, environment and folder.

    Environment has `env_` before its names. Empty, with these columns alone, for a folder without any; raises Damaged
    for a run that cannot be read.
    """
    folders = sorted(path.parent for path in data.glob("*/metrics.json"))
    rows = [
        {
            "key": folder.name,
            **records.parameters(folder),
            **records.metrics(folder),
            **{f"env_{name}": value for name, value in records.environment(folder).items()},
            "folder": folder,
        }
        for folder in folders
    ]
    return pd.DataFrame(rows, columns=None if rows else ["key", "folder"])


def as_objects(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with Python's strings: pages take single cells and small parts, which Arrow's make twice as slow."""
    texts = [name for name, kind in frame.dtypes.items() if isinstance(kind, pd.StringDtype)]
    return frame.astype(dict.fromkeys(texts, object)) if texts else frame


def history(folder: Path) -> pd.DataFrame:
    """The epochs of a committed run; an empty frame where they were not kept. Raises Damaged.

    What was not measured is nan: each of EPOCH is a column.
    """
    path = folder / "history.csv"
    frame = (
        table(path, stage=object)  # at once: to change it afterwards takes as long again
        if path.exists()
        else pd.DataFrame({"stage": pd.Series(dtype=str), "epoch": pd.Series(dtype=int)})
    )
    if not {"stage", "epoch"} <= set(frame):
        raise Damaged(path, "has no column stage or epoch")
    return frame.assign(**{name: float("nan") for name in EPOCH if name not in frame})


def table(path: Path, **types: type) -> pd.DataFrame:
    """A committed table; an empty frame where there is none. Raises Damaged."""
    if not path.exists():
        return pd.DataFrame()
    try:
        return as_objects(pd.read_csv(io.StringIO(path.read_text(encoding="utf-8")), dtype=types or None))
    except (OSError, ValueError) as error:
        raise Damaged(path, f"cannot be read ({' '.join(str(error).split())[:100]})") from None


def check(data: Path, to: Path) -> None:
    """Raise UserError where a folder of numbers holds links, or where its copy in `to` would lie within it.

    Through a link any file of this machine would join the pages. Raises it, too, where `to/data` cannot be replaced by
    a copy, as it holds something else than an earlier one, or is where data sets are kept.
    """
    linked = next((path for path in sorted(data.rglob("*")) if path.is_symlink()), None)
    if linked is not None:
        raise UserError(f"{linked} is a link; put the file itself there, or remove the link")
    check_no_others(to)
    own = to / "data"
    if os.path.realpath(own).startswith(os.path.realpath(data) + os.sep):
        raise UserError(f"--to {to} lies within {data}; give a folder outside of the numbers")
    if os.path.realpath(own) == os.path.realpath(data):
        return
    check_no_data_root(to)
    if own.is_symlink() or (own.exists() and not own.is_dir()):
        raise UserError(f"{own} is no folder, and the pages' numbers go there; give another --to")
    for path in sorted(own.rglob("*")):
        name = path.relative_to(own)
        if path.is_symlink() or not (_is_of_a_site(path, own) or (data / name).is_file() or path.is_dir()):
            raise UserError(f"{own} would be replaced, and {shown(str(name))} in it is of no site; give another --to")


def check_no_others(to: Path) -> None:
    """Raise UserError where the first pages of a site would replace files that are of none."""
    there = next((to / name for name in ("index.html", "README.md") if os.path.lexists(to / name)), None)
    if there is None:
        return
    try:
        is_own = _OF_A_SITE in (to / "index.html").read_text(encoding="utf-8")
    except (OSError, ValueError):
        is_own = False
    if not is_own:
        raise UserError(f"{there} is of no site of ablkit, and would be replaced; name another folder with --to")


def check_no_data_root(to: Path) -> None:
    """Raise UserError where the numbers of the pages in `to` would lie among the prepared data sets."""
    if os.path.realpath(to / "data") == os.path.realpath(paths.data_root()):
        raise UserError(f"{to / 'data'} is where data sets are kept, so no pages' numbers go there; give another --to")


def _is_of_a_site(path: Path, own: Path) -> bool:
    """Whether a file is one that a folder of numbers holds: a table beside its runs, or a file of a run's folder."""
    if path.parent == own:
        return path.name in BESIDE
    return path.parent.parent == own and path.name in OF_A_RUN and (path.parent / "metrics.json").is_file()


def copy(data: Path, to: Path) -> Path:
    """The folder of numbers beside the pages, which link to it: `data` itself, or a fresh copy in `to`; see `check`.

    The copy is whole before it takes the place of an earlier one.
    """
    own = to / "data"
    if os.path.realpath(own) != os.path.realpath(data):
        with prepared.beside(own) as temporary:
            shutil.copytree(data, temporary / "new")
            if own.exists():
                os.rename(own, temporary / "old")
            os.rename(temporary / "new", own)
    return own
