"""A parameter that would change nothing in a run is refused, and runs that come out alike are told."""

from __future__ import annotations

import pytest
from conftest import refused

from ablkit.cli import main
from ablkit.runs.parameters import check, defaults, idle
from ablkit.runs.parameters.one_run import OneRun
from ablkit.training.stages import plan

OTHER = {
    "isolation_loss": "flooding",
    "gamma": 0.25,
    "per_sample": True,
    "schedule": "joint",
    "joint_weight": 0.5,
    "unlearn_epochs": 3,
    "unlearn_learning_rate": 0.25,
    "unlearn_batchnorm": "eval",
    "unlearn_augmentation": True,
    "carry_momentum": False,
    "include_target": True,
    "crop_area": 0.5,
    "crop_padding": 2,
}
"""Every parameter that is idle anywhere, with another value than the preset's."""


def run(**changes: object) -> OneRun:
    return check("run", defaults("run") | {"precision": "fp32"} | changes)


CASES = {
    "none": {"method": "none"},
    "ABL": {"method": "abl"},
    "plain ABL": {"method": "abl", "isolation_loss": "plain"},
    "joint ABL": {"method": "abl", "schedule": "joint"},
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_idle_changes_no_stage_and_what_is_not_does(case):
    one = run(**CASES[case])
    method, own = one.method, idle.reasons(one)
    planned = [stage.facts() for stage in plan(one.recipe(), method)]
    of_stages = {name: value for name, value in OTHER.items() if not name.startswith(("include", "crop"))}
    of_stages["schedule"] = "joint" if one.schedule == "sequential" else "sequential"
    for name, value in of_stages.items():
        other = [stage.facts() for stage in plan(run(**CASES[case] | {name: value}).recipe(), method)]
        assert (other == planned) == (name in own), name


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"method": "abl"}, {"joint_weight", "crop_area"}),
        ({"method": "abl", "crop": "resized"}, {"joint_weight", "crop_padding"}),
        ({"method": "abl", "attack": "sig"}, {"joint_weight", "crop_area", "include_target"}),
        ({"method": "unlearn"}, {"schedule", "unlearn_batchnorm", "carry_momentum", "crop_area"}),
        ({"method": "nad"}, {*OTHER} - {"include_target", "crop_padding"}),
        (
            {"method": "exclude"},
            {*OTHER} - {"include_target", "crop_padding", "gamma", "per_sample", "isolation_loss"},
        ),
    ],
)
def test_what_is_idle_depends_on_method_attack_schedule_and_crop(changes, names):
    assert set(idle.reasons(run(**changes))) == names


@pytest.mark.parametrize("name", OTHER)
def test_only_what_was_given_and_changes_nothing_is_refused(name):
    usual = defaults("run")
    one = run(
        method="none", attack="sig", crop="resized" if name == "crop_padding" else "padded", **{name: OTHER[name]}
    )
    said = refused(idle.refuse, one, [name], usual)
    assert f"{name} " in said and "has no part in" in said and said.endswith("; leave it out")
    # The twins: as the preset has it, and as another preset does.
    idle.refuse(run(method="none", attack="sig"), [name], usual)
    idle.refuse(one, [], usual)


def test_a_command_refuses_it_before_anything_starts(folders, capsys):
    assert main(["run", "run", "--preset", "smoke", "-p", "method", "none", "-p", "gamma", "0.25"]) == 2
    said = capsys.readouterr().err
    assert said == "ablkit: gamma 0.25 has no part in method none, whose phase 1 is plain training; leave it out\n"


def test_a_sweep_refuses_it_for_all_runs_and_tells_of_those_that_come_out_alike(folders, tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    text = "notebook: run\npreset: smoke\n"
    file.write_text(f"{text}params: {{gamma: 0.25}}\ngrid: {{method: [none, oracle]}}\n")
    assert main(["sweep", str(file), "--dry-run"]) == 2
    assert "gamma 0.25 has no part in method none" in capsys.readouterr().err
    file.write_text(f"{text}grid: {{method: [none, abl], gamma: [0, 0.25, 0.5]}}\n")
    assert main(["sweep", str(file), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "6 runs, 0 of them done\n2 runs come out as another does: gamma changes nothing there\n" in said
    file.write_text(f"{text}params: {{gamma: 0.25}}\ngrid: {{method: [none, abl]}}\n")  # the twin
    assert main(["sweep", str(file), "--dry-run"]) == 0
    assert "come out as" not in capsys.readouterr().out
