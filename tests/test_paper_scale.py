"""Claims about the page of the paper's scale: what it says of runs that the clock stopped, from their table alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ablkit.report.collect import Collection, collect, hardware_of, place_of
from ablkit.report.page import Table, Text
from ablkit.report.pages import first_looks

DATA = Path(__file__).parents[1] / "reports" / "data"


@pytest.fixture(scope="module")
def whole() -> Collection:
    return collect(DATA)


def told(whole: Collection, folder, change=lambda table: table) -> tuple[str, Table]:
    """The sentence and the table of the stopped runs, after a change of their numbers."""
    shutil.copy(DATA / "gpu-unfinished-epochs.csv", folder)
    table = pd.read_csv(DATA / "gpu-unfinished.csv")
    change(table).to_csv(folder / "gpu-unfinished.csv", index=False)
    _, text, rows = first_looks._unfinished(replace(whole, folder=folder))
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


def test_two_attacks_of_one_seed_that_left_the_same_images_have_the_same_losses(whole, tmp_path):
    text, _ = told(whole, tmp_path)
    assert "the same after 193 of 193 epochs" in text and "the same images were left out of both" in text
    # The twin: BadNets of one seed beside Blend of another.
    other = {("blend", 0): 2, ("blend", 2): 0}
    swapped, _ = told(
        whole,
        tmp_path,
        lambda table: table.assign(
            seed=[other.get(one, one[1]) for one in zip(table["attack"], table["seed"], strict=True)]
        ),
    )
    assert "left out of both" not in swapped and "193 of" not in swapped


def test_gpus_of_two_kinds_are_one_scale_and_both_are_named(whole):
    (full,) = whole.full
    assert all(name in hardware_of(full.runs) for name in ("H100", "H200"))
    gpu = {"env_device": "cuda", "env_gpu": "NVIDIA H100", "env_precision": "bf16"}
    assert place_of(pd.Series(gpu)) == place_of(pd.Series(gpu | {"env_gpu": "another"})) == "GPU, bf16"
    assert place_of(pd.Series(gpu | {"env_device": "cpu"})) == "CPU, bf16"  # the twin


def test_without_such_runs_nothing_is_said(whole, tmp_path):
    assert first_looks._unfinished(replace(whole, folder=tmp_path)) == []
    shutil.copy(DATA / "gpu-unfinished.csv", tmp_path)
    assert first_looks._unfinished(replace(whole, folder=tmp_path))
