"""What the stages of methods take: from histories, beside undefended training, in the table and the figure."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from ablkit.metrics import summary
from ablkit.report import stages
from ablkit.runs import comparisons, execute, records
from ablkit.runs.parameters import changed, check

TAKEN = {"none": (("isolate", 2.0), ("finetune", 8.0)), "abl": (("isolate", 4.0), ("unlearn", 11.0))}


def history(method: str) -> list[dict]:
    """Two epochs of each stage, half of its seconds each, and as much again for measuring."""
    return [
        {"stage": stage, "epoch": epoch, "seconds": seconds / 2, "evaluation_seconds": seconds / 2}
        for stage, seconds in TAKEN[method]
        for epoch in (1, 2)
    ]


def frame(**more: float) -> pd.DataFrame:
    parts = [summary.stages(history(name), attack="sig", method=name, seed=seed) for name in TAKEN for seed in (0, 1)]
    return pd.concat(parts, ignore_index=True).assign(mib=500.0, **more)


def test_seconds_and_epochs_of_a_stage_add_up():
    own = summary.stages(history("abl"), method="abl")
    assert own["stage"].tolist() == ["isolate", "unlearn"] and own["epochs"].tolist() == [2, 2]
    assert own["seconds"].tolist() == own["measuring"].tolist() == [4.0, 11.0]
    # The twin: what was not recorded counts as nothing, and its method has no place in what follows.
    unknown = summary.stages([{"stage": "isolate", "epoch": 1}], method="abl")
    assert unknown["seconds"].tolist() == [0.0]


def test_a_method_is_held_against_the_undefended_training_of_its_attack_and_seed():
    assert stages.ratios(frame())["abl"].mean == pytest.approx(1.5)
    assert "ABL 1.50 times (n = 2)" in stages.said(frame())
    other = frame()
    assert stages.said(other[other["method"] == "abl"]).startswith("Not known yet")
    assert stages.said(frame(seconds=0.0)).startswith("Not known yet")


def test_the_table_has_a_row_a_stage_and_the_figure_a_dot_a_run():
    table = stages.table(frame())
    assert table["of the method"].tolist() == ["20%", "80%", "27%", "73%"]
    assert table["stage"].tolist() == ["phase 1", "fine-tuning", "phase 1", "unlearning"]
    figure = stages.drawn(frame())
    assert [len(dots.get_offsets()) for dots in figure.axes[0].collections] == [2, 2]
    plt.close(figure)


def test_the_costs_of_runs_are_read_from_their_folders_and_one_that_cannot_be_had_is_said(monkeypatch, capsys):
    def need(notebook: str, wanted: object) -> str:
        if wanted.method == "nad":
            raise execute.NotRunError("there is no network")
        return wanted.method

    monkeypatch.setattr(execute, "need", need)
    monkeypatch.setattr(records, "history", history)
    monkeypatch.setattr(records, "environment", lambda folder: {"peak_memory_bytes": 2**21})
    wanted = check("cost", changed("cost", "quick", {"method_names": "abl nad", "seeds": "0"}))
    found = comparisons.costs(wanted)
    assert set(found["method"]) == {"none", "abl"} and (found["mib"] == 2.0).all()
    assert "there is no network" in capsys.readouterr().out
    assert summary.of_cost(found) == {
        "seconds_badnets_none": 10.0,
        "mib_badnets_none": 2.0,
        "seconds_badnets_abl": 15.0,
        "mib_badnets_abl": 2.0,
    }
