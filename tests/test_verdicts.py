"""A number is held against the paper's by one rule, and a mean is shown with what its number of seeds can carry."""

from __future__ import annotations

import pytest

from ablkit.metrics.paper import PaperValue, context, lookup
from ablkit.report import verdicts


@pytest.mark.parametrize(
    ("values", "mark", "verdict"),
    [
        ([0.04, 0.05, 0.06], "verified", "reproduced"),
        ([0.02, 0.09, 0.12], "verified", "reproduced"),  # within the range of the seeds
        ([0.00, 0.05, 1.00], "verified", "missed"),  # which holds any number where it is wide
        ([0.00, 0.05, 1.00], "recalled", "differs"),
        ([0.07, 0.08, 0.08], "verified", "close"),
        ([0.5, 0.5, 0.5], "verified", "missed"),
        ([0.04], "verified", "1 of 3 seeds"),
        ([0.04, 0.05, 0.06], "recalled", "agrees"),
        ([0.04], "recalled", "1 of 3 seeds"),
        ([0.5, 0.5, 0.5], "recalled", "differs"),
        ([], "verified", "not run"),
    ],
)
def test_verdicts_follow_the_rule(values, mark, verdict):
    cell = verdicts.verdict("attack_success_rate", values, PaperValue(0.03, mark, "a source"))
    assert cell.markdown == verdict
    # What is from memory is grey, and only a verified number can be missed.
    assert cell.kind == {"missed": "bad", "reproduced": "", "close": ""}.get(verdict, "soft")


def test_without_a_number_of_the_papers_there_is_no_verdict():
    assert verdicts.verdict("attack_success_rate", [0.1] * 3, None).markdown == "no number known"


def test_accuracy_is_judged_more_closely_than_attack_success():
    published = PaperValue(0.86, "verified", "a source")
    found = [
        verdicts.verdict(metric, [0.875] * 3, published).markdown
        for metric in ("clean_accuracy_non_target", "attack_success_rate")
    ]
    assert found == ["close", "reproduced"]


def test_an_interval_is_given_from_five_seeds_on_and_the_range_below():
    four, five = verdicts.over_seeds([0.1, 0.2, 0.3, 0.4]), verdicts.over_seeds([0.1, 0.2, 0.3, 0.4, 0.5])
    assert (four.markdown, four.small) == ("25.0", "10.0 to 40.0")
    assert five.markdown == "30.0" and five.small.startswith("CI ")
    low, high = (float(text) for text in five.small.removeprefix("CI ").split(" to "))
    assert 10 < low < 30 < high < 50


def test_what_was_not_measured_is_left_out_of_a_mean():
    assert verdicts.over_seeds([None, 0.5, float("nan")]).markdown == "50.0"
    assert verdicts.over_seeds([None]).markdown == "-"
    assert verdicts.over_seeds([0.5]).small == ""
    assert verdicts.in_words([0.027, 0.01, 0.059]) == "3.2 % (seeds 1.0 to 5.9)"


def test_the_papers_numbers_come_with_their_mark():
    verified = lookup("attack_success_rate", attack="badnets", method="abl")
    recalled = lookup("attack_success_rate", attack="badnets", method="none")
    assert (str(verified), str(recalled)) == ("3.0 %", "100.0 %*")
    assert lookup("attack_success_rate", attack="badnets", method="abl", dataset="digits") is None


def test_the_authors_second_number_for_a_setting_is_a_target_of_its_own():
    first, later = (
        lookup("clean_accuracy_non_target", attack="badnets", method="abl", item=item)
        for item in ("table1", "later_log")
    )
    assert later.value - first.value > 0.05


def test_other_reproductions_are_named_with_their_recipe():
    table = context()
    assert table.notna().all(axis=None) and table["source"].nunique() >= 3
    assert table["clean_accuracy"].between(0, 100).all() and table["attack_success_rate"].between(0, 100).all()


def test_how_many_runs_there_are_is_the_least_and_the_most_of_those_that_were_made():
    assert [verdicts.counted(3, 3), verdicts.counted(3, 5, 0, 4), verdicts.counted()] == ["3", "3 to 5", "0"]
