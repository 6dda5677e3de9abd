"""Every method of run.ipynb on one small poisoned set, and the comparison of methods."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from ablkit import attacks, data, defenses, training
from ablkit.cli import main
from ablkit.defenses import DEFENSES, METHODS
from ablkit.errors import NotRunError, UserError
from ablkit.metrics import after_epoch, summary
from ablkit.report import figures, tables
from ablkit.runs import comparisons, execute, methods
from ablkit.runs.parameters import check, defaults
from ablkit.training import checkpoint

SMALL = {"dataset": "digits", "precision": "fp32", "train_size": 200, "isolation_epochs": 1, "finetune_epochs": 1}
SHORT = {
    "fine_pruning": "epochs=1, step=0.3, most_pruned=0.3, largest_drop=1",
    "nad": "epochs=1, teacher_epochs=1",
    "mcr": "curve_epochs=1, points=3",
}


def parameters(method: str, **changes):
    own = {"method": method, "method_settings": SHORT.get(method, "")}
    return check("run", defaults("run", "smoke") | SMALL | {"unlearn_epochs": 1} | own | changes)


@pytest.fixture(scope="module")
def made(data_root, tmp_path_factory):
    """Clean and poisoned set, its evaluation, and the folders that the runs of `none` and unfinished `abl` leave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLKIT_DATA", str(data_root))
        p = parameters("none")
        clean, test = data.load(p.dataset, seed=p.seed, **p.drawing())
        poisoned = attacks.poison(clean, **p.poisoning())
        watch = after_epoch.measure(test, poisoned, p.isolation_rate, p.monitor_images, p.precision)
        folders = {}
        for method in ("none", "abl"):
            folder = folders[method] = tmp_path_factory.mktemp(method)
            trained = methods.train(parameters(method, unlearn_epochs=0), clean, poisoned, watch, folder)
            tensors = {name: value.contiguous() for name, value in trained.model.state_dict().items()}
            save_file(tensors, folder / "model.safetensors")
            np.save(folder / "isolated.npy", trained.isolated)
    return clean, poisoned, watch, folders


@pytest.fixture
def train(made, data_root, tmp_path, monkeypatch):
    """Carry out a method where what it starts from is there already; returns what it leaves and what it asked for."""
    clean, poisoned, watch, folders = made
    asked: list[dict] = []

    def need(notebook: str, wanted, **changes):
        asked.append(changes)
        return folders[changes["method"]]

    monkeypatch.setenv("ABLKIT_DATA", str(data_root))

    def carry_out(method: str, **changes):
        (tmp_path / method).mkdir(exist_ok=True)
        return methods.train(parameters(method, **changes), clean, poisoned, watch, tmp_path / method, need), asked

    return carry_out


@pytest.mark.parametrize("method", [name for name in METHODS if name != "pretrained"])
def test_each_method_leaves_a_model_that_was_measured_on_all_test_images(made, train, method, tmp_path):
    trained, asked = train(method)
    found = summary.of_run(
        trained.history, trained.isolated, made[1], trained.record, getattr(trained, "suspects", None)
    )
    assert {"clean_accuracy", "attack_success_rate", "robust_accuracy", "clean_accuracy_finetuned"} - set(found) <= (
        {"clean_accuracy_finetuned"} if method in ("none", "exclude", "oracle") else set()
    )
    again = made[2](trained.model, "again", 1, True)
    assert all(found[name] == again[name] for name in again)
    written = [json.loads(line) for line in (tmp_path / method / "history.jsonl").read_text().splitlines()]
    assert written[-1]["clean_accuracy"] == found["clean_accuracy"]
    if method in DEFENSES:
        needs_clean = DEFENSES[method].needs == "clean data"
        assert asked == [{"method_settings": ""} | ({"method": "none"} if needs_clean else methods._BEFORE_UNLEARNING)]
        assert (len(trained.isolated) == 0) == needs_clean
        assert [record["stage"] for record in trained.history[:2]] == ["isolate", "finetune"]
    else:
        assert asked == []


def test_a_defence_without_a_way_to_its_model_is_told_what_it_lacks(made, tmp_path):
    clean, poisoned, watch, _ = made
    with pytest.raises(ValueError, match="method nad starts from the model of another run, so give need"):
        methods.train(parameters("nad"), clean, poisoned, watch, tmp_path)
    assert list(tmp_path.iterdir()) == []  # the twin: that others need none, the fixture shows


