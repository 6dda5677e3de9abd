"""One run has one key, however its settings are written, and what has no part in a defence is refused."""

from __future__ import annotations

import pytest

from ablkit import settings
from ablkit.attacks import ATTACKS
from ablkit.cli import main
from ablkit.defenses import settings_of
from ablkit.errors import UserError
from ablkit.report.identity import identity
from ablkit.runs.parameters import NOTEBOOKS, Comparison, check, defaults


def spelled(notebook: str = "run", **changes: object) -> object:
    return check(notebook, defaults(notebook) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "cover=0.5, triggers=2",
        "triggers = 2,cover = .5",
        " cover=5e-1,,triggers=2 ,",
        "triggers=2, cover=0.50, labels=all2one",
    ],
)
def test_settings_have_one_spelling(text):
    assert spelled(attack_settings=text).attack_settings == "cover=0.5, triggers=2"
    assert spelled(attack_settings=text.replace("2", "3", 1)) != spelled(attack_settings=text)  # the twin


def test_a_switch_and_what_is_usual_have_one_spelling_too():
    own = {"attack": "cba", "attack_settings": "partner=False"}
    assert spelled(**own).attack_settings == "partner=false"
    assert spelled(**own | {"attack_settings": "partner=True"}) == spelled(attack="cba")
    usual = spelled(method="exclude", method_settings="draws=5,control=random")
    assert usual.method_settings == "control=random"
    folder = spelled("your_data", suspicion_settings="least_separation = 1e9")
    assert folder.suspicion_settings == "least_separation=1000000000"


@pytest.mark.parametrize("name", ATTACKS)
def test_a_spelling_stands_for_the_same_settings(name):
    kind = ATTACKS[name].settings
    own = {
        key: 0.25 if value == 0.5 else value for key, value in settings.defaults(kind).items() if value not in ("", -1)
    }
    text = settings.spelled(name, kind, own)
    assert settings.make(name, kind, settings.parse(text)) == settings.make(name, kind, own)


@pytest.mark.parametrize("notebook", [name for name, kind in NOTEBOOKS.items() if issubclass(kind, Comparison)])
def test_what_a_notebook_compares_is_spelled_as_its_runs_are(notebook):
    runs = check(notebook, defaults(notebook)).runs()
    assert [one for one in runs if one.spelled() != one] == []


def test_two_orders_of_settings_are_one_run_in_a_table():
    one = defaults("run") | {"method": "unlearn"}
    orders = ["schedule=joint, stop=0.1", "stop=0.1, schedule=joint", "schedule=joint, stop=0.2"]
    first, second, other = (identity(one | {"method_settings": text}) for text in orders)
    assert first == second != other


def test_a_repair_refuses_what_its_second_end_does_not_read():
    with pytest.raises(
        UserError, match=r"learning_rate 0\.01 of mcr has no part in second_end retrained; leave it out"
    ):
        settings_of("mcr", "learning_rate=0.01")
    assert settings_of("mcr", "learning_rate=0.01, second_end=finetuned").learning_rate == 0.01  # the twin
    methods = {(name, one.method) for name, one in check("repairs", defaults("repairs")).each()}
    assert ("slower", "nad") in methods and ("slower", "mcr") not in methods and ("plain", "mcr") in methods


@pytest.mark.parametrize(
    ("names", "wanted"), [(["all", "badnets"], list(ATTACKS)), (["sig", "sig"], ["sig"]), (["all", "badnet"], None)]
)
def test_all_attacks_may_be_named_with_others_and_none_is_dropped(names, wanted, monkeypatch, folders, capsys):
    asked = []
    monkeypatch.setattr("ablkit.report.build.run_all", lambda *given, **_: asked.extend(given[4]) or 0)
    assert main(["report", "--preset", "smoke", "--dataset", "digits", "--attacks", *names]) == 0
    assert asked == (wanted or [*ATTACKS, "badnet"])  # where the plan of the report refuses it
