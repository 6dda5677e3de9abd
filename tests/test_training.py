"""The two phases remove a backdoor that the same training without them keeps; the same seed gives the same bits."""

from __future__ import annotations

from dataclasses import fields, replace

import jaxtyping
import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, measured, toy, train_toy, weights

from ablkit import attacks, exclusion, training
from ablkit.errors import UserError
from ablkit.metrics import after_epoch
from ablkit.training import RECIPES, Recipe, Store, checkpoint, progress, recipe
from ablkit.training.checkpoint import CHECKPOINT
from ablkit.training.stages import plan

SHORT = replace(TOY_RECIPE, isolation_epochs=2, finetune_epochs=2, finetune_drop_epoch=1, unlearn_epochs=2)


@pytest.fixture(scope="module")
def undefended() -> dict:
    return measured(TOY_RECIPE, method="none")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Store:
    """Where the trainings that are evaluated keep their stages, so that those that begin alike begin once."""
    return Store(tmp_path_factory.mktemp("evaluated"), "evaluated")


@pytest.fixture(scope="module")
def defended(evaluated) -> dict:
    return measured(TOY_RECIPE, store=evaluated)


def test_the_backdoor_is_learned_without_the_defence(undefended):
    assert undefended["attack_success_rate"] >= 0.95
    assert undefended["clean_accuracy_non_target"] >= 0.9
    assert "isolation_precision" not in undefended


def test_abl_isolates_poisoned_examples_and_removes_the_backdoor(defended):
    assert defended["isolation_precision"] >= 0.9
    assert defended["attack_success_rate_finetuned"] >= 0.9
    assert defended["attack_success_rate"] <= 0.05
    assert defended["clean_accuracy_non_target"] >= 0.9


def test_in_eval_mode_of_batch_norm_the_ascent_leaves_the_backdoor_longer(evaluated):
    # A third of the recipe's steps: with all of them the ascent ends, on some processors, in a loss that is no number.
    short = replace(TOY_RECIPE, unlearn_epochs=4)
    recipes = replace(short, unlearn_batchnorm="eval"), short
    frozen, usual = (measured(recipe, store=evaluated)["attack_success_rate"] for recipe in recipes)
    assert frozen >= 0.9 > 0.5 >= usual


def test_the_ascent_of_the_joint_schedule_removes_the_backdoor(evaluated):
    joint = replace(TOY_RECIPE, schedule="joint", finetune_learning_rate=0.01, unlearn_epochs=0)
    assert measured(joint, store=evaluated)["attack_success_rate"] <= 0.05
    # Without the ascent the backdoor stays. (With it the accuracy goes too: the sum has no lower bound.)
    assert measured(replace(joint, joint_weight=0.0), store=evaluated)["attack_success_rate"] >= 0.9


def test_the_truth_about_the_poison_never_reaches_the_training():
    poisoned, test = attacks.poison(toy(200, 1)), toy(100, 2)
    shuffled = replace(
        poisoned,
        is_poisoned=np.random.default_rng(0).permutation(poisoned.is_poisoned),
        true_labels=np.random.default_rng(1).permutation(poisoned.true_labels),
    )
    expected = weights(train_toy(SHORT, poisoned))
    # The only way in would be the measurements after each epoch, which hold both the truth and the model.
    for truth in (poisoned, shuffled):
        watch = after_epoch.measure(test, truth, SHORT.isolation_rate, precision="fp32")
        assert np.array_equal(weights(train_toy(SHORT, truth, evaluate=watch)), expected)

    def leak(model: torch.nn.Module, stage: str, epoch: int, last: bool) -> dict:
        next(model.parameters()).data += float(poisoned.is_poisoned.mean())
        return {}

    assert not np.array_equal(weights(train_toy(SHORT, poisoned, evaluate=leak)), expected)
    # The twin: one label that the training does see changes the weights.
    labels = poisoned.data.labels.copy()
    labels[0] = (labels[0] + 1) % 10
    relabelled = replace(poisoned, data=replace(poisoned.data, labels=labels))
    assert not np.array_equal(weights(train_toy(SHORT, relabelled)), expected)


