"""What `ablkit clean` is measured with: folders as a stranger's, two strange attacks, the page of what was found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import toy

from ablkit.exclusion import rule
from ablkit.report.collect import Collection
from ablkit.report.pages import unknown_trust
from ablkit.report.render import markdown
from ablkit.report.text import MISSING
from ablkit.runs.records import Damaged
from benchmarks import strange_attacks, trust
from benchmarks.trust import Case

SMOKE = ("--preset", "smoke")


@pytest.mark.parametrize(("attack", "classes"), [("white_bar", [3]), ("two_triggers", [3, 4])])
def test_a_strange_attack_marks_as_many_images_as_it_says(attack, classes):
    train, test = toy(400, 1), toy(100, 2)
    made = strange_attacks.ATTACKS[attack](train, test, 0.1, 3, 0)
    changed = (made.train.images != train.images).any(axis=(1, 2, 3))
    assert made.is_poisoned.sum() == 40 and np.array_equal(changed, made.is_poisoned)
    assert np.array_equal(np.unique(made.train.labels[changed]), classes)
    assert np.array_equal(made.train.labels[~changed], train.labels[~changed])
    assert (train.labels[changed] != made.train.labels[changed]).all()
    assert len(made.triggered) == len(made.aims) == 90 * len(classes)
    assert np.array_equal(np.unique(made.aims), classes)
    again = strange_attacks.ATTACKS[attack](train, test, 0.1, 3, 0)
    other = strange_attacks.ATTACKS[attack](train, test, 0.1, 3, 1)
    assert np.array_equal(again.is_poisoned, made.is_poisoned) and not np.array_equal(other.is_poisoned, changed)


def test_folders_go_through_clean_and_are_held_against_the_truth(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(trust, "IMAGES", 400)
    cases = (Case("digits", "badnets", 0), Case("digits", "", 0))
    path = trust.measure(tmp_path, 1, cases[:1], SMOKE)
    assert trust.UNPOISONED not in path.read_text()  # no clean folder of this seed was tried
    path = trust.measure(tmp_path, 1, cases, SMOKE)
    poisoned, clean = json.loads(path.read_text())["folders"]
    assert (poisoned["poisoned"], poisoned["attacked_classes"]) == (40, [0])
    assert 0 <= poisoned["attack_success_rate"] <= 1 and poisoned["environment"]["threads"] == 1
    # A model that has never seen the trigger seldom takes a digit for another one.
    assert 0 <= poisoned[trust.UNPOISONED] < 0.5 and trust.UNPOISONED not in clean
    assert (clean["poisoned"], clean["attacked_classes"], clean["attack_success_rate"]) == (0, [], None)
    # Measured once, whatever else is asked for.
    before = path.read_bytes()
    assert trust.measure(tmp_path, 1, cases[:1], ("--no-such-option",)).read_bytes() == before


def row(**changes: object) -> dict:
    environment = {"gpu": "none", "processor": "a processor", "cores": 2, "torch": "2", "python": "3", "device": "cpu"}
    environment |= {"commit": "abc123"}
    usual = {"dataset": "cifar10", "attack": "blend", "seed": 0, "images": 10_000, "poisoned": 1_000}
    usual |= {"attacked_classes": [0], "suspected_classes": [0], "suspects": 1_000, "found": 0.99, "precision": 0.99}
    usual |= {"attack_success_rate": 0.02, "clean_accuracy": 0.77, "seconds": 300.0}
    return usual | {"environment": environment | {"started": "2026-11-27T10:00:00+00:00"}} | changes


CLEAN = {"attack": "", "poisoned": 0, "attacked_classes": [], "suspected_classes": [], "suspects": 0}
CLEAN |= {"found": None, "precision": None, "attack_success_rate": None}


def shown(tmp_path: Path, *rows: dict):
    (tmp_path / "trust.json").write_text(json.dumps({"folders": rows}))
    return unknown_trust.page(Collection(tmp_path, pd.DataFrame(), []))


def test_the_page_counts_what_is_found(tmp_path):
    rows = [row(rule=rule.RULE), row(attack="white_bar"), row(**CLEAN)]
    page = shown(tmp_path, *rows)
    assert page.finding == (
        "`ablkit clean` finds the attacked classes and 95 % of the poison or more in 2 of 2 poisoned folders, and hands"
        " on a model with at most 5 % attack success in 2; of clean folders it suspects a class in 0 of 1 of CIFAR-10."
    )
    assert "`ablkit clean`, by an earlier rule than today's, finds" in shown(tmp_path, *rows[1:]).finding
    assert "a white bar" in markdown(
        page
    ) and "2 of 2 attacks were tried on fewer than 3 seeds (at most 1 seed): a demonstration." in markdown(page)
    assert "1 of 1 attack was tried" in markdown(shown(tmp_path, row(), row(seed=1)))
    assert "demonstration" not in markdown(shown(tmp_path, *(row(seed=seed) for seed in range(3))))  # the twin


FAULTS = {
    "half the poison": (row(found=0.5), "in 0 of 1 poisoned folder, "),
    "another class": (row(suspected_classes=[3]), "in 0 of 1 poisoned folder, "),
    "a class too many": (row(suspected_classes=[0, 3]), "in 0 of 1 poisoned folder, "),
    "a backdoor that stays": (row(attack_success_rate=0.5), "attack success in 0."),
    "a false alarm": (row(**CLEAN | {"suspected_classes": [3]}), "suspects a class in 1 of 1 of CIFAR-10."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_page_says_what_goes_wrong(tmp_path, fault):
    one, said = FAULTS[fault]
    assert said in shown(tmp_path, one).finding


def test_several_data_sets_are_told_apart_first_and_what_is_wrong_is_named(tmp_path):
    missed = row(dataset="gtsrb", found=0.02, suspected_classes=[3])
    beside = row(dataset="gtsrb", attack="badnets", suspected_classes=[0, 3])
    told = shown(tmp_path, row(rule=rule.RULE), missed, beside, row(**CLEAN)).finding
    assert told.startswith(
        "The verdict of `ablkit clean` is right on 2 of 2 folders of CIFAR-10 and 0 of 2 folders of GTSRB;"
        " the rule was changed after 4 of these had been seen."
    )
    assert "It misses Blend on GTSRB (seed 0). It suspects other classes than the attacked ones, too, with BadN" in told
    one = shown(tmp_path, row(), row(**CLEAN)).finding  # the twin: one set, and nothing wrong
    assert "The verdict" not in one and "misses" not in one and "other classes than" not in one


def test_the_page_shows_what_a_model_does_that_never_saw_the_trigger(tmp_path):
    bar = row(attack="white_bar", attack_success_rate=0.312)
    assert "| 31.2 | 18.7 |" in markdown(shown(tmp_path, bar | {unknown_trust.UNPOISONED: 0.187}))
    told = shown(tmp_path, bar | {unknown_trust.UNPOISONED: 0.376}).finding
    assert told.endswith(
        "In 1 of the folders whose poison it finds, more attack success is left: 31.2 % with a white bar. A model that"
        " never saw the trigger has 37.6 % with a white bar."
    )
    other = bar | {"attack": "two_triggers", "attack_success_rate": 0.2, unknown_trust.UNPOISONED: 0.1}
    told = shown(tmp_path, bar | {unknown_trust.UNPOISONED: 0.376}, other).finding
    assert "In 2 of the folders" in told and "37.6 % with a white bar and 10.0 % with two triggers" in told
    assert "never saw" not in shown(tmp_path, bar).finding
    assert f"| 31.2 | {MISSING} |" in markdown(shown(tmp_path, bar))  # the twin: not measured


def test_the_page_says_which_rule_judged(tmp_path):
    today = row(seed=1, rule=rule.RULE)
    told = markdown(shown(tmp_path, row(), row(rule=7), row(**CLEAN | {"rule": 7}), today))
    assert (
        "Judged were 1 folder of CIFAR-10 by an earlier rule, 2 folders of CIFAR-10 by rule 7 (1 without a suspect,"
        " which stand, as rule 8 asks for more) and 1 folder of CIFAR-10 by rule 8." in told
    )
    assert "Judged were" not in markdown(shown(tmp_path, today))  # the twin


def test_folders_that_had_no_part_in_the_rule_are_told_apart(tmp_path):
    met, new = row(dataset="gtsrb"), row(dataset="gtsrb", seed=1)
    told = markdown(shown(tmp_path, met, row(seed=4), new, new | {"found": 0.5}))
    assert "changed after 2 of these folders had been seen; on the other 2 its verdict is right on 1." in told
    assert "changed after 1 of these folders had been seen." in markdown(shown(tmp_path, met))  # the twins
    assert "changed after" not in markdown(shown(tmp_path, new))


def test_without_folders_it_says_so_and_spoilt_ones_make_no_page(tmp_path):
    assert shown(tmp_path).finding == "Not known yet: 0 folders were tried."
    with pytest.raises(Damaged, match="holds no folders"):
        shown(tmp_path, {"dataset": "cifar10"})
