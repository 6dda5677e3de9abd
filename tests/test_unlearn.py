"""Each part of the unlearning does what its setting says, and only that."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import refused, toy, train_toy
from test_defense_unlearning import SHORT, given_by, run, same

from ablkit import attacks, models, training
from ablkit.defenses import Given, named
from ablkit.defenses.ways import unlearning
from ablkit.defenses.ways.unlearning import Unlearn
from ablkit.runs.parameters import changed, check
from ablkit.training import losses
from ablkit.training.averaging import drawn_for_statistics, with_fresh_statistics
from ablkit.training.inference import predict

CLASSES = 10


@pytest.fixture(scope="module")
def given() -> Given:
    """After fine-tuning, before the ascent; of 200 images 6 are isolated."""
    return given_by(train_toy(replace(SHORT, unlearn_epochs=0)))


def moved(before: torch.nn.Module, after: torch.nn.Module) -> dict[str, bool]:
    """Whether any parameter, and any buffer, is another than before."""
    pairs = {
        "parameters": zip(before.parameters(), after.parameters(), strict=True),
        "buffers": zip(before.buffers(), after.buffers(), strict=True),
    }
    return {kind: any(not torch.equal(a, b) for a, b in both) for kind, both in pairs.items()}


def test_with_the_defaults_it_is_gradient_ascent(given):
    ascended, unlearned = run("gradient_ascent", given), run("unlearn", given)
    assert same(ascended, unlearned)
    assert [r["loss"] for r in ascended.history] == [r["loss"] for r in unlearned.history]
    assert not same(ascended, run("unlearn", given, batchnorm="frozen"))  # the twin
    # What takes the ascent apart is no further row of the paper's table.
    assert "unlearn" not in named("ways") and "gradient_ascent" in named("ways")


@pytest.mark.parametrize("schedule", ["sequential", "joint", "alternating"])
@pytest.mark.parametrize(
    ("batchnorm", "parameters", "buffers"),
    [("train", True, True), ("statistics", False, True), ("frozen", True, False)],
)
def test_batchnorm_says_what_moves(given, batchnorm, parameters, buffers, schedule):
    after = run("unlearn", given, batchnorm=batchnorm, schedule=schedule, epochs=1).model
    assert moved(given.model, after) == {"parameters": parameters, "buffers": buffers}


def test_kept_takes_the_statistics_of_kept_images_once_and_trains_nothing(given):
    unlearned = run("unlearn", given, batchnorm="kept")
    assert moved(given.model, unlearned.model) == {"parameters": False, "buffers": True}
    assert len(unlearned.history) == 1
    kept = np.delete(given.data.images, given.isolated, axis=0)
    chosen = kept[drawn_for_statistics(len(kept), given.recipe.statistics_images, given.seed).numpy()]
    expected = with_fresh_statistics(given.model, torch.tensor(chosen), "fp32")
    assert not any(moved(expected, unlearned.model).values())
    other = with_fresh_statistics(given.model, torch.tensor(given.data.images[given.isolated]), "fp32")
    assert moved(other, unlearned.model)["buffers"]


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_a_joint_step_holds_64_kept_and_16_isolated_images_and_an_epoch_each_isolated_one_once():
    batches = unlearning.joint_batches(100, 500, drawn())
    assert [(int((b >= 100).sum()), int((b < 100).sum())) for b in batches] == [(64, 16)] * 6 + [(64, 4)]
    assert sorted(int(i) for b in batches for i in b if i < 100) == list(range(100))
    kept = [int(i) for b in batches for i in b if i >= 100]
    assert len(set(kept)) == len(kept) == 7 * 64 and max(kept) < 600
    # Few kept images come again, none twice in a step.
    few = unlearning.joint_batches(100, 30, drawn())
    assert all(len(set(b.tolist())) == len(b) and int((b >= 100).sum()) == 30 for b in few) and len(few) == 7


def test_alternating_takes_as_many_steps_on_kept_images_as_on_isolated_ones():
    batches = unlearning.alternating_batches(100, 500, drawn(), 32)
    assert [{bool(i < 100) for i in b} for b in batches] == [{True}] * 4 + [{False}] * 4
    assert sorted(int(i) for b in batches[:4] for i in b) == list(range(100))


def test_the_mixed_loss_is_that_of_the_kept_plus_that_of_the_isolated():
    logits, labels = torch.randn(10, CLASSES), torch.arange(10)
    marked = labels.clone()
    marked[4:] += CLASSES
    for of_isolated in (losses.gradient_ascent, losses.cross_entropy):
        found = unlearning.mixed_loss(logits, marked, CLASSES, of_isolated)
        expected = losses.cross_entropy(logits[:4], labels[:4]) + of_isolated(logits[4:], labels[4:])
        torch.testing.assert_close(found, expected)
    plain = unlearning.mixed_loss(logits, labels, CLASSES, losses.gradient_ascent)
    torch.testing.assert_close(plain, losses.cross_entropy(logits, labels))
    alone = unlearning.mixed_loss(logits, labels + CLASSES, CLASSES, losses.gradient_ascent)
    torch.testing.assert_close(alone, -losses.cross_entropy(logits, labels))


def test_the_bounded_ascent_pushes_no_image_beyond_a_uniform_guess():
    logits = torch.zeros(2, CLASSES)
    logits[0, 0], logits[1, 0] = 3.0, -3.0  # one is still taken for class 0, the other is not
    logits.requires_grad_()
    labels = torch.zeros(2, dtype=torch.int64)
    (bounded,) = torch.autograd.grad(unlearning.bounded_ascent(logits, labels), logits)
    (free,) = torch.autograd.grad(losses.gradient_ascent(logits, labels), logits)
    torch.testing.assert_close(bounded[0], free[0])
    assert bounded[1].abs().max() == 0 < free[1].abs().max()
    assert unlearning.bounded_ascent(logits[1:], labels[1:]).item() == pytest.approx(-math.log(CLASSES))


def test_relabelling_descends_to_another_label_and_each_of_them_is_drawn(given):
    all_isolated = replace(given, isolated=np.arange(200))
    labels = unlearning._other_labels(all_isolated, all_isolated.data)
    assert (labels != given.data.labels).all()
    steps = (labels - given.data.labels) % CLASSES
    assert set(steps.tolist()) == set(range(1, CLASSES)) and np.bincount(steps).max() < 45  # 22 of 200 are expected
    assert run("unlearn", given, loss="relabel").history[0]["loss"] > 0 > run("unlearn", given).history[0]["loss"]


def test_each_record_says_how_many_isolated_images_keep_their_label_and_the_run_stops_by_it(given):
    watched = replace(given, recipe=replace(given.recipe, unlearn_learning_rate=0.05))
    whole = run("unlearn", watched, epochs=6)
    shares = [record["isolated_labels_kept"] for record in whole.history]
    images, labels = given.data.images[given.isolated], given.data.labels[given.isolated]
    assert shares[-1] == float((predict(whole.model, images, "fp32") == labels).mean())
    first = next(epoch for epoch, share in enumerate(shares, start=1) if share <= 0.5)
    assert 1 <= first < len(shares) == 6  # 0, the default, never stops
    stopped = run("unlearn", watched, epochs=6, stop=0.5)
    assert [r["loss"] for r in stopped.history] == [r["loss"] for r in whole.history[:first]]
    assert stopped.record["epochs"] == first and stopped.record["isolated_labels_kept"] == shares[first - 1]


@pytest.mark.parametrize(
    "settings",
    [{"batchnorm": "kept"}, {"schedule": "joint", "stop": 0.1}, {"schedule": "alternating", "loss": "relabel"}],
)
def test_the_given_model_stays_and_the_same_seed_gives_the_same(given, settings):
    before = {key: value.clone() for key, value in given.model.state_dict().items()}
    unlearned = run("unlearn", given, lambda *when: {"seen": when[1:3]}, **settings)
    assert all(torch.equal(before[key], value) for key, value in given.model.state_dict().items())
    assert [r["seen"] for r in unlearned.history] == [("unlearn", i + 1) for i in range(len(unlearned.history))]
    assert not unlearned.model.training
    assert same(unlearned, run("unlearn", given, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batchnorm": "kept", "epochs": 3}, "batchnorm kept makes no use of epochs 3; leave epochs out"),
        ({"batchnorm": "kept", "stop": 0.1}, "makes no use of stop 0.1"),
        ({"batchnorm": "statistics", "loss": "relabel"}, "batchnorm statistics makes no use of loss relabel"),
        ({"batchnorm": "statistics", "learning_rate": 0.1}, "makes no use of learning_rate 0.1"),
        ({"stop": 1.0}, r"stop 1.0 is outside [0, 1)"),
        ({"stop": -0.1}, "stop -0.1 must be"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings, message):
    assert message in refused(Unlearn, **settings)


def test_without_kept_or_isolated_images_it_is_refused(given):
    nothing, everything = replace(given, isolated=np.empty(0, np.int64)), replace(given, isolated=np.arange(200))
    assert "nothing was isolated" in refused(run, "unlearn", nothing)
    for settings in ({"schedule": "joint"}, {"schedule": "alternating"}, {"batchnorm": "kept"}):
        assert "all were isolated; isolate fewer" in refused(run, "unlearn", everything, **settings)


# A model without batch norm.


def test_without_batch_norm_there_is_only_the_ascent(given):
    recipe = replace(SHORT, model="wrn-10-1-gn")
    trained = train_toy(replace(recipe, unlearn_epochs=0))
    grouped = given_by(trained, recipe)
    ascended = run("unlearn", grouped)
    assert same(ascended, train_toy(recipe))  # it is the unlearning of ABL there too
    assert moved(trained.model, ascended.model) == {"parameters": True, "buffers": False}
    for batchnorm in ("statistics", "frozen", "kept"):
        told = refused(run, "unlearn", grouped, batchnorm=batchnorm)
        assert f"batchnorm {batchnorm} works on batch norm, and wrn-10-1-gn has none" in told
        # Before anything is started, too; the twin has batch norm.
        values = {"method": "unlearn", "method_settings": f"batchnorm={batchnorm}"}
        assert told == refused(check, "run", changed("run", "smoke", values | {"model": "wrn-10-1-gn"}))
        check("run", changed("run", "smoke", values))


def test_scores_and_pruning_do_without_batch_norm():
    poisoned, recipe = attacks.poison(toy(200, 1)), replace(SHORT, model="wrn-10-1-gn", unlearn_epochs=0)
    trained = train_toy(replace(recipe, trajectories="loss fresh_statistics averaged"), poisoned)
    scores = trained.trajectories
    assert np.array_equal(scores["loss"], scores["fresh_statistics"])  # nothing is re-estimated
    assert not np.array_equal(scores["loss"], scores["averaged"])
    with_norm = train_toy(replace(SHORT, unlearn_epochs=0, trajectories="loss fresh_statistics"), poisoned)
    assert not np.array_equal(*with_norm.trajectories.values())
    clean = training.recipe("smoke").batch_size
    pruned = run("fine_pruning", given_by(trained, recipe, clean=toy(clean, 4)), epochs=1, largest_drop=1.0)
    cut = int(pruned.record["pruned_channels"])
    assert cut > 0 and int((models.unwrapped(pruned.model).norm.weight == 0).sum()) == cut
