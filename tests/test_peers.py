"""Other kits' recipes hold what was read in them and nothing else, and no page takes their runs for the paper's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import TOY_RECIPE, toy, train_toy

from ablkit import attacks, models
from ablkit.cli import _parser, main
from ablkit.report import site
from ablkit.report.collect import Collection, collect, differences
from ablkit.report.render import markdown
from ablkit.report.repeat import command
from ablkit.runs.parameters import PRESETS, changed, check, defaults
from ablkit.training import RECIPES, Recipe, Store, recipe
from ablkit.training.peers import PEERS
from ablkit.training.stages import plan

# The recipes

DIFFERENCES = {
    # BackdoorBench f02e353, defense/abl.py and its config.yaml. The rates: lines 93-96, 198-203, 217-220; augmentation
    # in the second phase: 655-668, in the first: the table of recipes.
    "backdoorbench": {
        "normalise": True,
        "batch_size": 256,
        "isolation_loss": "flooding",
        "isolation_learning_rate": 0.01,
        "isolation_augmentation": True,
        "finetune_learning_rate": 0.01,
        "unlearn_learning_rate": 1e-4,
        "unlearn_augmentation": True,
    },
    # backdoor-toolbox 9d4d909, anti_backdoor_learning.py; batch norm: lines 513-516.
    "toolbox": {
        "batch_size": 64,
        "isolation_loss": "flooding",
        "unlearn_epochs": 5,
        "unlearn_batchnorm": "momentum_0",
    },
    # BackdoorBox af3afd1, core/defenses/ABL.py with the settings of its test.
    "backdoorbox": {"finetune_epochs": 70, "unlearn_epochs": 5, "weight_decay": 5e-4},
    # The table of recipes; NAB fine-tunes and unlearns nothing of ABL's.
    "nab": {"batch_size": 64, "isolation_rate": 0.05, "finetune_epochs": 0, "unlearn_epochs": 0},
}
"""Preset -> what of it was read and is not the paper's."""


def unlike_the_papers(own: Recipe) -> dict:
    return {name: value for name, value in vars(own).items() if value != getattr(RECIPES["paper"], name)}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_peers_recipe_differs_from_the_papers_in_what_was_read_alone(name):
    assert unlike_the_papers(RECIPES[name]) == DIFFERENCES[name]
    # The twins: a setting that is wrong, and one that nobody has read.
    for wrong in ({"batch_size": 100}, {"nesterov": False}):
        assert unlike_the_papers(recipe(name, **wrong)) != DIFFERENCES[name]


def test_all_peers_are_in_the_table_and_share_what_they_agree_on():
    assert list(PEERS) == list(DIFFERENCES)
    for own in map(RECIPES.get, PEERS):
        assert (own.isolation_epochs, own.gamma, own.per_sample, own.model) == (20, 0.5, False, "wrn-16-1")
    # The twin: the authors' code isolates after another epoch.
    assert RECIPES["released"].isolation_epochs != 20


def test_the_learning_rates_of_backdoorbench_reach_its_stages():
    isolate, finetune, unlearn = plan(RECIPES["backdoorbench"], "abl")
    assert [isolate.learning_rate(epoch) for epoch in (0, 19)] == [0.01, 0.01]
    assert [finetune.learning_rate(epoch) for epoch in (0, 59)] == pytest.approx([0.01, 0.001])
    assert unlearn.learning_rate(19) == 1e-4
    # The twin: in the paper's recipe all of them are others.
    assert [stage.learning_rate(0) for stage in plan(RECIPES["paper"], "abl")] == [0.1, 0.1, 5e-4]


def test_only_the_toolbox_keeps_the_running_statistics():
    kept = [name for name in PRESETS for stage in plan(RECIPES[name], "abl") if stage.batchnorm != "train"]
    assert kept == ["toolbox"]


# Batch norm with momentum 0

SHORT = replace(TOY_RECIPE, finetune_epochs=2, finetune_drop_epoch=1, unlearn_epochs=2)


def parts(batchnorm: str, store: Store, **changes) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """The weights after a training, its running statistics, and the momenta of its batch norms."""
    poisoned = attacks.poison(toy(200, 1))
    model = train_toy(replace(SHORT, unlearn_batchnorm=batchnorm, **changes), poisoned, store=store).model
    norms = models.batch_norms(model)
    moved = [moment.numpy() for norm in norms for moment in (norm.running_mean, norm.running_var)]
    weights = [parameter.detach().numpy().ravel() for parameter in model.parameters()]
    return np.concatenate(weights), np.concatenate(moved), [norm.momentum for norm in norms]


