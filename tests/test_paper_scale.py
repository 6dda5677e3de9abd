"""Claims about the page of the paper's scale: what it says of runs that the clock stopped, from their table alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ablkit.report.collect import Collection, collect
from ablkit.report.page import Table, Text
from ablkit.report.pages import paper_scale

DATA = Path(__file__).parents[1] / "reports" / "data"


@pytest.fixture(scope="module")
def whole() -> Collection:
    return collect(DATA)


def told(whole: Collection, folder, change=lambda table: table) -> tuple[str, Table]:
    """The sentence and the table of the stopped runs, after a change of their numbers."""
    table = pd.read_csv(DATA / "gpu-unfinished.csv")
    change(table).to_csv(folder / "gpu-unfinished.csv", index=False)
    _, text, rows = paper_scale._unfinished(replace(whole, folder=folder))
    assert isinstance(text, Text) and isinstance(rows, Table)
    return text.markdown, rows


def test_stopped_runs_are_called_no_results_and_none_of_them_counts(whole, tmp_path):
    text, rows = told(whole, tmp_path)
    table = pd.read_csv(DATA / "gpu-unfinished.csv")
    assert "is a result" in text and len(rows.rows) == len(table)
    assert not set(table["key"]) & set(whole.runs["key"])


def test_what_the_first_look_missed_is_said(whole, tmp_path):
    text, _ = told(whole, tmp_path)
    assert "it saw nothing in SIG, seed 1 and SIG, seed 2" in text
    found, _ = told(whole, tmp_path, lambda table: table.assign(left_out_images=table["poisoned_images"]))
    assert "it saw nothing" not in found


def test_without_such_runs_nothing_is_said(whole, tmp_path):
    assert paper_scale._unfinished(replace(whole, folder=tmp_path)) == []
    shutil.copy(DATA / "gpu-unfinished.csv", tmp_path)
    assert paper_scale._unfinished(replace(whole, folder=tmp_path))
