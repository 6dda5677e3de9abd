"""Method `exclude`: which class stands out, which of its images are left out, and the training on the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import TOY_RECIPE, refused, toy, weights
from hypothesis import given
from hypothesis import strategies as st

from ablkit import attacks, data, exclusion, training
from ablkit.attacks import attack
from ablkit.exclusion import lookalikes, splits, suspects
from ablkit.metrics import after_epoch, summary
from ablkit.training.inference import features_of
from ablkit.training.otsu import best_split

RECIPE = replace(TOY_RECIPE, average_decay=0.95, isolation_rate=0.05)
QUIET = {"device": "cpu", "precision": "fp32", "report": None}
NO_FILL = suspects.Settings(fill=False)


def humps(*parts: tuple[int, float], seed: int = 0) -> np.ndarray:
    """Normal humps of unit deviation: so many values about each place."""
    random = np.random.default_rng(seed)
    return np.concatenate([random.normal(place, 1.0, count) for count, place in parts])


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30))
def test_no_other_cut_leaves_less_variance(values):
    values = np.array(values, np.float64)
    cut, share = best_split(values)
    if np.ptp(values) == 0:
        assert np.isnan([cut, share]).all()
        return

    def left(cut: float) -> float:
        return sum(len(part) * part.var() for part in (values[values < cut], values[values >= cut]))

    assert left(cut) == pytest.approx(min(left(other) for other in np.unique(values)[1:]), abs=1e-9)
    assert share == pytest.approx(1 - left(cut) / (len(values) * values.var()), abs=1e-9)


def cloud(first: int, others: int, distance: float, *, seed: int = 0, dimensions: int = 40) -> tuple[np.ndarray, ...]:
    """Features of two groups that differ in one of many directions, and values that tell them apart badly."""
    random = np.random.default_rng(seed)
    is_first = np.arange(first + others) < first
    direction = random.normal(size=dimensions)
    direction *= distance / np.linalg.norm(direction)
    features = random.normal(size=(first + others, dimensions)) + is_first[:, None] * direction
    return features, random.normal(size=first + others) - 2.0 * is_first, is_first


def halves(n: int) -> np.ndarray:
    return np.random.default_rng(3).permutation(n) % 2


@pytest.mark.parametrize("first", [25, 100, 900])
def test_features_finish_what_the_values_begin(first):
    features, values, is_first = cloud(first, 1000 - first, 14.0)
    groups = splits.two_groups(features, values[None], halves(1000))
    assert (groups.first == is_first).mean() > 0.998
    assert groups.separation > suspects.Settings().least_separation
    assert groups.valley < suspects.Settings().most_valley
    # The twin: the values alone leave many where they do not belong.
    assert ((values < best_split(values).cut) == is_first).mean() < 0.95


def test_a_group_of_which_the_values_say_nothing_is_found_by_the_features(monkeypatch):
    features, values, is_first = cloud(300, 700, 8.0)
    drawn = np.random.default_rng(5).permutation(values)[None]
    groups = splits.two_groups(features, drawn, halves(1000))
    assert max((groups.first == is_first).mean(), (groups.first != is_first).mean()) > 0.998
    monkeypatch.setattr(splits, "_components", lambda features: np.empty((0, len(features))))
    alone = splits.two_groups(features, drawn, halves(1000))  # the twin
    assert not alone.valley <= suspects.Settings().most_valley


@pytest.mark.parametrize("is_slower", [False, True])
def test_the_first_group_is_the_one_that_lies_farther_from_what_is_usual(is_slower):
    features, values, is_first = cloud(300, 700, 14.0)
    values = -values[None] if is_slower else values[None]
    usual = features[~is_first].mean(axis=0)
    assert (splits.two_groups(features, values, halves(1000), usual=usual).first == is_first).mean() > 0.998
    turned = features[is_first].mean(axis=0)  # the twin
    assert (splits.two_groups(features, values, halves(1000), usual=turned).first != is_first).mean() > 0.998


def test_a_feature_that_is_silent_in_a_class_does_not_decide_which_group_is_the_usual_one(monkeypatch):
    def is_wrong(seed: int) -> bool:
        features, values, is_first = cloud(300, 700, 10.0, seed=seed)
        random = np.random.default_rng(seed)
        silent = (random.random((1000, 5)) < 0.02) * random.random((1000, 5)) * 0.05
        usual = np.append(features[~is_first].mean(axis=0), np.ones(5))  # active in other images
        features = np.concatenate([features, silent], axis=1)
        found = splits.two_groups(features, values[None], halves(1000), usual=usual)
        return (found.first == is_first).mean() < 0.5

    assert not any(is_wrong(seed) for seed in range(8))
    monkeypatch.setattr(splits, "_FARTHEST", 1e9)  # the twin
    assert any(is_wrong(seed) for seed in range(8))


@given(st.integers(0, 50), st.integers(10, 60), st.integers(1, 12))
def test_the_spread_of_all_gives_the_direction_that_the_spread_inside_the_groups_gives(seed, count, size):
    random = np.random.default_rng(seed)
    features, first = random.normal(size=(count, size)) * random.uniform(0.5, 2, size), np.arange(count) < count // 3
    parts = features[first], features[~first]
    scores = splits._discriminant(*parts, splits._inverse_spread(features))(features)
    means = [part.mean(axis=0) for part in parts]
    centred = np.concatenate([part - mean for part, mean in zip(parts, means, strict=True)])
    inside = centred.T @ centred / count + splits._RIDGE * np.eye(size)
    direction = np.linalg.solve(inside, means[1] - means[0])
    expected = (features - (means[0] + means[1]) / 2) @ direction / (direction @ (means[1] - means[0]))
    assert scores == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("n", [60, 300, 1000])
def test_one_group_is_not_taken_for_two_however_many_dimensions_there_are(n):
    for seed in range(5):
        features, values, _ = cloud(0, n, 0.0, seed=seed, dimensions=150)
        groups = splits.two_groups(features, values[None], halves(n))
        assert not groups.separation >= suspects.Settings().least_separation


def test_two_groups_are_not_found_in_nothing():
    nothing = splits.two_groups(np.ones((30, 4)), np.zeros((1, 30)), halves(30))
    assert np.isnan(nothing.separation)
    assert not nothing.first.any()


def judged(
    *classes: tuple[int, int, float], look: int = 1, passed_over: np.ndarray | None = None, **settings: object
) -> tuple[suspects.Suspects, np.ndarray, np.ndarray]:
    """The verdict on classes of so many poisoned and clean images at a distance; labels, and which are poisoned."""
    parts = [cloud(*one, seed=seed) for seed, one in enumerate(classes)]
    labels = np.repeat(np.arange(len(classes)), [len(part[0]) for part in parts])
    order = np.random.default_rng(1).permutation(len(labels))
    features, values, poisoned = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    rule = suspects.Settings(**settings)
    found = suspects.find(
        np.exp(values)[None], features, labels[order], len(classes) + 1, rule, look=look, passed_over=passed_over
    )
    return found, labels[order], poisoned


def test_the_class_of_two_groups_is_suspected_and_that_of_the_lower_losses_excluded():
    found, _, poisoned = judged((0, 500, 0.0), (300, 400, 14.0), (0, 400, 0.0))
    assert found.classes.tolist() == [1]
    assert poisoned[found.images].mean() > 0.99
    assert len(found.images) == pytest.approx(300, abs=3)
    assert np.isnan(found.separations[3])  # of the last class there is no image
    assert found.record()["largest_separation"] > 5 > found.record().get("largest_separation_of_others", 0)
    assert "of class 1" in str(found)


def test_poison_that_is_no_longer_ahead_at_the_end_is_found_by_the_median_over_the_epochs(monkeypatch):
    monkeypatch.setattr(splits, "_components", lambda features: np.empty((0, len(features))))  # by losses alone
    features, values, poisoned = cloud(300, 700, 6.0)
    turned = np.random.default_rng(5).permutation(len(values))  # the last epoch ranks them as chance does
    labels = np.zeros(len(values), np.int64)
    epochs = np.exp(np.stack([values, values, values, values, values[turned]]))
    found = suspects.find(epochs, features, labels, 1)
    assert found.classes.tolist() == [0] and poisoned[found.images].mean() > 0.98
    assert len(found.images) == pytest.approx(300, abs=10)
    # The twin: from the last epoch alone the poison is not found.
    alone = suspects.find(epochs[-1:], features, labels, 1)
    assert not len(alone.classes)


def test_no_class_is_suspected_where_none_has_two_groups():
    found, _, _ = judged((0, 500, 0.0), (0, 400, 0.0))
    assert len(found.classes) == len(found.images) == 0
    assert found.record()["suspected_classes"] == 0
    assert str(found) == "no class stands out"


def test_several_classes_may_be_suspected():
    found, _, poisoned = judged((0, 500, 0.0), (200, 300, 14.0), (0, 500, 0.0), (250, 300, 14.0))
    assert sorted(found.classes) == [1, 3]
    assert poisoned[found.images].sum() == pytest.approx(450, abs=4)


def test_a_handful_of_outliers_is_no_poison():
    assert len(judged((0, 500, 0.0), (40, 460, 14.0))[0].classes) == 1
    assert not len(judged((0, 500, 0.0), (40, 460, 14.0), least_group=50)[0].classes)
    assert not len(judged((0, 500, 0.0), (40, 460, 14.0), least_part=0.1)[0].classes)


def test_a_class_that_is_passed_over_is_not_judged_and_changes_no_other():
    parts = (200, 300, 14.0), (0, 500, 0.0), (250, 300, 14.0)
    found, labels, _ = judged(*parts)
    rest, _, _ = judged(*parts, look=2, passed_over=np.array([2]))
    assert found.classes.tolist() == [2, 0] and rest.classes.tolist() == [0]
    assert np.isnan(rest.separations[2]) and np.array_equal(rest.separations[:2], found.separations[:2])
    assert np.array_equal(rest.images, found.images[labels[found.images] == 0])
    assert rest.looks.tolist() == [2] * 4 and found.looks.tolist() == [1] * 4


def test_the_control_excludes_as_many_of_the_same_classes_by_chance():
    found, labels, poisoned = judged((0, 500, 0.0), (300, 400, 14.0))
    drawn = suspects.drawn_instead(found, labels, 0)
    assert np.array_equal(np.bincount(labels[found.images]), np.bincount(labels[drawn.images]))
    assert len(np.unique(drawn.images)) == len(drawn.images)
    assert poisoned[drawn.images].mean() == pytest.approx(3 / 7, abs=0.1)


def test_the_control_looks_twice_as_its_method_does_and_then_leaves_out_others(monkeypatch):
    data_ = attacks.poison(toy(200, 1))
    found = looks(monkeypatch, (SOME, 8.0), NONE_SEEN)
    trained = excluded(data_, settings=replace(NO_FILL, control="random"))
    assert np.array_equal(found[1][8], np.unique(data_.data.labels[SOME]))  # the second look as well
    stages = [record["stage"] for record in trained.history]
    assert stages.count("again") == stages.count("retrain")
    assert len(trained.suspects.images) == len(SOME) and trained.suspects.images.tolist() != SOME.tolist()


def test_a_class_that_lost_much_is_filled_up_from_what_is_left_of_it():
    labels = np.repeat([0, 1, 2], [100, 120, 400])
    for suspected, wanted in ((0, 100), (2, 110)):  # as many as it had, or as the others have in the median
        own = np.flatnonzero(labels == suspected)
        found = suspects.Suspects(np.zeros(3), np.zeros(3), np.zeros(3), np.array([suspected]), own[:-30])
        kept = suspects.kept(labels, found, fill=True)
        assert np.bincount(labels[kept])[suspected] == wanted
        assert set(kept) == set(suspects.kept(labels, found, fill=False)) == set(range(620)) - set(own[:-30])
        counts = np.unique(kept[labels[kept] == suspected], return_counts=True)[1]
        assert counts.max() - counts.min() <= 1
        assert len(suspects.kept(labels, found, fill=False)) == 620 - len(own) + 30  # the twin


def excluded(poisoned: attack.Poisoned, recipe: training.Recipe = RECIPE, **options) -> training.Trained:
    return exclusion.exclude(poisoned.data, recipe, **QUIET | options)


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
    assert found["exclusion_precision"] > 0.9
    assert found["exclusion_recall"] > 0.9
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
    kinds = ("isolation", "exclusion")
    unknown = {f"{kind}_{what}" for kind in kinds for what in ("precision", "recall")}
    assert {name for name, value in found.items() if value is None} == unknown | {
        "isolation_auroc",
        "isolation_average_precision",
    }
    assert found["attack_success_rate"] < 0.2 and found["poisoned_images"] == 0
    plain = training.train(clean.data, RECIPE, method="none", **QUIET)
    if not len(trained.suspects.images):
        assert np.array_equal(weights(trained), weights(plain))


def fake(images: np.ndarray, labels: np.ndarray, separation: float = 20.0, look: int = 1) -> suspects.Suspects:
    """A verdict that these images are poisoned, each of its class, and that all classes are as far apart as this."""
    numbers = np.full(10, separation)
    nothing = (splits.Groups(np.zeros(0, bool), separation, np.nan, np.zeros(0)),) * 10
    classes = np.unique(labels[images])
    return suspects.Suspects(numbers, numbers, numbers, classes, images, nothing, np.ones(10, bool), np.full(10, look))


def looks(monkeypatch, *found: tuple[np.ndarray, float]) -> list[tuple]:
    """From here on each look in turn excludes these images with such a separation; returns what they were given."""
    left, given = list(found), []

    def find(*arguments: object) -> suspects.Suspects:
        given.append(arguments)
        images, separation = left.pop(0)
        return fake(images, arguments[2], separation, arguments[7])

    monkeypatch.setattr(suspects, "find", find)
    return given


NOBODY, SOME = np.empty(0, np.int64), np.arange(0, 200, 5)
NONE_SEEN = (NOBODY, 0.0)


def test_the_kept_images_are_trained_on_as_by_method_none(monkeypatch):
    poisoned = attacks.poison(toy(200, 1))
    everything = excluded(poisoned)
    assert not len(everything.suspects.images)
    whole = training.train(poisoned.data, RECIPE, method="none", **QUIET)
    assert np.array_equal(weights(everything), weights(whole))
    looks(monkeypatch, (SOME, 20.0), NONE_SEEN)
    trained = excluded(poisoned, settings=NO_FILL)
    plain = training.train(poisoned.data.take(np.flatnonzero(np.arange(200) % 5)), RECIPE, method="none", **QUIET)
    assert np.array_equal(weights(trained), weights(plain))
    assert not np.array_equal(weights(everything), weights(trained))


def test_what_the_first_look_misses_the_second_finds_and_training_starts_anew_without_it(monkeypatch, tmp_path):
    poisoned = attacks.poison(toy(200, 1))
    given = looks(monkeypatch, NONE_SEEN, (SOME, 9.0))
    trained = excluded(poisoned, settings=NO_FILL, folder=tmp_path)
    epochs = RECIPE.isolation_epochs + RECIPE.finetune_epochs
    stages = [record["stage"] for record in trained.history]
    assert stages == ["isolate"] * RECIPE.isolation_epochs + ["retrain"] * epochs + ["again"] * epochs
    assert trained.record["look"] == 2 and trained.suspects.images.tolist() == SOME.tolist()
    assert [look[4].least_separation for look in given] == [5, 8]
    whole = training.train(poisoned.data, RECIPE, method="none", **QUIET)
    seen = features_of(whole.model, poisoned.data.images, "fp32")
    assert np.array_equal(given[1][1], seen) and not np.array_equal(given[0][1], seen)  # it has seen every image
    rest = poisoned.data.take(np.setdiff1d(np.arange(200), SOME))
    plain = training.train(rest, RECIPE, method="none", **QUIET)
    assert np.array_equal(weights(trained), weights(plain))
    looks(monkeypatch, NONE_SEEN, (SOME, 9.0))
    again = excluded(poisoned, settings=NO_FILL, folder=tmp_path)  # nothing is trained twice
    assert [record["seconds"] for record in again.history] == [record["seconds"] for record in trained.history]


def test_a_class_of_which_the_first_look_is_sure_is_left_out_at_once_and_not_judged_again(monkeypatch):
    poisoned = attacks.poison(toy(200, 1))
    given = looks(monkeypatch, (SOME, 8.0), NONE_SEEN)
    trained = excluded(poisoned, settings=NO_FILL)
    assert "again" not in {record["stage"] for record in trained.history}
    assert given[1][8].tolist() == np.unique(poisoned.data.labels[SOME]).tolist()
    # Of one that is less far apart it is not sure: all images are trained on, so that the second look judges it, too.
    given = looks(monkeypatch, (SOME, 7.9), NONE_SEEN)
    unsure = excluded(poisoned, settings=NO_FILL)
    assert not len(given[1][8])
    assert next(record["images"] for record in unsure.history if record["stage"] == "retrain") == 200
    assert unsure.suspects.images.tolist() == SOME.tolist() and unsure.record["look"] == 1
    assert np.array_equal(weights(unsure), weights(trained))


def test_of_a_class_that_both_looks_suspect_the_second_decides_and_other_finds_are_joined():
    labels = np.repeat(np.arange(10), 20)
    first = fake(np.arange(15, 45), labels, 6.0)  # of classes 0, 1 and 2
    second = fake(np.arange(30, 65), labels, 9.0, look=2)  # of 1, 2 and 3
    both = first.with_second(second, labels)
    assert both.images.tolist() == [*range(15, 20), *range(30, 65)]
    assert both.classes.tolist() == [1, 2, 3, 0]  # the farthest apart first
    assert both.looks.tolist() == [1, 2, 2, 2] + [1] * 6
    assert both.separations.tolist() == [6.0, 9.0, 9.0, 9.0] + [6.0] * 6
    assert [groups.separation for groups in both.groups] == both.separations.tolist()
    assert both.after_phase_1.tolist() == [6.0] * 10 and both.at_end.tolist() == [9.0] * 10
    alone = first.with_second(fake(NOBODY, labels, 1.0, look=2), labels)  # the twin
    assert alone.images.tolist() == first.images.tolist() and alone.looks.tolist() == [1] * 10


def test_there_is_no_second_look_where_none_is_wanted(monkeypatch):
    for found in ((SOME, 6.0), NONE_SEEN):
        looks(monkeypatch, found)  # another look would find this list empty
        trained = excluded(attacks.poison(toy(200, 1)), settings=replace(NO_FILL, least_separation_at_end=0.0))
        assert trained.record["look"] == 1 and "again" not in {record["stage"] for record in trained.history}
        assert len(trained.looked_at) == 1 and trained.suspects.images.tolist() == found[0].tolist()


def test_where_neither_look_finds_anything_the_model_is_that_of_plain_training(monkeypatch):
    poisoned = attacks.poison(toy(200, 1))
    given = looks(monkeypatch, NONE_SEEN, (NOBODY, 4.0))
    trained = excluded(poisoned, settings=suspects.Settings(least_separation=1e9))
    assert given[1][4].least_separation == 1e9  # who suspects nothing at first suspects nothing at the end
    plain = training.train(poisoned.data, RECIPE, method="none", **QUIET)
    assert np.array_equal(weights(trained), weights(plain))
    assert trained.looked_at == (trained.averaged, trained.model)
    assert trained.record["largest_separation_of_others_at_end"] == 4.0


def test_no_suspect_counts_among_the_other_classes_whichever_look_found_it(monkeypatch):
    poisoned = attacks.poison(toy(200, 1))
    labels = poisoned.data.labels
    looks(monkeypatch, (np.flatnonzero(labels == 0)[:10], 6.0), (NOBODY, 7.0))
    record = excluded(poisoned, settings=NO_FILL).record
    assert record["suspected_classes"] == 1 and record["largest_separation_of_others_at_end"] == 7.0
    first = fake(np.flatnonzero(labels == 0), labels, 6.0)
    second = replace(fake(NOBODY, labels, 1.0, look=2), separations=np.array([7.0, *[1.0] * 9]))
    assert first.with_second(second, labels).record()["largest_separation_of_others_at_end"] == 1.0


def test_look_alikes_are_judged_together_and_groups_of_the_set_are_those(monkeypatch):
    given = []
    monkeypatch.setattr(suspects, "find", lambda *given_: given.append(given_[6]) or fake(NOBODY, given_[2]))
    poisoned = attacks.poison(toy(200, 1))
    films = np.arange(200) // 4
    for groups in (None, films):
        excluded(replace(poisoned, data=replace(poisoned.data, groups=groups)), replace(RECIPE, finetune_epochs=0))
    assert len(given) == 4  # two looks each
    own, known = given[0](1), given[2](1)
    assert np.array_equal(known, films) and not np.array_equal(own, films)
    assert np.array_equal(own, lookalikes.groups(poisoned.data.images, poisoned.data.labels, 0, 1))


@pytest.mark.parametrize("killed_after", [1, 2, 3, 6, 7])
def test_a_killed_one_resumes_to_the_same_bits(monkeypatch, tmp_path, killed_after):
    poisoned, seen = attacks.poison(toy(200, 1)), []
    recipe = replace(RECIPE, isolation_epochs=2, finetune_epochs=1)
    looks(monkeypatch, *[NONE_SEEN, (SOME, 9.0)] * 3)  # of each of the three calls
    whole = excluded(poisoned, recipe)
    assert [record["stage"] for record in whole.history][5:] == ["again"] * 3

    def stop(record: dict) -> None:
        seen.append(record)
        if len(seen) == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        excluded(poisoned, recipe, folder=tmp_path, report=stop)
    looks(monkeypatch, NONE_SEEN, (SOME, 9.0))
    resumed = excluded(poisoned, recipe, folder=tmp_path)
    assert np.array_equal(weights(whole), weights(resumed))
    assert np.array_equal(whole.suspects.images, resumed.suspects.images)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert len(lines) == len(whole.history) == len(resumed.history)


def test_kept_scores_change_nothing_that_is_found_on_digits(data_root):
    train, _ = data.load("digits", train_size=900, root=data_root)
    poisoned = attacks.poison(train)
    recipe = training.recipe("smoke", isolation_epochs=3)
    small = suspects.Settings(least_group=5, least_images=50)
    few, every = (
        excluded(poisoned, replace(recipe, trajectories=text), settings=small) for text in ("", "loss averaged")
    )
    assert np.isfinite(few.suspects.separations).any()
    assert {name: values.shape for name, values in few.trajectories.items()} == {"averaged": (3, 900)}
    assert [values.shape for values in every.trajectories.values()] == [(3, 900)] * 2
    assert np.array_equal(weights(few), weights(every))
    assert np.array_equal(few.losses, every.losses)
    assert np.array_equal(few.suspects.separations, every.suspects.separations, equal_nan=True)
    assert np.array_equal(few.suspects.images, every.suspects.images)
    other = excluded(poisoned, replace(recipe, average_decay=0.5))
    assert not np.array_equal(few.losses, other.losses)  # the twin


def test_wrong_settings_are_refused(as_users_run_it, monkeypatch):
    for message, change in {
        "least_part 0.6 is above 0.5": {"least_part": 0.6},
        "'shuffled' is no control": {"control": "shuffled"},
        "least_part nan must be": {"least_part": float("nan")},
        "lowest_loss 0.0 must be": {"lowest_loss": 0.0},
    }.items():
        assert message in refused(suspects.Settings, **change)
    looks(monkeypatch, (np.arange(30), 20.0))
    told = refused(excluded, attacks.poison(toy(40, 1)), replace(RECIPE, batch_size=20), settings=NO_FILL)
    assert "30 of 40 images are excluded, so 10 are left" in told
    assert "isolation_epochs is 0" in refused(excluded, attacks.poison(toy(40, 1)), replace(RECIPE, isolation_epochs=0))
