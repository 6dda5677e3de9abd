"""Method `exclude`: its trainings, which look decides, and what a kill leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import TOY_RECIPE, refused, toy, weights
from groups import NOBODY, fake

from ablkit import attacks, data, exclusion, training
from ablkit.attacks import attack
from ablkit.exclusion import lookalikes, rule, suspects
from ablkit.metrics import after_epoch, summary
from ablkit.runs.parameters import changed, check, defaults
from ablkit.training.inference import features_of

RECIPE = replace(TOY_RECIPE, average_decay=0.95, isolation_rate=0.05)
QUIET = {"device": "cpu", "precision": "fp32", "report": None}
NO_FILL = rule.Settings(fill=False)


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


def looks(monkeypatch, *found: tuple[np.ndarray, float]) -> list[tuple]:
    """From here on each look in turn excludes these images with such a separation; returns what they were given."""
    left, given = list(found), []

    def find(*arguments: object) -> suspects.Suspects:
        given.append(arguments)
        images, separation = left.pop(0)
        return fake(images, arguments[2], separation, arguments[7])

    monkeypatch.setattr(suspects, "find", find)
    return given


SOME = np.arange(0, 200, 5)
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


def test_the_control_looks_twice_as_its_method_does_and_then_leaves_out_others(monkeypatch):
    data_ = attacks.poison(toy(200, 1))
    found = looks(monkeypatch, (SOME, 8.0), NONE_SEEN)
    trained = excluded(data_, settings=replace(NO_FILL, control="random"))
    assert np.array_equal(found[1][8], SOME)  # the second look as well
    stages = [record["stage"] for record in trained.history]
    assert stages.count("again") == stages.count("retrain")
    assert len(trained.suspects.images) == len(SOME) and trained.suspects.images.tolist() != SOME.tolist()


def test_images_of_which_the_first_look_is_sure_are_left_out_at_once_and_the_second_judges_the_others(monkeypatch):
    poisoned = attacks.poison(toy(200, 1))
    given = looks(monkeypatch, (SOME, 8.0), NONE_SEEN)
    trained = excluded(poisoned, settings=NO_FILL)
    assert "again" not in {record["stage"] for record in trained.history}
    assert given[1][8].tolist() == SOME.tolist()
    # Of one that is less far apart it is not sure: all images are trained on, so that the second look judges it, too.
    given = looks(monkeypatch, (SOME, 7.9), NONE_SEEN)
    unsure = excluded(poisoned, settings=NO_FILL)
    assert not len(given[1][8])
    assert next(record["images"] for record in unsure.history if record["stage"] == "retrain") == 200
    assert unsure.suspects.images.tolist() == SOME.tolist() and unsure.record["look"] == 1
    assert np.array_equal(weights(unsure), weights(trained))


def test_what_the_second_look_finds_in_the_same_class_is_left_out_too(monkeypatch):
    more = np.arange(1, 200, 10)
    looks(monkeypatch, (SOME, 8.0), (more, 9.0))
    trained = excluded(attacks.poison(toy(200, 1)), settings=NO_FILL)
    assert trained.suspects.images.tolist() == np.union1d(SOME, more).tolist()
    assert trained.history[-1]["stage"] == "again"
    assert trained.history[-1]["images"] == 200 - len(trained.suspects.images)


def test_there_is_no_second_look_where_none_is_wanted(monkeypatch):
    for found in ((SOME, 6.0), NONE_SEEN):
        looks(monkeypatch, found)  # another look would find this list empty
        trained = excluded(attacks.poison(toy(200, 1)), settings=replace(NO_FILL, least_separation_at_end=0.0))
        assert trained.record["look"] == 1 and "again" not in {record["stage"] for record in trained.history}
        assert len(trained.looked_at) == 1 and trained.suspects.images.tolist() == found[0].tolist()


def test_where_neither_look_finds_anything_the_model_is_that_of_plain_training(monkeypatch):
    poisoned = attacks.poison(toy(200, 1))
    given = looks(monkeypatch, NONE_SEEN, (NOBODY, 4.0))
    trained = excluded(poisoned, settings=rule.Settings(least_separation=1e9))
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
    none = first.of(NOBODY, labels)
    assert first.with_second(second, labels, none).record()["largest_separation_of_others_at_end"] == 1.0


def test_look_alikes_are_judged_together_and_groups_of_the_set_are_those(monkeypatch):
    given = []
    monkeypatch.setattr(suspects, "find", lambda *given_: given.append(given_[6]) or fake(NOBODY, given_[2]))
    poisoned = attacks.poison(toy(200, 1))
    films = np.arange(200) // 4
    for groups in (None, films):
        excluded(replace(poisoned, data=replace(poisoned.data, groups=groups)), replace(RECIPE, finetune_epochs=0))
    assert len(given) == 4  # two looks each
    own, known = given[0].alike(1), given[2].alike(1)
    assert np.array_equal(given[0].kinds, given[2].kinds)  # what looks alike is not what belongs to one film
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
    train, _ = data.load("digits", train_size=600, root=data_root)
    poisoned = attacks.poison(train)
    recipe = training.recipe("smoke", isolation_epochs=2)
    small = rule.Settings(least_group=5, least_images=50, least_separation_at_end=0.0)
    few, every = (
        excluded(poisoned, replace(recipe, trajectories=text), settings=small) for text in ("", "loss averaged")
    )
    assert np.isfinite(few.suspects.separations).any()
    assert {name: values.shape for name, values in few.trajectories.items()} == {"averaged": (2, 600)}
    assert [values.shape for values in every.trajectories.values()] == [(2, 600)] * 2
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
        assert message in refused(rule.Settings, **change)
    looks(monkeypatch, (np.arange(30), 20.0))
    told = refused(excluded, attacks.poison(toy(40, 1)), replace(RECIPE, batch_size=20), settings=NO_FILL)
    assert "30 of 40 images are excluded, so 10 are left" in told
    for message, change in {
        "isolation_epochs is 0": {"isolation_epochs": 0},
        "isolation_score 'median' has no part in exclude": {"isolation_score": "median"},
        "schedule 'joint' has no part in exclude": {"schedule": "joint"},
    }.items():
        assert message in refused(excluded, attacks.poison(toy(40, 1)), replace(RECIPE, **change))


def test_without_phase_1_nothing_is_started(folders):
    told = refused(check, "run", defaults("run", "smoke") | {"method": "exclude", "isolation_epochs": 0})
    assert "isolation_epochs is 0" in told
    values = changed("exclusion", "smoke", {"attack_names": "badnets", "changes": "isolation_epochs=0"})
    assert "isolation_epochs is 0" in refused(check, "exclusion", values)
    check("run", defaults("run", "smoke") | {"method": "exclude"})  # the twin
