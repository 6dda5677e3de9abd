"""What unlearns: the arms of the comparison, its verdict, its part of the page, and the notebook at its smallest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import refused

from ablkit.metrics import summary
from ablkit.report import arms as rows_of_arms
from ablkit.report import charts, findings
from ablkit.report.collect import collect
from ablkit.report.page import Figure, Table
from ablkit.report.pages import what_unlearns
from ablkit.runs import comparisons, execute
from ablkit.runs.parameters import changed, check
from ablkit.runs.parameters.arms import ARMS, arm_of
from ablkit.sweep import definition

ROOT = Path(__file__).parents[1]
DATA = ROOT / "reports" / "data"
ABL = ("085c9529fd86", "669e7a67782d")
"""Two committed runs: ABL on BadNets at quick scale, seeds 0 and 1."""
LEFT = {
    "train": 0.02,
    "statistics": 0.9,
    "frozen": 0.1,
    "kept": 0.95,
    "fresh": 0.02,
    "carried": 0.01,
    "batch_statistics": 0.12,
    "group_norm": 0.3,
}
"""Attack success that arms leave where the ascent of the weights does the work."""


def frame(left: dict[str, float], before: float = 1.0, attacks: tuple[str, ...] = ("badnets",)) -> pd.DataFrame:
    """Three seeds of each arm, which start from one fine-tuned model."""
    measured = {"clean_accuracy": 0.7, "clean_accuracy_non_target": 0.72, "target_class_accuracy": 0.5}
    measured["isolation_precision"] = 1.0
    start = {f"{name}_finetuned": value + 0.1 for name, value in measured.items()}
    return pd.DataFrame(
        {"attack": attack, "seed": seed, "arm": arm, "attack_success_rate": value, "method_epochs": None}
        | {"attack_success_rate_finetuned": before, "unlearn_epochs": 20, **measured, **start}
        for attack in attacks
        for arm, value in left.items()
        for seed in range(3)
    )


# The arms


def test_every_arm_is_found_again_by_the_parameters_of_its_run_and_other_runs_are_none():
    compared = check("what_unlearns", changed("what_unlearns", "quick", {}))
    values = [one.model_dump() for one in compared.runs()]
    assert [arm_of(own) for own in values[::3]] == [*ARMS] * 3
    assert compared.trainings() == 18 and len(values) == 126
    joint = next(own for own in values if arm_of(own) == "joint")
    assert arm_of(joint | {"method_settings": "stop=0.10, schedule=joint"}) is None
    assert arm_of(joint | {"method_settings": "stop=0.1,schedule=joint"}) == "joint"
    assert arm_of(joint | {"model": "wrn-16-1-gn"}) is None and arm_of(joint | {"method": "none"}) is None


def test_the_sweep_runs_what_the_notebook_compares():
    compared = check("what_unlearns", changed("what_unlearns", "quick", {}))
    asked = [job.parameters for job in definition.read(ROOT / "notebooks" / "sweeps" / "what_unlearns.yaml")]
    assert {one.model_dump_json() for one in asked} == {one.model_dump_json() for one in compared.runs()}
    assert len(asked) == 126


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arm_names": "train ralabel"}, "'ralabel' is no arm; did you mean 'relabel'?"),
        ({"changes": "model=wrn-16-1-gn"}, "changes sets model wrn-16-1-gn, whose arms need batch norm"),
        ({"changes": "finetune_epochs=0"}, "finetune_epochs is 0, so that there is nothing to compare"),
        ({"changes": "unlearn_epochs=0"}, "unlearn_epochs is 0, so that there is nothing to compare"),
        ({"changes": "schedule=joint"}, "changes sets schedule, which the comparison itself sets"),
        ({"changes": "carry_momentum=false"}, "changes sets carry_momentum"),
    ],
)
def test_what_leaves_nothing_to_compare_is_refused(values, message):
    assert message in refused(check, "what_unlearns", changed("what_unlearns", "quick", values))
    check("what_unlearns", changed("what_unlearns", "quick", {"changes": "model=wrn-16-2"}))


# The verdict


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "Holds"),
        ({"statistics": 0.2, "frozen": 0.9}, "Fails"),
        ({"statistics": 0.2, "frozen": 0.9, "joint": 0.1, "joint_statistics": 0.9}, "Holds in part"),
        ({"statistics": 0.2, "frozen": 0.9, "joint": 0.1, "joint_statistics": 0.2}, "Fails"),
        ({"statistics": 0.2, "frozen": 0.9, "joint": 0.95, "joint_statistics": 0.99}, "Fails"),
        ({"statistics": 0.2}, "Holds in part"),
        ({"frozen": 0.9}, "Holds in part"),
        ({"train": 0.95, "statistics": 0.95, "frozen": 0.95}, "Cannot be said"),
    ],
)
def test_the_verdict_follows_what_statistics_and_weights_do_alone(changes, word):
    found = findings.of_arms(frame(LEFT | changes))
    assert found.startswith(f"**{word}.**") and found.splitlines()[0].endswith("n = 3 seeds.")
    assert "nan" not in found


def test_the_verdict_tells_the_shares_of_the_fall_and_what_each_arm_leaves():
    found = findings.of_arms(frame(LEFT | {"statistics": 0.51}))
    assert "The ascent brings attack success from 100 % to 2.0 % in the mean of 3 runs (BadNets);" in found
    assert "with no weight changed, brings 50 % of the fall" in found  # 0.49 of 0.98
    assert "with frozen statistics 92 %." in found
    assert "on frozen statistics 10 % attack success (at most 5 % on 0 of 3 runs) is left." in found
    assert "from kept images, without any ascent, bring 5.1 % of the fall." in found
    shares = "of its own isolated images 100 %, 100 % and 100 % are poisoned"
    assert f"(BadNets; {shares}), attack success is 100 % before the asc" in found
    assert "ABL with fresh momentum is the ascent: the same numbers on 3 of 3." in found
    assert "the same numbers on 0 of 3." in findings.of_arms(frame(LEFT | {"fresh": 0.03}))
    assert "Of the target class 60 % is right after the fine-tuning. Of 7 arms most is left by ascent (50 %)" in found
    assert "running ones stay as they were, the ascent brings 90 % of the fall; it leaves 12 % attack success" in found
    assert "running ones" not in findings.of_arms(frame({n: v for n, v in LEFT.items() if n != "batch_statistics"}))
    assert "Given up to" not in found and "In batches" not in found
    several = findings.of_arms(frame(LEFT, attacks=("badnets", "sig")))
    assert "that the ascent brings (BadNets 10 %, SIG 10 %), and" in several


def test_the_verdict_tells_what_joint_batches_do_without_their_ascent():
    found = findings.of_arms(frame(LEFT | {"joint": 0.1, "joint_statistics": 0.91}))
    assert (
        "In batches that hold isolated and kept images the drift alone brings 10 % of the fall: 91 % attack success is"
        " left without the ascent, 10 % with it." in found
    )


def test_where_the_ascent_on_frozen_statistics_stops_early_it_is_said():
    longer = frame(LEFT | {"frozen_longer": 0.2}).assign(method_epochs=lambda runs: 30 + runs["seed"])
    longer = longer.assign(method_isolated_labels_kept=[0.1 if seed < 2 else 0.9 for seed in longer["seed"]])
    left = "20 % attack success (at most 5 % on 0 of"
    assert (
        "Given up to 60 epochs on frozen statistics (BadNets), 2 of 3 runs stop, as at most 10 % of the isolated images"
        f" keep their label, after 30 to 31 epochs; {left} 2 runs) is then left, and what more epochs would take is not"
        f" known. The others leave {left} 1 run)." in findings.of_arms(longer)
    )
    none = findings.of_arms(longer.assign(method_isolated_labels_kept=0.5))
    assert f"0 of 3 runs stop, as at most 10 % of the isolated images keep their label. The others leave {left}" in none
    assert "The others" not in findings.of_arms(longer.assign(method_isolated_labels_kept=0.0))  # the twin


def test_all_that_is_said_is_of_the_same_fine_tuned_models():
    whole = frame(LEFT)
    found = findings.of_arms(whole)
    half = frame({"train": 0.9, "carried": 0.9}, attacks=("sig",))  # an attack whose other arms were not run yet
    assert findings.of_arms(pd.concat([whole, half], ignore_index=True)) == found
    fewer = whole[(whole["arm"] != "kept") | (whole["seed"] > 0)]
    assert "Of 6 arms" in findings.of_arms(fewer) and "Of 7 arms" in found  # the twin


def test_without_the_arms_that_it_needs_or_a_backdoor_nothing_is_judged():
    without = {name: value for name, value in LEFT.items() if name != "frozen"}
    assert findings.of_arms(frame(without)).startswith("**Cannot be said.** Not measured: ascent on frozen statistics.")
    few = findings.of_arms(frame(LEFT | {"statistics": 0.2}).query("seed < 2"))
    assert few.startswith("**Cannot be said.** In ABL's schedule") and "A verdict takes 3 seeds. n = 2 seeds." in few
    weak = findings.of_arms(frame(LEFT, before=0.3))
    assert weak.startswith("**Cannot be said.**") and "There is no backdoor to unlearn in 3 fine-tuned models." in weak


def test_the_epochs_begin_with_the_fine_tuned_model_and_end_with_the_result():
    shares = dict.fromkeys(summary.UNLEARNED, 0.5)
    history = [
        {"stage": "isolate", "epoch": 1, **shares},
        {"stage": "finetune", "epoch": 1, **shares},
        {"stage": "finetune", "epoch": 2, **shares, "attack_success_rate": 1.0},
        {"stage": "unlearn", "epoch": 1, **shares, "attack_success_rate": 0.8},
        {"stage": "unlearn", "epoch": 2, **shares, "attack_success_rate": 0.2},
    ]
    abl = summary.unlearning(history)
    assert abl[["epoch", "attack_success_rate"]].to_numpy().tolist() == [[0, 1.0], [1, 0.8], [2, 0.2]]
    # A way is measured once more, on all test images.
    way = summary.unlearning([*history, {"stage": "repaired", "epoch": 1, **shares, "attack_success_rate": 0.1}])
    assert way[["epoch", "attack_success_rate"]].to_numpy().tolist() == [[0, 1.0], [1, 0.8], [2, 0.1]]
    assert summary.unlearning(history[:1]).empty


def test_the_table_has_the_start_above_the_arms_and_group_norm_its_own():
    table = rows_of_arms.table(frame(LEFT))
    assert table["arm"].tolist()[:2] == ["fine-tuned model", "ascent"]
    assert table["arm"].tolist()[-2:] == ["fine-tuned model with group norm", "ascent with group norm"]
    assert table["attack success"].tolist()[:2] == ["100.0 % (seeds 100.0 to 100.0)", "2.0 % (seeds 2.0 to 2.0)"]
    assert table["isolated images with their label"].eq("-").all() and table["epochs"].tolist()[:2] == ["", "20"]


def test_each_arm_has_a_panel_with_every_seed():
    epochs = pd.DataFrame(
        {"arm": arm, "seed": seed, "epoch": epoch, **dict.fromkeys(summary.UNLEARNED, 0.1 * seed + 0.01 * epoch)}
        for arm in ("train", "joint")
        for seed in range(3)
        for epoch in range(4)
    )
    figure = charts.arms(epochs)
    panels = [place for place in figure.axes if place.get_visible()]
    assert [place.get_title(loc="left") for place in panels] == ["ascent", "joint with stopping rule"]
    assert all(len(place.lines) == 9 for place in panels)
    assert len({place.get_ylim() for place in panels}) == len({place.get_xlim() for place in panels}) == 1
    figure = charts.arms(pd.concat([epochs, epochs[epochs["arm"] == "joint"].assign(arm="frozen_longer", epoch=9)]))
    panels = [place for place in figure.axes if place.get_visible()]
    assert [place.get_xlim() for place in panels] == [(0, 3), (0, 9), (0, 3)]  # nothing is drawn beside its panel


# The page


def copied(folder: Path, to: Path, parameters: dict, metrics: dict) -> None:
    """A committed run as if it had been made with other parameters."""
    shutil.copytree(folder, to)
    for name, own in (("params.json", parameters), ("metrics.json", metrics)):
        content = json.loads((to / name).read_text())
        (content["parameters"] if name == "params.json" else content).update(own)
        (to / name).write_text(json.dumps(content))


def test_the_page_asks_for_the_runs_until_they_are_there_and_then_shows_them(tmp_path):
    for key in ABL:
        shutil.copytree(DATA / key, tmp_path / key)
    missing = what_unlearns.page(collect(tmp_path))
    assert missing.finding.startswith("Not known yet") and "**Not run:**" in missing.blocks[-1].markdown
    assert "126 runs that share 18 trainings of about" in missing.blocks[-1].markdown
    for number, folder in enumerate(list(tmp_path.iterdir())):
        for arm, (name, left) in enumerate([("", 0.02), ("batchnorm=statistics", 0.2), ("batchnorm=frozen", 0.9)]):
            own = {"method": "unlearn", "method_settings": name}
            copied(folder, tmp_path / f"{number}{arm}0000000000", own, {"attack_success_rate": left})
    # Of another recipe: not to be compared.
    other = {"method": "unlearn", "method_settings": "loss=relabel", "gamma": 0.3}
    copied(folder, tmp_path / "999999999999", other, {})
    page = what_unlearns.page(collect(tmp_path))
    shown = page.blocks
    assert page.finding == findings.of_arms(what_unlearns.of_arms(collect(tmp_path))[0])
    assert page.finding.startswith("**Cannot be said.** In ABL's schedule the drift of statistics alone")
    assert "ablkit run what_unlearns -p arm_names group_norm -p attack_names badnets" in shown[-2].markdown
    assert "arm_names statistics" not in shown[-2].markdown  # the twin: it was run on each attack
    figure = next(block for block in shown if isinstance(block, Figure))
    assert figure.svg.count(b"<svg") == 1 and "ascent 2.0 %; statistics alone 20 %" in figure.caption
    table = next(block for block in shown if isinstance(block, Table))
    told = page.finding
    copied(folder, tmp_path / "888888888888", {"seed": 77}, {})  # a seed of ABL alone is not compared
    assert what_unlearns.page(collect(tmp_path)).finding == told
    titles = [
        "fine-tuned model",
        "ascent",
        "statistics alone",
        "ascent on frozen statistics",
        "carried momentum (ABL)",
    ]
    assert [row[0] for row in table.rows] == titles


# The notebook


def test_the_notebook_runs_the_arms_that_it_is_asked_for(smoke_runs, data_root, monkeypatch):
    monkeypatch.setenv("ABLKIT_DATA", str(data_root))
    monkeypatch.setenv("ABLKIT_RUNS", str(smoke_runs))
    values = changed("what_unlearns", "smoke", {"attack_names": "badnets", "arm_names": "kept"})
    compared = check("what_unlearns", values)
    folder = execute.execute("what_unlearns", compared).folder
    numbers = pd.read_csv(folder / "figures" / "arms-badnets.csv")
    assert numbers[["arm", "epoch"]].to_numpy().tolist() == [["kept", 0], ["kept", 1]]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 0 <= metrics["target_class_accuracy_badnets_kept"] <= 1 and len(metrics) == len(summary.UNLEARNED)
    verdict = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert verdict == findings.of_arms(comparisons.compare_arms(compared)[0])
