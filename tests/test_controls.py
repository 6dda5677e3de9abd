"""Training without the suspects beside its controls, paired by seed."""

from __future__ import annotations

import pandas as pd
import pytest
from test_clean_models import compared

from ablkit.report.findings.beside import beside
from ablkit.report.page import Table
from ablkit.report.pages import controls


def test_it_is_said_how_many_runs_each_control_stands_beside():
    told = controls._beside_how_many(beside(compared(retrain=(0.9, 0.7, 0.7))))
    assert "Of 6 runs" in told and "ABL 6, without the isolated 6, by chance 0" in told
    assert "the accuracy of clean data 6 and its attack success 3" in told
    assert "ABL 0, without the isolated 0" in controls._beside_how_many(beside(compared(abl=(None, 0.7, 0.7))))


def test_a_difference_that_fewer_runs_have_says_on_how_many():
    row = controls._difference(beside(compared(seeds=5)), "oracle")
    assert row[1:3] == ("2 of 2", "5 of 5")
    # Trained on clean data was measured with the trigger of the first attack alone.
    assert row[3].small.endswith("; 1 attack, 5 seeds") and "attack" not in row[4].small


@pytest.mark.parametrize("seeds", [4, 5])
def test_attacks_with_enough_seeds_have_a_row_with_an_interval_of_their_own(seeds):
    frame = compared(("badnets", "sig", "blend"), seeds=seeds, abl=(0.3, 0.6, 0.4))
    few = frame[(frame["attack"] == "badnets") | (frame["seed"] < 3) | (frame["method"] != "abl")]
    table = [block for block in controls.blocks(beside(few)) if isinstance(block, Table)][1]
    rows = {row[0]: row for row in table.rows}
    assert rows["ABL"][1:3] == ("3 of 3", f"3 of {seeds}") and "CI" not in rows["ABL"][3].small
    assert ("ABL, BadNets alone" in rows) == (seeds == 5)  # the twin: four seeds make no interval
    if seeds == 5:
        assert rows["ABL, BadNets alone"][1:3] == ("1 of 3", "5 of 5") and "CI" in rows["ABL, BadNets alone"][3].small
    assert "trained on clean data, BadNets alone" not in rows


def test_it_says_how_many_classes_are_suspected():
    assert controls._classes(pd.DataFrame({"method_suspected_classes": [1.0, 4.0]})) == "1 to 4"
    assert controls._classes(pd.DataFrame({"method_suspected_classes": [1.0, 1.0]})) == "1"
    assert controls._classes(pd.DataFrame({"seed": [0]})) == "-"
