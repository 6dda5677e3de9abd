"""A comparison says of its runs what a preset and `changes` say, and nothing else."""

from __future__ import annotations

import json
import shlex

import pytest
from committed import DATA

from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.report.plan import jobs
from ablkit.report.repeat import command
from ablkit.runs.key import facts_of
from ablkit.runs.parameters import NOTEBOOKS, Comparison, Parameters, changed, check, defaults

COMPARISONS = [name for name, model in NOTEBOOKS.items() if issubclass(model, Comparison)]
CHANGES = {"gamma": 0.25, "isolation_epochs": 8, "flip": False, "isolation_score": "averaged", "trajectories": "loss"}


def written(changes: dict) -> str:
    return ", ".join(f"{name}={value}" for name, value in changes.items())


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("name", [name for name in COMPARISONS if not {*CHANGES} & {*NOTEBOOKS[name].chosen}])
def test_the_runs_of_a_comparison_are_those_of_a_direct_command_with_the_same_values(name, preset):
    compared = check(name, changed(name, preset, {"dataset": "digits", "changes": written(CHANGES)}))
    for one in compared.runs():
        fields = {*compared.chosen, "poison_rate", "carry_momentum", "model"} & {*NOTEBOOKS["run"].model_fields}
        chosen = {field: getattr(one, field) for field in fields}
        given = {"dataset": "digits"} | chosen | CHANGES
        assert check("run", changed("run", preset, given)).model_dump_json() == one.model_dump_json()
        assert check("run", changed("run", preset, given | {"gamma": 0.5})) != one
        assert (one.train_size, one.gamma, type(one.isolation_epochs)) == (0, 0.25, int)


def test_the_poisoning_rate_is_the_change_or_the_presets_or_each_attacks_own():
    def rates(preset: str, changes: str) -> list[float]:
        values = {"attack_names": "badnets cba sig", "seeds": "0", "changes": changes}
        return [one.poison_rate for one in check("attacks", changed("attacks", preset, values)).runs()]

    assert rates("quick", "") == rates("paper", "poison_rate=0") == [0.1, 0.2, 0.7]
    assert rates("paper", "") == [0.1] * 3
    assert rates("quick", "poison_rate=0.05") == rates("paper", "poison_rate=0.05") == [0.05] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("gama=0.4", "changes: 'gama' is no parameter of run; did you mean 'gamma'?"),
        ("gamma", "changes 'gamma' must look like"),
        ("gamma=0.4, gamma=0.5", "changes 'gamma=0.4, gamma=0.5' sets 'gamma' twice"),
        ("gamma=high", "changes: parameter gamma of run: input should be a valid number"),
        ("isolation_epochs=0.5", "changes: parameter isolation_epochs of run: input should be a valid integer"),
        ("isolation_epochs=\u0663", "changes: parameter isolation_epochs of run"),
        ("gamma=nan", "changes: parameter gamma of run: input should be a finite number"),
        ("flip=perhaps", "changes: parameter flip of run"),
        ("gamma=-1", "gamma -1.0 must be a finite number of at least 0"),
        ("poison_rate=1.5", "poison_rate 1.5 is outside [0, 1)"),
        ("isolation_loss=lgaa", "changes: parameter isolation_loss of run"),
        ("method=nad", "changes sets method, which the comparison itself sets; leave it out of changes"),
        ("method_settings=t=0.3", "changes sets method_settings"),
        ("threads=2", "changes sets threads, which the comparison itself sets"),
        ("seeds=1", "changes: 'seeds' is no parameter of run"),
        ("batch_size=" + "9" * 5_000, "batch_size"),
    ],
)
def test_changes_that_cannot_be_made_are_one_line_before_anything_starts(folders, capsys, changes, message):
    for name in COMPARISONS:
        assert main(["run", name, "--preset", "smoke", "-p", "changes", changes]) == 2
        told, field = capsys.readouterr().err, changes.partition("=")[0]
        by_itself = field in NOTEBOOKS[name].chosen and f"changes sets {field}, which the comparison itself sets"
        assert (by_itself or message) in told or message in told
        assert told.count("\n") == 1 and len(told) < 400
        assert not folders.exists()
    check(name, changed(name, "smoke", {"changes": "batch_size=16"}))  # the twin