def test_the_history_of_a_defence_that_went_on_from_its_checkpoint_misses_no_epoch(
    train, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / "cache"))
    first, _ = train("retrain")
    told = capsys.readouterr().out
    again, _ = train("retrain")  # all its epochs lie before the end of the first call: none is reported again
    assert capsys.readouterr().out.count("retrain") < told.count("retrain")
    written = [json.loads(line) for line in (tmp_path / "retrain" / "history.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in written] == [(r["stage"], r["epoch"]) for r in again.history]
    assert len(again.history) == len(first.history)


def test_the_oracle_trains_on_what_the_attacker_did_not_change(made, train):
    clean, _, _, _ = made
    oracle, _ = train("oracle")
    p = parameters("none")
    plain = training.train(clean, p.recipe(), method="none", precision="fp32", report=None)
    same = [bool((a == b).all()) for a, b in zip(oracle.model.parameters(), plain.model.parameters(), strict=True)]
    assert all(same)
    undefended, _ = train("none")
    pairs = zip(undefended.model.parameters(), plain.model.parameters(), strict=True)
    assert not all(bool((a == b).all()) for a, b in pairs)


def test_a_method_s_settings_reach_it(train):
    few, _ = train("nad")
    more, _ = train("nad", method_settings="epochs=2, teacher_epochs=1")
    assert [sum(r["stage"] == "distill" for r in result.history) for result in (few, more)] == [1, 2]


@pytest.mark.parametrize(
    ("method", "text", "message"),
    [
        ("nadd", "", "'nadd' is no method; did you mean 'nad'?"),
        ("nad", "epoch=3", "'epoch' is no setting of nad; did you mean 'epochs'"),
        ("nad", "epochs=many", "epochs of nad must be of type int, got 'many'"),
        ("mcr", "t=1.5", "t 1.5 is outside [0, 1]"),
        ("abl", "epochs=3", "method abl has no settings of its own"),
        ("retrain", "epochs=3", "retrain has no settings"),
        ("nad", "epochs", "method_settings 'epochs' must look like"),
    ],
)
def test_wrong_methods_and_settings_are_refused(method, text, message):
    with pytest.raises(UserError) as error:
        parameters(method, method_settings=text)
    assert message in str(error.value)


def test_the_images_held_out_are_in_no_training_and_the_same_for_all(data_root):
    whole = data.load("digits", root=data_root)[0]
    for size, count in ((200, 10), (0, round(0.05 * len(whole)))):
        rest = data.load("digits", train_size=size, seed=3, held_out=0.05, root=data_root)[0]
        held = data.clean_images("digits", train_size=size, seed=3, held_out=0.05, root=data_root)
        assert (len(held), len(rest)) == (count, size or len(whole) - count)
        both = {image.tobytes() for image in rest.images} & {image.tobytes() for image in held.images}
        assert not both
    drawn = data.load("digits", train_size=200, seed=3, root=data_root)[0]
    assert np.array_equal(
        drawn.images, data.load("digits", train_size=200, seed=3, held_out=0.3, root=data_root)[0].images
    )
    with pytest.raises(UserError, match=r"leaves no room for held_out 0.05"):
        data.load("digits", train_size=len(whole), held_out=0.05, root=data_root)
    with pytest.raises(UserError, match=r"held_out 1.0 is outside \[0, 1\)"):
        data.load("digits", held_out=1.0, root=data_root)


def test_groups_stand_for_methods_and_each_counts_once():
    assert defenses.named("none repairs none") == ["none", "fine_pruning", "mcr", "nad"]
    # All but that which takes one of the ways apart.
    assert set(DEFENSES) - set(defenses.named("repairs ways")) == {"unlearn"}
    with pytest.raises(UserError, match="'repair' is no method; did you mean 'repairs'"):
        defenses.named("repair")


def results(**changes) -> pd.DataFrame:
    """Two seeds of an undefended model and of a method that removes the backdoor for five points of accuracy."""
    rows = []
    for seed in (0, 1):
        for method, success, accuracy in (("none", 1.0, 0.8), ("nad", 0.1 * seed, 0.75)):
            shares = {name: accuracy for name in summary.COMPARED if name.endswith("accuracy")}
            shares |= {"clean_accuracy_non_target": accuracy, "attack_success_rate": success, **changes}
            rows.append({"attack": "badnets", "dataset": "cifar10", "method": method, "seed": seed, **shares})
    return summary.with_effectiveness(pd.DataFrame(rows))


def test_each_run_is_held_against_the_undefended_one_of_its_seed():
    rating = results().set_index(["method", "seed"])["defense_effectiveness"]
    assert rating[("nad", 0)] == pytest.approx((1.0 - 0.05 + 1) / 2)
    assert rating[("nad", 1)] == pytest.approx((0.9 - 0.05 + 1) / 2)
    assert rating["none"].isna().all()
    found = summary.of_methods(results())
    assert found["attack_success_rate_badnets_nad"] == pytest.approx(0.05)
    assert found["defense_effectiveness_badnets_none"] is None


def test_the_table_says_what_was_not_run_and_why_and_marks_recalled_numbers():
    html = tables.methods(results(), {"pretrained": "<no network>, so this was not run; put it there"}).to_html()
    assert "fine-tuning an ImageNet model: not run, as &lt;no network&gt;<" in html
    assert "5.0% (0.0% to 10.0%)" in html
    assert "*</td>" in html  # the paper's number for NAD
    assert "0.95 (0.93 to 0.97)" in html or "0.95 (0.92 to 0.98)" in html


def test_the_table_of_steps_shows_the_end_of_each_step_of_a_repair(tmp_path):
    for seed, left in enumerate((0.4, 0.6)):
        steps = [("isolate", 1, 1.0), ("teacher", 1, 0.9), ("teacher", 2, left), ("distill", 1, 0.2)]
        records = [
            {"stage": stage, "epoch": epoch, "attack_success_rate": success, "clean_accuracy": 0.7}
            for stage, epoch, success in steps
        ]
        (tmp_path / str(seed)).mkdir()
        checkpoint.write_history(tmp_path / str(seed), records)
    frame = results().query("method == 'nad'")
    table = tables.steps(frame.assign(folder=[tmp_path / "0", tmp_path / "1"])).data
    assert table["after"].str.split(":").str[0].tolist() == [
        "its teacher",
        "the undefended model, fine-tuned towards the teacher's attention",
    ]
    assert table["attack success rate"].tolist() == ["50.0% (40.0% to 60.0%)", "20.0% (20.0% to 20.0%)"]
    assert table["n"].tolist() == [2, 2]


def test_the_figures_have_a_panel_for_each_attack():
    both = pd.concat([results(), results().assign(attack="sig")])
    assert len(figures.methods(both).axes) == 2
    curves = pd.DataFrame(
        {"attack": "sig", "seed": 0, "t": [0.0, 1.0], "clean_accuracy": 0.8, "attack_success_rate": 1}
    )
    assert len(figures.connectivity(curves).axes[0].lines) == 2


def test_a_method_that_cannot_be_had_is_left_out_with_its_reason(monkeypatch):
    def need(notebook, wanted):
        if wanted.method == "pretrained":
            raise NotRunError("there is no network")
        return wanted.method

    frame = results().query("seed == 0 and method == 'none'")
    monkeypatch.setattr(execute, "need", need)
    monkeypatch.setattr(comparisons.folder, "frame", lambda folders: frame.assign(folder=len(folders)))
    own = {"attack_names": "badnets", "method_names": "pretrained nad", "seeds": "0"}
    wanted = check("unlearning", defaults("unlearning") | own)
    found, reasons = comparisons.compare(wanted)
    assert found["folder"].tolist() == [2]  # none, which is always among them, and nad
    assert reasons == {"pretrained": "there is no network"}


def test_the_defence_of_the_readme_becomes_a_method(train, monkeypatch, tmp_path):
    page = Path(defenses.__file__).with_name("README.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in source.splitlines() if line]) <= 20
    (tmp_path / "shrink.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(DEFENSES, "shrink", importlib.import_module("shrink").DEFENSE)
    half, _ = train("shrink")
    none, _ = train("shrink", method_settings="factor=0")
    assert half.record == {"factor": 0.5}
    assert half.model.head.weight.abs().sum() > 0 == none.model.head.weight.abs().sum()


def test_the_methods_are_listed(capsys):
    main(["methods"])
    told = capsys.readouterr().out
    assert all(name in told for name in METHODS)


def test_the_list_of_methods_names_what_else_a_choice_may_be(capsys):
    assert main(["methods"]) == 0
    told = capsys.readouterr().out
    assert "control= (or random)" in told and "schedule=sequential (or joint, alternating)" in told
    assert "epochs=20, " in told  # the twin: a number has no choices
