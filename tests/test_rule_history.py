"""What is said of how the rule of training without the suspects came about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_clean_models import compared

from ablkit.exclusion import rule
from ablkit.report import findings
from ablkit.report.findings import rule as history
from ablkit.report.findings.beside import beside
from ablkit.report.findings.rule import of_earlier_rule


def test_seeds_that_a_rule_had_not_met_stand_apart_from_those_it_was_changed_on():
    own = beside(compared(seeds=5)).assign(method_rule=history.UNSEEN_BY)
    own.loc[(own["attack"] == "sig") & (own["seed"] == 4), "attack_success_rate"] = 0.5
    told = history.on_unseen(own)
    first = "Rule 7 met the poisoned sets of seeds 3 and 4 here for the first time:"
    assert told.startswith(f"{first} there the backdoor is gone on 3 of 4 runs (on every seed")
    assert "undefended training" not in told
    own.loc[(own["attack"] == "sig") & (own["seed"] == 3), "attack_success_rate_none"] = None
    assert history.on_unseen(own).endswith("; undefended training was run on 3 of these 4 sets.")
    assert "Rule 7 met the poisoned sets of seed 3 here" in history.on_unseen(own[own["seed"] < 4])
    # The twins: of seeds that it was changed on, of a later rule and of an earlier one.
    later, before = (own.assign(method_rule=history.UNSEEN_BY + step) for step in (1, -1))
    for seen in (own[own["seed"] < 3], later, before):
        assert history.on_unseen(seen) == "None of these runs is of a seed that its rule had not met."


@pytest.mark.parametrize(
    ("moved", "met"),
    [
        (7, "met the poisoned sets of seeds 7, 8 and 9 here for the first time: there"),
        (100, "that its rule had not met."),
    ],
)
def test_seeds_of_a_users_own_are_none_that_the_rule_was_changed_on(moved, met):
    own = beside(compared()).assign(method_rule=rule.RULE)
    told = history.of_its_making(own.assign(seed=own["seed"] + moved))
    assert "had been seen" in told and met in told


def test_it_is_said_by_which_rule_runs_are_and_what_todays_says_of_them():
    own = beside(compared()).assign(method_rule=history.LESS_STRICT, method_excluded_images=5.0, is_judged_alike=False)
    first = own.index == own.index[0]
    told = history.of_its_making(own)
    assert (
        "These runs are by rule 7." in told
        and f"Of {len(own)} runs today's rule 8 was not tried on {len(own)}." in told
    )
    some = history.of_its_making(own.assign(is_judged_alike=first))
    assert f"today's rule 8 says the same of 1 (1 judged again) and was not tried on {len(own) - 1}." in some
    assert history.of_its_making(own.assign(is_judged_alike=True)).count("says the same of 6 (6 judged again).") == 1
    mixed = own.assign(method_rule=[rule.RULE if one else 7 for one in first])
    assert "These runs are by rules 7 and 8." in history.of_its_making(mixed)
    # The twins: all are by today's rule, and none says by which.
    assert "today's" not in history.of_its_making(own.assign(method_rule=rule.RULE))
    assert "These runs are by" not in history.of_its_making(own.drop(columns="method_rule"))


def test_a_run_of_the_rule_before_stands_where_nobody_was_suspected_or_todays_judges_alike():
    runs = pd.DataFrame(
        [(8.0, 9.0, False), (7.0, 0.0, False), (7.0, 9.0, True), (7.0, 9.0, False), (6.0, 0.0, False)],
        columns=["method_rule", "method_excluded_images", "is_judged_alike"],
    )
    assert history.is_earlier(runs).tolist() == [False, False, False, True, True]
    assert history.is_earlier(runs[["method_rule"]]).tolist() == [False, True, True, True, True]  # the twin


def test_the_verdict_of_a_notebook_tells_no_history():
    assert "The rule was changed" not in findings.of_exclusion(compared())
    assert "- The rule was changed" in findings.of_exclusion(compared(), history.of_its_making(beside(compared())))


def test_it_is_said_where_settings_were_chosen_with_all_of_the_attacks():
    chosen = "Settings were chosen with these attacks, on other seeds."
    assert chosen in history.of_its_making(beside(compared()))
    assert chosen not in history.of_its_making(beside(compared(("badnets", "trojan"))))


def test_a_page_says_how_many_of_its_runs_an_earlier_rule_made():
    runs = pd.DataFrame({"method": ["exclude", "exclude", "abl"], "method_rule": [np.nan, rule.RULE, np.nan]})
    assert of_earlier_rule(runs) == "1 of 2 runs without suspects is of an earlier rule than today's."
    assert of_earlier_rule(runs[1:]) == ""  # the twin
    assert (
        of_earlier_rule(runs[["method"]]) == "2 of 2 runs without suspects are of an earlier rule than today's."
    )  # none says it