def test_with_momentum_0_the_ascent_moves_the_weights_and_no_running_statistics(tmp_path):
    store = Store(tmp_path)  # so that all start from one fine-tuned model
    before, statistics, momenta = parts("momentum_0", store, unlearn_epochs=0)
    weights, kept, after = parts("momentum_0", store)
    assert not np.array_equal(weights, before)
    assert np.array_equal(kept, statistics)
    assert after == momenta and 0.0 not in after
    # The twin: as the authors' code does it they move. The weights are the same, as no step looks at them.
    others, moved, _ = parts("train", store)
    assert np.array_equal(others, weights) and not np.array_equal(moved, statistics)
    # With `eval` they are kept too, but the batches' own have no part in the steps.
    assert not np.array_equal(parts("eval", store)[0], weights)


# Parameters


def test_a_preset_is_understood_everywhere_that_presets_are(capsys, tmp_path):
    assert main(["parameters", "run", "--preset", "nab"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == defaults("run", "nab")
    few = check("attacks", changed("attacks", "toolbox", {"attack_names": "sig", "changes": "train_size=10000"}))
    for one in few.runs():
        assert (one.train_size, one.poison_rate, one.unlearn_batchnorm) == (10_000, 0.1, "momentum_0")
    assert main(["run", "run", "--preset", "tolbox"]) == 2
    assert "'tolbox' is no preset; did you mean 'toolbox'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["parameters", "clean", "run", "report"])
def test_the_help_of_a_command_names_every_preset(capsys, name):
    with pytest.raises(SystemExit):
        _parser().parse_args([name, "--help"])
    told = capsys.readouterr().out
    assert [preset for preset in PRESETS if preset not in told] == []


def test_the_peers_train_on_the_data_of_the_paper():
    data = ("dataset", "train_size", "poison_rate", "held_out", "include_target", "released", "monitor_images")
    paper, released = ([defaults("run", name)[key] for key in data] for name in ("paper", "released"))
    assert all([defaults("run", name)[key] for key in data] == paper for name in PEERS)
    assert released != paper  # the twin


# Pages

DATA = Path(__file__).parents[1] / "reports" / "data"
RUN = "ddbcd978d0f5"
"""A committed ABL run at the paper's scale."""


def collected(folder: Path, *presets: str, **changes) -> Collection:
    """That run as if it had been made with these presets, undefended and with ABL."""
    for number, (preset, method) in enumerate(product(presets, ("none", "abl"))):
        to = folder / f"{number:012x}"
        shutil.copytree(DATA / RUN, to)
        facts = json.loads((to / "params.json").read_text())
        own = defaults("run", preset) | {"method": method} | changes
        (to / "params.json").write_text(json.dumps(facts | {"parameters": own}))
    return collect(folder)


def test_a_run_of_a_peers_recipe_is_told_as_such_and_never_held_against_the_paper(tmp_path):
    found = collected(tmp_path / "peers", "backdoorbench", "toolbox", "backdoorbox")
    assert {scale.preset for scale in found.scales} == {"backdoorbench", "toolbox", "backdoorbox"}
    assert all(scale.title.endswith(f", recipe {scale.preset}") for scale in found.scales)
    pages = {page.name: markdown(page) for page in site.pages(found)}
    assert found.full == [] and "no run has the paper's size" in pages["table1.html"]
    assert "they follow another recipe than the paper's" in pages["index.html"]
    assert all(f"recipe {scale.preset}" in pages["attack-badnets.html"] for scale in found.scales)
    # The twin: as a run of the preset `paper` it has the paper's size.
    paper = collected(tmp_path / "paper", "toolbox", "paper")
    assert [scale.preset for scale in paper.full] == ["paper"] and paper.main.preset == "paper"
    assert "recipe" not in paper.main.title


def test_phase_1_alone_is_no_scale_of_a_finished_defence(tmp_path):
    found = collected(tmp_path, "nab", "toolbox")
    assert sorted(found.runs["preset"]) == ["nab", "nab", "toolbox", "toolbox"]
    assert [scale.preset for scale in found.scales] == ["toolbox"]


def test_on_fewer_images_the_recipe_is_recognised_and_named_in_the_command(tmp_path):
    run = collected(tmp_path, "toolbox", train_size=10_000).runs.iloc[0]
    assert differences(run, "toolbox") == {"train_size": 10_000}
    assert len(differences(run, "quick")) > 1  # the twin
    told = command("run", defaults("run", "toolbox") | {"train_size": 10_000})
    assert told == "ablkit run run --preset toolbox -p train_size 10000"