@pytest.mark.parametrize("train", [training.train, exclusion.exclude, training.retrain])
def test_a_training_given_the_truth_is_refused_by_type(train):
    poisoned = attacks.poison(toy(60, 1))
    options = {"precision": "fp32", "report": None}
    with pytest.raises(jaxtyping.TypeCheckError):
        train(poisoned, SHORT, **options)
    # The twin: what a victim sees is trained on.
    assert len(train(poisoned.data, SHORT, **options).history)


@pytest.mark.usefixtures("as_users_run_it")
def test_without_the_type_checker_it_is_refused_too():
    poisoned = attacks.poison(toy(60, 1))
    with pytest.raises(UserError, match="a training takes Images and not Poisoned; of a poisoned set give its `data`"):
        training.train(poisoned, SHORT)
    assert not {"images", "labels", "classes"} & set(dir(poisoned))


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first, again, other = (train_toy(SHORT, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(weights(first), weights(again))
    assert np.array_equal(first.isolated, again.isolated)
    assert not np.array_equal(weights(first), weights(other))


def test_two_threads_and_bf16_give_the_same_bits_too():
    torch.set_num_threads(2)
    try:
        first, again = (train_toy(SHORT, precision="bf16") for _ in range(2))
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(train_toy(SHORT)))


@pytest.mark.parametrize("killed_after", range(1, 6))
def test_a_killed_training_resumes_to_the_same_bits(tmp_path, killed_after):
    class Killed(BaseException):
        pass

    finished = []

    def kill(record: dict) -> None:
        finished.append(record)
        if len(finished) == killed_after:
            raise Killed

    expected = train_toy(SHORT, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        train_toy(SHORT, folder=tmp_path / "cut", report=kill, checkpoint_seconds=0.0)
    seen = []
    resumed = train_toy(SHORT, folder=tmp_path / "cut", report=seen.append)
    assert len(seen) == 6 - killed_after
    assert np.array_equal(weights(resumed), weights(expected))
    assert np.array_equal(resumed.isolated, expected.isolated)
    assert np.array_equal(resumed.losses, expected.losses)
    losses = [[record["loss"] for record in trained.history] for trained in (resumed, expected)]
    assert losses[0] == losses[1]


def test_between_checkpoints_only_the_end_of_a_stage_makes_one(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda path, identity, state, *_, **__: saved.append(len(state.history)))
    train_toy(SHORT, folder=tmp_path, checkpoint_seconds=1e9)
    ends = [SHORT.isolation_epochs, SHORT.finetune_epochs, SHORT.unlearn_epochs]
    assert saved == ends
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == sum(ends)  # which misses none


def test_the_history_has_one_line_an_epoch(tmp_path):
    train_toy(SHORT, folder=tmp_path)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 6


def test_a_column_that_nothing_is_measured_for_is_not_printed(capsys):
    told = {"stage": "isolate", "loss": 1.5, "learning_rate": 0.1, "seconds": 2.0, "seconds_left": 61.0}
    for epoch in (1, 2):
        progress.print_epoch({**told, "epoch": epoch})
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["stage", "epoch", "loss", "lr", "s", "left"]
    assert len(head) == len(first) == len(second)
    # The twin: a measurement has its column, empty while it is not known.
    for epoch, value in ((1, None), (2, 0.75)):
        progress.print_epoch({**told, "epoch": epoch, "isolation_precision": value})
    head, first, second = capsys.readouterr().out.splitlines()
    assert "prec" in head and "75.0%" in second
    assert len(head) == len(first) == len(second)


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_the_last_checkpoint(tmp_path):
    with pytest.raises(
        UserError, match=r"the loss is (nan|inf|-inf) in stage finetune, epoch 1; lower its learning rate"
    ):
        train_toy(replace(SHORT, finetune_learning_rate=1e30), folder=tmp_path)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == SHORT.isolation_epochs
    assert len(list(tmp_path.rglob(CHECKPOINT))) == 1


MANY = {"isolation_rate": 0.3}
"""So many that two rankings isolate other images: of the six that SHORT isolates both may have the same."""
# Each setting, another value for it, and what else must hold for it to matter.
OTHERS = {
    "model": ("wrn-10-2", {}),
    "normalise": (True, {}),
    "batch_size": (16, {}),
    "isolation_epochs": (1, {}),
    "isolation_loss": ("plain", {"gamma": 5.0}),
    "gamma": (5.0, {}),
    "per_sample": (True, {"gamma": 2.3}),
    "isolation_rate": (0.1, {}),
    "isolation_score": ("median", MANY),
    "average_decay": (0.5, {"isolation_score": "averaged", **MANY}),
    "statistics_images": (16, {"isolation_score": "fresh_statistics", **MANY}),
    "isolation_learning_rate": (0.01, {}),
    "isolation_shuffle": (False, {}),
    "isolation_augmentation": (True, {}),
    "schedule": ("joint", {}),
    "joint_weight": (0.5, {"schedule": "joint"}),
    "finetune_epochs": (3, {}),
    "finetune_learning_rate": (0.05, {}),
    "finetune_drop_epoch": (2, {}),
    "finetune_drop_factor": (0.5, {}),
    "finetune_augmentation": (True, {}),
    "unlearn_epochs": (3, {}),
    "unlearn_learning_rate": (1e-3, {}),
    "unlearn_augmentation": (True, {}),
    "unlearn_batchnorm": ("eval", {}),
    "carry_momentum": (False, {}),
    "momentum": (0.5, {}),
    "nesterov": (False, {}),
    "weight_decay": (1e-2, {}),
    "crop": ("resized", {"finetune_augmentation": True}),
    "crop_padding": (2, {"finetune_augmentation": True}),
    "crop_area": (0.5, {"crop": "resized", "finetune_augmentation": True}),
    "flip": (False, {"finetune_augmentation": True}),
    "cutout_length": (4, {"finetune_augmentation": True}),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Where the trainings of all settings keep their stages."""
    return Store(tmp_path_factory.mktemp("stages"))


@pytest.mark.parametrize("name", OTHERS)
def test_no_setting_is_dead_or_missing_in_the_keys_of_stages(name, store):
    value, others = OTHERS[name]
    before = replace(SHORT, **others)
    assert getattr(before, name) != value
    unchanged, changed = (train_toy(recipe, store=store) for recipe in (before, replace(before, **{name: value})))
    assert not np.array_equal(weights(changed), weights(unchanged))
    assert np.array_equal(weights(changed), weights(train_toy(replace(before, **{name: value}))))


def test_every_setting_but_what_is_only_kept_is_among_them():
    assert {field.name for field in fields(Recipe)} - OTHERS.keys() == {"trajectories"}


def test_the_recipes_hold_the_published_settings():
    paper, released = RECIPES["paper"], RECIPES["released"]
    assert (paper.isolation_epochs, paper.finetune_epochs, paper.unlearn_epochs) == (20, 60, 20)
    assert (paper.isolation_loss, paper.gamma, paper.isolation_rate) == ("lga", 0.5, 0.01)
    assert (released.isolation_epochs, released.finetune_epochs, released.unlearn_epochs) == (10, 60, 4)
    assert (released.isolation_loss, released.isolation_shuffle) == ("flooding", False)
    rates = [plan(released, "abl")[1].learning_rate(epoch) for epoch in (0, 39, 40, 59)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gama": 1}, "'gama' is no recipe setting; did you mean 'gamma'"),
        ({"isolation_rate": 0.0}, "isolation_rate 0.0 is outside"),
        ({"isolation_loss": "lgaa"}, "'lgaa' is no isolation_loss"),
        ({"batch_size": 1}, "batch_size 1 is too small"),
        ({"gamma": float("nan")}, "gamma nan must be a finite number"),
        ({"unlearn_epochs": -1}, "unlearn_epochs -1 must be"),
        ({"isolation_epochs": 0, "finetune_epochs": 0}, "are both 0, so nothing would be trained"),
        ({"momentum": 0.0}, "nesterov needs a momentum"),
    ],
)
def test_a_wrong_setting_is_refused(as_users_run_it, change, message):
    with pytest.raises(UserError, match=message):
        recipe("paper", **change)


def test_another_device_or_precision_that_does_not_exist_is_refused(as_users_run_it):
    for options in ({"device": "tpu"}, {"precision": "fp8"}):
        with pytest.raises(UserError, match="is no"):
            train_toy(SHORT, **options)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="'cuda' is not available here"):
            train_toy(SHORT, device="cuda")
