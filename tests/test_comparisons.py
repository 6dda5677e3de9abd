"""The notebooks that compare runs, run through papermill at the smallest size."""

from __future__ import annotations

import json

import nbformat
import pandas as pd
import pytest

from ablkit import settings
from ablkit.attacks import ATTACKS
from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.report import findings, tables
from ablkit.runs import execute
from ablkit.runs.job import Job
from ablkit.runs.parameters import changed, check, defaults


@pytest.fixture
def smoke(smoke_runs, data_root, monkeypatch):
    monkeypatch.setenv("ABLKIT_DATA", str(data_root))
    monkeypatch.setenv("ABLKIT_RUNS", str(smoke_runs))


def direct(**values) -> Job:
    """The run that `ablkit run run --preset smoke` makes with these values."""
    return Job("run", "", check("run", changed("run", "smoke", values)))


@pytest.mark.parametrize(("name", "methods"), [("table1", "mcr abl"), ("unlearning", "gradient_ascent")])
def test_a_comparison_runs_what_it_needs_and_shows_each_method(smoke, name, methods):
    needed = [direct(method=method) for method in ("none", *methods.split())]
    assert needed[1].state == "missing"
    values = changed(name, "smoke", {"attack_names": "badnets", "method_names": methods})
    folder = execute.execute(name, check(name, values)).folder
    assert {job.state for job in needed} == {"done"}
    assert direct(method="label_uniform").state == "missing"
    numbers = pd.read_csv(folder / "figures" / "methods.csv")
    expected = [job.parameters.method for job in needed]
    assert numbers["method"].tolist() == expected
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(0 <= metrics[f"clean_accuracy_badnets_{method}"] <= 1 for method in expected)
    assert metrics["defense_effectiveness_badnets_none"] is None
    shown = str(nbformat.read(folder / "notebook.ipynb", as_version=4))
    assert "paper, ASR" in shown and "defense effectiveness" in shown
    verdict = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert verdict == findings.of_methods(numbers, methods.split()[-1])
    assert (folder / "figures" / "connectivity.png").exists() == (name == "table1")


def test_an_attack_stands_beside_its_twin(smoke, smoke_runs):
    command = ["run", "twins", "--preset", "smoke", "-p", "attack_names", "badnets cba", "-p", "changes"]
    assert main([*command, "poison_rate=0.2"]) == 0
    assert direct(attack="cba", method="none", poison_rate=0.2).state == "done"  # what was changed has come through
    assert direct(attack="cba", method="none", poison_rate=0.1).state == "missing"
    (folder,) = (smoke_runs / "twins").iterdir()
    numbers = pd.read_csv(folder / "figures" / "twins.csv", keep_default_na=False)
    # BadNets is a formula alone and is passed over.
    assert numbers[["attack", "attack_settings"]].to_numpy().tolist() == [["cba", ""], ["cba", "partner=false"]]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics.keys() >= {"attack_success_rate_cba", "attack_success_rate_cba_twin", "false_trigger_rate_cba_twin"}
    shown = str(nbformat.read(folder / "notebook.ipynb", as_version=4))
    assert "idea off: without a mixing partner (partner=false)" in shown
    verdict = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert verdict == findings.of_twins(numbers)


def test_the_making_of_an_attack_and_of_its_twin_are_told_where_they_differ():
    frame = pd.DataFrame(
        {
            "attack": ["dfst"] * 4 + ["cba"] * 4,
            "attack_settings": ["", "", "rounds=0", "rounds=0", "", "", "partner=false", "partner=false"],
            "poisoning_compromised_neurons_left": [1.0, 2.0, 4.0, 4.0] + [None] * 4,
            "poisoning_surrogate_colour_success_rate": [0.125, 0.25, 0.5, 0.5] + [None] * 4,
            "poisoning_style_change_levels": [41.0, 42.0] * 2 + [None] * 4,
            "poisoning_cyclegan_seconds": [1.0, 2.0, 3.0, 4.0] + [None] * 4,
            "poisoning_poisoned_share": [None] * 4 + [0.2] * 4,
            "attack_success_rate": [0.9] * 8,
        }
    )
    # Not told: what is the same, what one of them has not, times, and what was measured on the victim.
    assert tables.twins_making(frame).data.to_numpy().tolist() == [
        ["DFST", "compromised neurons left", "1.5 (1 to 2)", "4 (4 to 4)"],
        ["DFST", "surrogate colour success rate", "18.8% (12.5% to 25.0%)", "50.0% (50.0% to 50.0%)"],
    ]


def test_a_comparison_of_attacks_without_twins_is_refused():
    with pytest.raises(UserError, match="have no twin"):
        check("twins", defaults("twins") | {"attack_names": "badnets sig"})


def test_every_twin_has_settings_that_its_attack_takes_and_that_change_it():
    twins = {name: attack for name, attack in ATTACKS.items() if attack.twin}
    assert len(twins) == 7
    for name, attack in twins.items():
        own = settings.make(name, attack.settings, settings.parse(attack.twin.settings))
        assert own != attack.settings()
