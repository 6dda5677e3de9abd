"""Method `exclude`: which class stands out, which of its images are left out, and the training on the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import TOY_RECIPE, refused, toy, weights
from hypothesis import given
from hypothesis import strategies as st

from ablkit import attacks, training
from ablkit.attacks import attack
from ablkit.metrics import after_epoch, summary
from ablkit.training import suspects

RECIPE = replace(TOY_RECIPE, average_decay=0.95, isolation_rate=0.05)
QUIET = {"device": "cpu", "precision": "fp32", "report": None}


def humps(*parts: tuple[int, float], seed: int = 0) -> np.ndarray:
    """Normal humps of unit deviation: so many values about each place."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.normal(place, 1.0, count) for count, place in parts])


def test_otsu_finds_the_valley_between_two_humps():
    share, cut, part, valley = suspects.best_split(humps((300, -8.0), (700, 0.0)))
    assert share > 0.9
    assert -6 < cut < -2
    assert valley < 0.2
    assert part == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("count", [500, 5000])
def test_one_hump_explains_what_a_normal_one_does(count):
    splits = [suspects.best_split(humps((count, -1.0), seed=seed)) for seed in range(10)]
    shares = [split.share for split in splits]
    assert min(split.valley for split in splits) > suspects.Settings().most_valley
    assert np.mean(shares) == pytest.approx(2 / np.pi, abs=0.02)  # of a normal hump cut at its middle
    assert max(shares) < suspects.Settings().least_share


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30))
def test_no_other_cut_explains_more(values):
    values = np.array(values, np.float64)
    share, cut, part, valley = suspects.best_split(values)
    if np.ptp(values) == 0:
        assert np.isnan([share, cut, part, valley]).all()
        return
    tried = []
    for other in np.unique(values)[:-1]:
        low, high = values[values <= other], values[values > other]
        tried.append(len(low) * low.var() + len(high) * high.var())
    assert share == pytest.approx(1 - min(tried) / (len(values) * values.var()), abs=1e-9)
    assert part == pytest.approx((values < cut).mean())


