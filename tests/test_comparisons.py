"""The notebooks that compare methods, run through papermill at the smallest size."""

from __future__ import annotations

import json

import nbformat
import pandas as pd
import pytest

from ablkit import execute
from ablkit.parameters import check, defaults


@pytest.mark.parametrize(
    ("name", "methods", "others"),
    [("defenses", "repairs oracle", 0), ("unlearning", "pixel_noise gradient_ascent", 1)],
)
def test_a_comparison_runs_what_it_needs_and_shows_each_method(folders, name, methods, others):
    values = defaults(name, "smoke") | {"method_names": methods, "train_size": 300, "isolation_rate": 0.05}
    folder = execute.execute(name, check(name, values)).folder
    numbers = pd.read_csv(folder / "figures" / "methods.csv")
    expected = ["none", *methods.replace("repairs", "fine_pruning mcr nad").split()]
    assert numbers["method"].tolist() == expected
    # Beside those that are compared: the run that the ways start from, ABL before its unlearning.
    assert len(list(folders.glob("run/*/metrics.json"))) == len(expected) + others
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(0 <= metrics[f"clean_accuracy_badnets_{method}"] <= 1 for method in expected)
    assert metrics["defense_effectiveness_badnets_none"] is None
    shown = str(nbformat.read(folder / "notebook.ipynb", as_version=4))
    assert "paper, ASR" in shown and "defense effectiveness" in shown
    assert (folder / "figures" / "connectivity.png").exists() == (name == "defenses")
