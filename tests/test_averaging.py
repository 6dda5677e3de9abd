"""Averaged weights, fresh batch norm statistics, and the scores that phase 1 ranks its examples by."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, measured, refused, toy, train_toy, weights
from torch import nn

from ablkit import attacks, models, training
from ablkit.metrics import after_epoch, definitions
from ablkit.training import averaging, checkpoint, scores
from ablkit.training.averaging import Average, with_fresh_statistics
from ablkit.training.checkpoint import Progress
from ablkit.training.epoch import sgd
from ablkit.training.hardware import choose

ALL = "loss fresh_statistics averaged"
TWO = replace(TOY_RECIPE, isolation_epochs=2, finetune_epochs=1, unlearn_epochs=1, trajectories=ALL)
IMAGES = torch.tensor(toy(60, 3).images)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_is_that_of_its_formula(decay):
    model, steps = nn.Linear(3, 2), 7
    average, seen = Average(model, decay), []
    with torch.no_grad():
        for step in range(steps):
            model.weight.fill_(step**2)
            model.bias.fill_(-step)
            average.update()
            seen.append(step)
    factors = np.array([decay ** (steps - 1 - s) for s in seen])
    wanted = [(factors * values).sum() / factors.sum() for values in (np.square(seen), -np.array(seen))]
    averaged = average.model(model)
    for parameter, value in zip(averaged.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, value), rtol=1e-5, atol=1e-5)
    assert model.bias[0] == 1 - steps  # the model itself stays as it is


def test_weights_that_stay_are_their_own_average():
    model = models.build("wrn-10-1", 10)
    average = Average(model, 0.99)
    for _ in range(3):
        average.update()
    for one, other in zip(average.model(model).parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_an_update_changes_the_same_tensors_and_asks_for_no_gradient():
    model = nn.Linear(3, 2)
    average = Average(model, 0.9)
    places = [tensor.data_ptr() for tensor in average.state().values()]
    average.update()
    model(torch.ones(1, 3)).sum().backward()
    average.update()
    assert [tensor.data_ptr() for tensor in average.state().values()] == places
    assert not any(tensor.requires_grad for tensor in average.state().values())


def test_fresh_statistics_are_those_of_the_images():
    model = models.build("wrn-10-1", 10, seed=1)
    seen = {}
    fresh = with_fresh_statistics(model, IMAGES, "fp32")
    norms = {name: norm for name, norm in fresh.named_modules() if isinstance(norm, nn.BatchNorm2d)}
    for name, norm in norms.items():
        norm.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0].detach()}))
    with torch.no_grad():
        fresh(choose("cpu").inputs(IMAGES))
    for name, norm in norms.items():
        # What each norm meets, now that those before it have their new statistics too.
        torch.testing.assert_close(norm.running_mean, seen[name].mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(norm.running_var, seen[name].var(dim=(0, 2, 3)), rtol=1e-3, atol=1e-3)
        assert norm.momentum == 0.1
        assert not norm.training
    # The twin: the model that was given still has the ones it began with.
    assert all(torch.equal(model.state_dict()[f"{name}.running_mean"], torch.zeros_like(n.running_mean))
               for name, n in norms.items())  # fmt: skip


@pytest.mark.parametrize(
    ("number", "side", "batches"), [(2048, 64, 1), (9000, 32, 1), (2048, 96, 3), (2048, 224, 13), (100, 224, 1)]
)
def test_only_images_of_more_than_64_pixels_pass_in_several_batches(number, side, batches):
    assert averaging._batches(number, side, side) == batches


def test_statistics_of_several_batches_are_about_those_of_one(monkeypatch):
    large = IMAGES.repeat_interleave(5, 1).repeat_interleave(5, 2)
    assert large.shape[1] > 64
    model, passed = models.build("wrn-10-1", 10, seed=1), []
    one = with_fresh_statistics(model, large, "fp32").state_dict()
    monkeypatch.setattr(averaging, "_MOST_PIXELS", 21 * large[0, ..., 0].numel())
    hook = nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: passed.append(len(given[0])) if isinstance(module, type(model)) else None
    )
    several = with_fresh_statistics(model, large, "fp32").state_dict()
    hook.remove()
    assert passed == [20, 20, 20]
    last = with_fresh_statistics(model, large[40:], "fp32").state_dict()  # the twin: those of a part are further away
    for name in (name for name in one if "running_" in name):
        off, off_of_last = ((found[name] - one[name]).abs().mean() for found in (several, last))
        assert off < off_of_last / 2


def test_the_images_for_statistics_are_drawn_once_for_a_seed():
    draw = averaging.drawn_for_statistics
    assert torch.equal(draw(100, 20, 5), draw(100, 20, 5))
    assert not torch.equal(draw(100, 20, 5), draw(100, 20, 6))
    assert len(set(draw(100, 20, 5).tolist())) == 20
    assert sorted(draw(10, 20, 5).tolist()) == list(range(10))


def test_kept_scores_change_no_result_and_cost_the_paper_s_method_nothing():
    for method in ("abl", "none"):
        plain, kept = (train_toy(replace(TWO, trajectories=text), method=method) for text in ("", ALL))
        assert np.array_equal(weights(plain), weights(kept))
        assert np.array_equal(plain.isolated, kept.isolated)
        assert plain.trajectories == {}
        assert {name: (v.shape, v.dtype) for name, v in kept.trajectories.items()} == dict.fromkeys(
            ALL.split(), ((2, 200), np.dtype(np.float16))
        )


def test_the_scores_are_those_of_the_models_they_are_named_for():
    trained = train_toy(replace(TWO, finetune_epochs=0, unlearn_epochs=0))
    poisoned = attacks.poison(toy(200, 1))
    assert np.array_equal(trained.trajectories["loss"][-1], trained.losses.astype(np.float16))
    drawn = torch.tensor(poisoned.data.images)[averaging.drawn_for_statistics(200, 2048, 0)]
    fresh = with_fresh_statistics(trained.model, drawn, "fp32")
    losses = training.per_example_losses(fresh, poisoned.data.images, poisoned.data.labels, "fp32")
    np.testing.assert_allclose(trained.trajectories["fresh_statistics"][-1], losses, rtol=2e-3)
    rows = list(trained.trajectories.values())
    assert not any(np.array_equal(rows[a][-1], rows[b][-1]) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("score", get_args(scores.IsolationScore))
def test_isolation_ranks_on_the_score_it_is_told(score):
    trained = train_toy(replace(TWO, isolation_score=score))
    kept = trained.trajectories
    losses = kept["loss"].astype(np.float32)
    over = {"median": np.median(losses, axis=0), "last_three": np.exp(np.log(losses).mean(axis=0))}
    wanted = over[score] if score in over else kept[score][-1]
    np.testing.assert_allclose(trained.losses, wanted, rtol=2e-3)
    assert np.array_equal(trained.isolated, training.isolate(trained.losses, TWO.isolation_rate))


def test_an_isolation_score_is_computed_without_being_asked_for():
    trained = train_toy(replace(TWO, trajectories="", isolation_score="averaged"))
    assert list(trained.trajectories) == ["averaged"]
    assert scores.needed("", "loss") == []
    assert scores.needed("averaged", "median") == scores.needed("averaged", "last_three") == ["loss", "averaged"]


@pytest.mark.parametrize(
    ("kept", "score", "each", "last"),
    [
        ("", "averaged", [], ["averaged"]),
        ("loss", "averaged", ["loss"], ["loss", "averaged"]),
        ("averaged", "averaged", ["averaged"], ["averaged"]),
        ("", "median", ["loss"], ["loss"]),
        ("", "last_three", ["loss"], ["loss"]),
        ("", "loss", [], []),
    ],
)
def test_a_score_is_computed_after_those_epochs_alone_that_need_it(monkeypatch, kept, score, each, last):
    computed = []
    compute = scores.Scores.compute
    monkeypatch.setattr(scores.Scores, "compute", lambda self, names: computed.append(names) or compute(self, names))
    trained = train_toy(replace(TWO, isolation_epochs=3, trajectories=kept, isolation_score=score))
    names = [sorted(first + second) for first, second in zip(computed[::2], computed[1::2], strict=True)][:3]
    assert names == [sorted(each), sorted(each), sorted(last)]
    assert {name: len(values) for name, values in trained.trajectories.items()} == {
        name: 3 if name in each else 1 for name in last
    }


def test_what_was_known_up_to_an_epoch_ends_with_it():
    kept = {"loss": np.arange(6.0).reshape(3, 2), "averaged": np.ones((1, 2))}
    assert {name: len(values) for name, values in scores.up_to(kept, 2, 3).items()} == {"loss": 2}
    assert {name: len(values) for name, values in scores.up_to(kept, 3, 3).items()} == {"loss": 3, "averaged": 1}


@pytest.mark.parametrize("kept", [ALL, "loss", ""])
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_training_resumes_to_the_same_average_and_trajectories(tmp_path, killed_after, kept):
    recipe = replace(TWO, isolation_epochs=3, isolation_score="averaged", trajectories=kept)
    whole = train_toy(recipe)
    seen = []

    def stop(record: dict) -> None:
        seen.append(record)
        if len(seen) == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_toy(recipe, folder=tmp_path, report=stop, checkpoint_seconds=0.0)
    resumed = train_toy(recipe, folder=tmp_path, checkpoint_seconds=0.0)
    assert np.array_equal(weights(whole), weights(resumed))
    assert np.array_equal(whole.losses, resumed.losses)
    for name, values in whole.trajectories.items():
        assert np.array_equal(values, resumed.trajectories[name])


def a_checkpoint(folder, scores_of_it: list[str], rows: int = 1):
    """What a training of one epoch leaves, with trajectories of so many."""
    model = models.build("wrn-10-1", 10)
    average = Average(model, 0.9)
    average.update()
    progress = Progress(1, [{"stage": "isolate"}])
    progress.trajectories = {name: np.ones((rows, 20), np.float32) for name in scores_of_it}
    checkpoint.save(folder / "c", "same", progress, model, sgd(model.parameters(), TWO), average)
    return model, Average(model, 0.9)


def shapes_of(epochs: int) -> dict:
    return {"averaged": (epochs, 20)}


def test_a_checkpoint_whose_trajectories_do_not_fit_is_dropped_with_a_line(tmp_path, capsys):
    model, average = a_checkpoint(tmp_path, ["averaged"])
    progress, _ = checkpoint.load(tmp_path / "c", "same", model, shapes_of, average)  # the twin
    assert progress.trajectories["averaged"].shape == (1, 20)
    assert all(bool(tensor.any()) for tensor in list(average.state().values())[-1:])
    for names, rows in ((["averaged"], 2), (["loss"], 1), ([], 1)):
        model, average = a_checkpoint(tmp_path, names, rows)
        progress, _ = checkpoint.load(tmp_path / "c", "same", model, shapes_of, average)
        assert progress == Progress()
        assert "is dropped" in capsys.readouterr().out
    a_checkpoint(tmp_path, ["averaged"])
    assert checkpoint.load(tmp_path / "c", "same", model, shapes_of, None)[0] == Progress()


def test_the_history_tells_how_well_each_score_isolates():
    poisoned = attacks.poison(toy(200, 1))
    judge = after_epoch.judge(poisoned, TWO.isolation_rate, "averaged")
    trained = train_toy(replace(TWO, isolation_score="averaged"), poisoned, judge=judge)
    first, after = trained.history[0], trained.history[-1]
    for name in [*ALL.split(), "median", "last_three", "class_first"]:
        assert 0 <= first[f"isolation_precision_{name}"] <= 1
        assert {f"isolation_precision_at_5_{name}", f"isolation_precision_at_10_{name}"} <= first.keys()
        assert 0 <= first[f"isolation_auroc_{name}"] <= 1
    assert trained.history[1]["isolation_precision"] == trained.history[1]["isolation_precision_averaged"]
    assert "isolation_auroc_loss" not in after
    perfect = judge({"loss": np.where(poisoned.is_poisoned, 0, 1).astype(np.float32)[None]})
    assert "isolation_auroc_class_first" not in perfect  # it needs the averaged score, too
    assert perfect["isolation_precision_at_10_loss"] == perfect["isolation_auroc_loss"] == 1


def test_after_an_epoch_without_the_score_that_is_ranked_on_its_metrics_are_unknown():
    poisoned = attacks.poison(toy(200, 1))
    judge = after_epoch.judge(poisoned, TWO.isolation_rate, "averaged", ["averaged"])
    told = train_toy(replace(TWO, isolation_score="averaged", trajectories="loss"), poisoned, judge=judge).history
    # Not those of the loss, which is there: one name would stand for two scores.
    assert [told[0][name] for name in definitions.RANKING] == [None] * 4
    assert told[0]["poisoned_loss"] > 0
    assert "isolation_auroc_averaged" not in told[0]
    assert told[1].keys() >= {*definitions.RANKING, "isolation_auroc_averaged"}  # the twin
    assert all(told[1][name] is not None for name in definitions.RANKING)


def test_a_score_over_epochs_outlives_an_unlucky_last_one():
    poisoned = attacks.poison(toy(200, 1))
    good = np.where(poisoned.is_poisoned, 0.01, 1).astype(np.float32)
    clean_class = np.where(poisoned.data.labels == 3, 0.001, good).astype(np.float32)
    told = after_epoch.judge(poisoned, 0.1)({"loss": np.stack([good, good, good, clean_class]), "averaged": good[None]})
    found = {name: told[f"isolation_precision_{name}"] for name in ("median", "last_three", "class_first")}
    assert found == dict.fromkeys(found, 1.0)
    assert told["isolation_precision"] == told["isolation_precision_loss"] < 0.2  # the twin: that of the last epoch


def test_the_median_that_isolation_ranks_on_is_the_one_in_the_history():
    poisoned = attacks.poison(toy(200, 1))
    recipe = replace(TWO, isolation_score="median", isolation_epochs=3)
    told = train_toy(recipe, poisoned, judge=after_epoch.judge(poisoned, TWO.isolation_rate, "median")).history[2]
    assert told["isolation_auroc"] == told["isolation_auroc_median"]
    assert told["isolation_auroc"] != told["isolation_auroc_loss"]


def test_the_class_that_splits_best_comes_first_and_in_it_the_lowest_loss():
    labels = np.repeat(np.arange(3), 50)
    random = np.random.default_rng(0)
    averaged = np.exp(random.normal(0, 1, 150)).astype(np.float32)
    averaged[60:80] *= 1e-3  # a second hump, in class 1
    loss = random.random(150).astype(np.float32)
    ranks = scores.class_first({"loss": loss[None], "averaged": averaged[None]}, labels)
    assert np.array_equal(np.argsort(ranks)[:50], 50 + np.argsort(loss[50:100]))
    assert np.array_equal(np.sort(ranks), np.arange(150))
    averaged[60:80] *= 1e3  # the twin: without the hump another class comes first
    averaged[:20] *= 1e-3
    ranks = scores.class_first({"loss": loss[None], "averaged": averaged[None]}, labels)
    assert np.array_equal(np.argsort(ranks)[:50], np.argsort(loss[:50]))


def test_averaged_weights_isolate_the_poison_of_a_toy_set():
    recipe = replace(TOY_RECIPE, finetune_epochs=1, unlearn_epochs=1, isolation_score="averaged", average_decay=0.95)
    assert measured(recipe)["isolation_precision"] > 0.9


def test_wrong_scores_are_refused(as_users_run_it):
    wrong = {
        "'losss' is no score; did you mean 'loss'": {"trajectories": "losss"},
        "'mean' is no isolation_score": {"isolation_score": "mean"},
        "average_decay 1.0 never converges": {"average_decay": 1.0},
        "statistics_images 1 must be": {"statistics_images": 1},
        "isolation_score median needs isolation_epochs": {"isolation_score": "median", "isolation_epochs": 0},
    }
    for message, change in wrong.items():
        assert message in refused(training.recipe, "paper", **change)
