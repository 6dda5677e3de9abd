"""The table of all images: file, label, suspicion, and what two models take each image for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ablkit.cleaning.verdict import Judged, Verdict
from ablkit.data.prepared import Files
from ablkit.files import inert, write_text

COLUMNS = ("split", "number", "file", "label", "is_suspected", "suspicion", "taken_for_before", "taken_for")
"""Of the table."""


def table(verdict: Verdict, files: Files | None) -> pd.DataFrame:
    """A row an image, training images first; `number` counts from 0 in its split.

    Args:
        files: of each image; None where the set was made of arrays.
    """
    return pd.concat([_of("train", verdict.train, files), _of("test", verdict.test, files)], ignore_index=True)


def write(path: Path, rows: pd.DataFrame) -> None:
    """Write the table as CSV, in which no name of a file or class is a formula."""
    texts = {name: rows[name].map(inert) for name in ("file", "label", "taken_for_before", "taken_for")}
    write_text(path, rows.assign(**texts).to_csv(index=False))


def _of(split: str, judged: Judged, files: Files | None) -> pd.DataFrame:
    names = np.array(judged.data.classes, dtype=object)
    values = (
        split,
        np.arange(len(judged.data)),
        "" if files is None else [_escaped(name) for name in getattr(files, split)],
        names[judged.data.labels],
        judged.is_suspected,
        np.round(judged.suspicion, 4),
        names[judged.first],
        names[judged.last],
    )
    return pd.DataFrame(dict(zip(COLUMNS, values, strict=True)))


def _escaped(name: str) -> str:
    """A file's name with the bytes escaped that are no UTF-8, as `\\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