def losses_of(*per_class: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses with these logarithms, and their labels, in a drawn order."""
    labels = np.repeat(np.arange(len(per_class)), [len(values) for values in per_class])
    order = np.random.default_rng(1).permutation(len(labels))
    return np.exp(np.concatenate(per_class))[order].astype(np.float32), labels[order]


def test_the_class_with_two_humps_is_suspected_and_its_low_hump_excluded():
    losses, labels = losses_of(humps((500, 0.0)), humps((300, -8.0), (400, 0.0), seed=1), humps((400, -3.0), seed=2))
    found = suspects.find(losses, labels, 3)
    assert found.classes.tolist() == [1]
    assert (labels[found.images] == 1).all()
    assert (losses[found.below] < found.thresholds[1]).all()
    assert len(found.below) == pytest.approx(300, abs=5)
    # The margin: a fifth of the others, those of the lowest loss.
    assert len(found.images) == pytest.approx(300 + 400 / 5, abs=5)
    assert losses[found.images].max() < np.quantile(losses[(labels == 1) & (losses > found.thresholds[1])], 0.21)
    without = suspects.find(losses, labels, 3, suspects.Settings(margin=0.0))
    assert np.array_equal(without.images, found.below)
    assert "of class 1" in str(found)


def test_no_class_is_suspected_where_none_has_two_humps():
    losses, labels = losses_of(*(humps((400, place), seed=place) for place in range(4)))
    found = suspects.find(losses, labels, 5)  # of the last class there is no image
    assert len(found.classes) == len(found.images) == 0
    assert np.isnan(found.shares[4])
    assert found.record()["suspected_classes"] == 0
    assert str(found) == "no class stands out, so no image is excluded"


def test_several_classes_may_be_suspected():
    two = [humps((200, -8.0), (300, 0.0), seed=seed) for seed in range(2)]
    losses, labels = losses_of(humps((500, 0.0)), two[0], humps((500, 1.0)), two[1])
    found = suspects.find(losses, labels, 4)
    assert sorted(found.classes) == [1, 3]
    assert len(found.below) == pytest.approx(400, abs=10)


def test_a_few_outliers_are_no_hump():
    losses, labels = losses_of(humps((500, 0.0)), np.concatenate([humps((500, 0.0)), np.full(5, -16.0)]))
    assert len(suspects.find(losses, labels, 2, suspects.Settings(least_share=0.0, chance=0.0)).classes) < 2
    assert not len(suspects.find(losses, labels, 2).classes)


def test_a_flat_hump_and_a_hump_with_a_long_tail_have_no_valley():
    random, count = np.random.default_rng(0), 4000
    for _ in range(5):
        flat, tail = random.uniform(size=count), np.concatenate([np.zeros(count // 2), random.uniform(size=count // 2)])
        losses, labels = losses_of(flat, humps((count, 0.0)), tail + random.normal(size=len(tail)) / 50)
        assert not len(suspects.find(losses, labels, 3).classes)
    assert suspects.best_split(tail).share > 0.8  # the twin: its share alone would do


def test_a_loss_of_zero_is_the_lowest_one():
    losses, labels = losses_of(humps((500, 0.0)))
    losses[:200] = 0
    found = suspects.find(losses, labels, 1)
    assert set(range(200)) <= set(found.images.tolist())


def test_the_verdict_needs_the_losses_and_the_labels_alone():
    losses, labels = losses_of(humps((500, 0.0)), humps((300, -8.0), (400, 0.0)))
    swapped = suspects.find(losses, 1 - labels, 2)
    assert swapped.classes.tolist() == [0]
    assert np.array_equal(swapped.images, suspects.find(losses, labels, 2).images)


def excluded(poisoned: attack.Poisoned, recipe: training.Recipe = RECIPE, **options) -> training.Trained:
    return training.exclude(poisoned.data, recipe, **QUIET | options)


@pytest.fixture(scope="module")
def large():
    """A poisoned set, what is measured of it, and what the method leaves."""
    poisoned, test = attacks.poison(toy(2000, 1)), toy(500, 2)
    watch = after_epoch.measure(test, poisoned, RECIPE.isolation_rate, precision="fp32")
    judge = after_epoch.judge(poisoned, RECIPE.isolation_rate, "averaged")
    return poisoned, excluded(poisoned, evaluate=watch, judge=judge)


def test_the_poison_is_excluded_and_the_backdoor_is_not_learned(large):
    poisoned, trained = large
    assert trained.suspects.classes.tolist() == [poisoned.target]
    found = summary.of_run(trained.history, trained.isolated, poisoned, trained.record, trained.suspects)
    assert found["split_precision"] > 0.8
    assert found["split_recall"] > 0.8
    assert found["exclusion_recall"] >= found["split_recall"]
    assert found["isolation_precision"] > 0.8
    assert found["attack_success_rate"] < 0.4
    assert found["method_excluded_images"] == len(trained.suspects.images)
    undefended = training.train(
        poisoned.data, RECIPE, method="none", **QUIET,
        evaluate=after_epoch.measure(toy(500, 2), poisoned, 0.05, precision="fp32"),
    )  # fmt: skip
    assert undefended.history[-1]["attack_success_rate"] > 0.8  # the twin


def test_the_history_has_a_stage_for_each_training(large):
    _, trained = large
    stages = [(record["stage"], record["epoch"]) for record in trained.history]
    epochs = RECIPE.isolation_epochs + RECIPE.finetune_epochs
    first = [("isolate", epoch + 1) for epoch in range(RECIPE.isolation_epochs)]
    assert stages == first + [("retrain", epoch + 1) for epoch in range(epochs)]
    assert trained.history[-1]["images"] == 2000 - len(trained.suspects.images)


def test_hardly_anything_is_excluded_of_a_clean_set():
    clean, test = attacks.poison(toy(2000, 1), rate=0.0), toy(500, 2)
    watch = after_epoch.measure(test, clean, RECIPE.isolation_rate, precision="fp32")
    judge = after_epoch.judge(clean, RECIPE.isolation_rate, "averaged")
    trained = excluded(clean, evaluate=watch, judge=judge)
    assert len(trained.suspects.images) <= 20
    found = summary.of_run(trained.history, trained.isolated, clean, trained.record, trained.suspects)
    kinds = ("isolation", "exclusion", "split")
    unknown = {f"{kind}_{what}" for kind in kinds for what in ("precision", "recall")}
    assert {name for name, value in found.items() if value is None} == unknown | {
        "isolation_auroc",
        "isolation_average_precision",
    }
    assert found["attack_success_rate"] < 0.2 and found["poisoned_images"] == 0
    plain = training.train(clean.data, RECIPE, method="none", **QUIET)
    if not len(trained.suspects.images):
        assert np.array_equal(weights(trained), weights(plain))


def test_the_kept_images_are_trained_on_as_by_method_none():
    poisoned = attacks.poison(toy(200, 1))
    trained = excluded(poisoned, settings=suspects.Settings(least_share=0.0, chance=0.0, most_valley=99.0))
    assert len(trained.suspects.classes) > 1
    kept = np.setdiff1d(np.arange(200), trained.suspects.images)
    plain = training.train(poisoned.data.take(kept), RECIPE, method="none", **QUIET)
    assert np.array_equal(weights(trained), weights(plain))
    everything = excluded(poisoned, settings=suspects.Settings(least_share=1.0))
    whole = training.train(poisoned.data, RECIPE, method="none", **QUIET)
    assert np.array_equal(weights(everything), weights(whole))
    assert not np.array_equal(weights(everything), weights(trained))


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_one_resumes_to_the_same_bits(tmp_path, killed_after):
    poisoned, seen = attacks.poison(toy(200, 1)), []
    recipe = replace(RECIPE, isolation_epochs=2, finetune_epochs=1)
    whole = excluded(poisoned, recipe)

    def stop(record: dict) -> None:
        seen.append(record)
        if len(seen) == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        excluded(poisoned, recipe, folder=tmp_path, report=stop)
    resumed = excluded(poisoned, recipe, folder=tmp_path)
    assert np.array_equal(weights(whole), weights(resumed))
    assert np.array_equal(whole.suspects.images, resumed.suspects.images)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == len(whole.history) == len(resumed.history)


def test_wrong_settings_are_refused(as_users_run_it):
    for message, change in {
        "least_share 1.5 is above 1": {"least_share": 1.5},
        "least_part nan must be": {"least_part": float("nan")},
        "lowest_loss 0.0 must be": {"lowest_loss": 0.0},
    }.items():
        assert message in refused(suspects.Settings, **change)
    everything = suspects.Settings(least_share=0, chance=0, most_valley=1e9, least_part=0, most_part=1, margin=1)
    told = refused(excluded, attacks.poison(toy(40, 1)), settings=everything)
    assert "40 of 40 images are excluded, so 0 are left" in told
    assert "isolation_epochs is 0" in refused(excluded, attacks.poison(toy(40, 1)), replace(RECIPE, isolation_epochs=0))
