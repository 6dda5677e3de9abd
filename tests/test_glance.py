"""At a glance: three ways of training on the same poisoned sets, beside training on clean data."""

from __future__ import annotations

import pandas as pd
import pytest
from test_clean_models import USUAL, compared

from ablkit.report.findings.beside import beside
from ablkit.report.page import Table
from ablkit.report.pages import glance


def at_a_glance(frame: pd.DataFrame) -> Table | None:
    return glance.table(beside(frame))


def texts(table: Table) -> dict[str, list[str]]:
    """The numbers of each row by its name."""
    return {row[0]: [cell if isinstance(cell, str) else cell.markdown for cell in row[1:]] for row in table.rows}


def test_each_way_of_training_has_its_means():
    table = at_a_glance(compared())
    assert texts(table) == {
        "undefended": ["0 of 6", "0 of 2", "0 of 6", "100.0", "78.0", "80.0"],
        "with ABL": ["6 of 6", "2 of 2", "6 of 6", "1.0", "60.0", "20.0"],
        "without the suspects": ["6 of 6", "2 of 2", "6 of 6", "2.0", "77.0", "78.0"],
        "on clean data": ["-", "-", "-", "2.0", "78.0", "80.0"],
    }
    assert "The same 6 poisoned sets in each row but the last: 2 attacks, seeds 0, 1 and 2." in table.note
    assert "tried with BadNets." in table.note and "CI" not in table.note
    assert "95 % BCa interval" in at_a_glance(compared(seeds=5)).note


def test_one_seed_on_which_a_backdoor_stays_counts_for_its_attack():
    frame = compared()
    one = (frame["attack"] == "sig") & (frame["method"] == "exclude") & (frame["seed"] == 1)
    frame.loc[one, "attack_success_rate"] = 0.32
    found = texts(at_a_glance(frame))
    assert found["without the suspects"][:4] == ["5 of 6", "1 of 2", "5 of 6", "7.0"]
    assert found["with ABL"][:2] == ["6 of 6", "2 of 2"]  # the twin


@pytest.mark.parametrize(
    ("metric", "value", "least"), [("clean_accuracy", 0.48, 0.49), ("target_class_accuracy", 0.09, 0.1)]
)
def test_a_model_that_is_of_no_use_has_no_backdoor_and_is_no_success(metric, value, least):
    frame = compared()
    one = (frame["attack"] == "sig") & (frame["method"] == "abl") & (frame["seed"] == 1)
    frame.loc[one, metric] = value
    assert texts(at_a_glance(frame))["with ABL"][:3] == ["6 of 6", "2 of 2", "5 of 6"]
    frame.loc[one, metric] = least  # the twin
    assert texts(at_a_glance(frame))["with ABL"][:3] == ["6 of 6", "2 of 2", "6 of 6"]


@pytest.mark.parametrize("method", ["none", "abl", "exclude"])
def test_a_set_that_one_way_lacks_counts_for_none(method):
    frame = compared(("badnets", "sig", "blend"))
    lacks = (frame["attack"] == "sig") & (frame["method"] == method)
    frame.loc[frame["attack"] == "sig", ["clean_accuracy", "target_class_accuracy"]] = 0.1
    assert texts(at_a_glance(frame[~lacks])) == texts(at_a_glance(compared(("badnets", "blend"))))
    assert texts(at_a_glance(frame)) != texts(at_a_glance(compared(("badnets", "blend"))))  # the twin


@pytest.mark.parametrize("method", USUAL)
def test_without_one_of_the_ways_there_is_no_table(method):
    frame = compared()
    assert at_a_glance(frame[frame["method"] != method]) is None
