"""The committed numbers of runs, in `reports/data`: what pages are made of without any run, in every clone."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from ablkit.errors import UserError
from ablkit.files import read_json, write_json, write_text
from ablkit.runs import records, seals
from ablkit.runs.records import Damaged

TABLE = "runs.csv"
"""All runs of a folder: key, parameters, metrics and environment, one a row."""
_DIGITS = "%.6g"
"""How histories are written: six digits, of which figures show three."""


def add(run: Path, data: Path) -> Path:
    """Take a finished run into a folder of committed numbers; return its folder there.

    `KEY/{params,env,metrics}.json` are the run's own, `KEY/history.csv` has a line for each epoch. No weights, pictures
    or losses of single images: they are a hundred times as large. Raises Damaged for a run that is not whole.
    """
    seals.check_sealed(run)
    records.parameters(run)
    folder = data / run.name
    for name in ("params", "env", "metrics"):
        write_json(folder / f"{name}.json", read_json(run / f"{name}.json"))
    history = pd.DataFrame(records.history(run))
    write_text(folder / "history.csv", history.to_csv(index=False, float_format=_DIGITS))
    table = load(data)
    write_text(data / TABLE, table.drop(columns="folder").to_csv(index=False, float_format=_DIGITS))
    return folder


def load(data: Path) -> pd.DataFrame:
    """The runs of a folder of committed numbers, one a row by key: parameters, metrics, environment and folder.

    Raises UserError without any run, and Damaged for one that cannot be read.
    """
    folders = sorted(path.parent for path in data.glob("*/metrics.json"))
    if not folders:
        raise UserError(f"{data} holds no numbers of runs; `ablkit report --from {data} --add KEY` takes one in")
    return pd.DataFrame(
        {
            "key": folder.name,
            **records.parameters(folder),
            **records.metrics(folder),
            **{f"env_{name}": value for name, value in records.environment(folder).items()},
            "folder": folder,
        }
        for folder in folders
    )


def history(folder: Path) -> pd.DataFrame:
    """The epochs of a committed run; raises Damaged."""
    path = folder / "history.csv"
    try:
        return pd.read_csv(io.StringIO(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise Damaged(path, f"cannot be read ({' '.join(str(error).split())[:100]})") from None