def test_what_one_comparison_sets_itself_another_takes():
    own = {"attack_names": "sig", "changes": "gamma=0.25"}
    assert check("loss_gap", changed("loss_gap", "smoke", own)).runs()[0].gamma == 0.25
    with pytest.raises(UserError, match="changes sets gamma"):
        check("gamma", changed("gamma", "smoke", own))


def test_a_preset_may_be_given_as_an_option_or_as_the_parameter_and_once():
    assert changed("table1", "quick", {"preset": "smoke"}) == changed("table1", "smoke", {})
    assert changed("table1", "smoke", {"preset": "smoke"})["dataset"] == "digits"
    for wrong in ("fast", 3, ["smoke"]):
        with pytest.raises(UserError, match="is no preset"):
            changed("table1", "quick", {"preset": wrong})
    with pytest.raises(UserError, match="is no preset"):
        check("table1", {"preset": "fast"})
    with pytest.raises(UserError, match="preset is given twice"):
        changed("table1", "paper", {"preset": "smoke"})


def test_the_key_of_a_comparison_holds_what_its_preset_stands_for():
    smoke = check("loss_gap", changed("loss_gap", "smoke", {}))
    assert facts_of("loss_gap", smoke, None)["first_run"] == smoke.runs()[0].model_dump()
    assert "first_run" not in facts_of("run", smoke.runs()[0], None)


@pytest.mark.parametrize("preset", ["smoke", "quick", "released", "nab"])
def test_a_report_passes_its_preset_on_and_names_the_command_of_each_of_its_runs(preset):
    needed = jobs(preset, [0, 3], {"dataset": "digits"}, ("badnets", "cba"), ("loss_gap", "twins"))
    presets = [job.parameters.preset for job in needed if isinstance(job.parameters, Comparison)]
    assert presets == [preset] * 2
    for job in needed:
        notebook, parameters = _named(command(job.notebook, job.parameters.model_dump()))
        assert (notebook, parameters.model_dump_json()) == (job.notebook, job.parameters.model_dump_json())


def test_the_command_of_each_committed_run_makes_that_run():
    for run in sorted(DATA.glob("*/params.json")):
        facts = json.loads(run.read_text())
        told = {name: facts["parameters"][name] for name in defaults("run") if name in facts["parameters"]}
        assert _named(command(facts["notebook"], told))[1] == check("run", defaults("run") | told), run


@pytest.mark.parametrize("size", [0, 300, 10_000])
def test_a_command_says_how_much_of_another_data_set_is_taken(size):
    one = check("run", defaults("run") | {"dataset": "digits", "train_size": size})
    text = command("run", one.model_dump())
    assert _named(text)[1] == one
    assert ("train_size" in text) == (size != 0)  # as another data set is taken whole


def _named(text: str) -> tuple[str, Parameters]:
    """The notebook that a command runs, and its parameters."""
    _, _, notebook, *options = shlex.split(text)
    preset = "quick"
    if options[:1] == ["--preset"]:
        preset, options = options[1], options[2:]
    given = dict(zip(options[1::3], options[2::3], strict=True))
    return notebook, check(notebook, changed(notebook, preset, given), strict=False)


def test_smoke_on_the_data_set_of_the_cell_is_refused_as_plain_papermill_gives_it():
    with pytest.raises(UserError, match="preset smoke would train on all of cifar10; give dataset digits"):
        check("table1", {"preset": "smoke"})
    # The twins: each of the ways out.
    assert check("table1", {"preset": "smoke", "dataset": "digits"}).runs()[0].train_size == 600
    assert check("table1", {"preset": "smoke", "changes": "train_size=300"}).runs()[0].train_size == 300
