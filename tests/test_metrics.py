"""Metrics of defences and of isolation agree with values worked out by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import refused, toy
from torch import nn

from ablkit import attacks, metrics
from ablkit.metrics import after_epoch, statistics, summary


class Answers(nn.Module):
    """Takes images for given classes, one after the other, whatever they show."""

    def __init__(self, answers: list[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answers = list(answers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        now, self.answers = self.answers[: len(x)], self.answers[len(x) :]
        return nn.functional.one_hot(torch.tensor(now), 10).float()


def test_robust_accuracy_counts_triggered_images_taken_for_their_true_class():
    predicted, labels = np.array([0, 1, 3, 3]), np.array([1, 1, 2, 3])
    assert metrics.robust_accuracy(predicted, labels) == 2 / 4


def test_robust_accuracy_is_not_the_attack_success_rate():
    # The test images are of the classes 0 to 9; triggered ones of the target class 0 are left out.
    test, poisoned = toy(10, 2), attacks.poison(toy(50, 1))
    clean = list(range(10))
    # Classes 1 to 9 with the trigger: three taken for the target, two for a third class, four for their own.
    triggered = [0, 0, 0, 5, 4, 6, 7, 8, 9]
    measured = metrics.evaluate(Answers(clean + triggered), test, poisoned, "fp32")
    assert measured["clean_accuracy"] == 1.0
    assert measured["attack_success_rate"] == pytest.approx(3 / 9)
    assert measured["robust_accuracy"] == pytest.approx(4 / 9)


@pytest.mark.parametrize(
    ("success", "clean", "rating"),
    [
        ((1.0, 0.0), (0.8, 0.8), 1.0),  # gone at no cost
        ((1.0, 1.0), (0.8, 0.8), 0.5),  # nothing done
        ((1.0, 0.2), (0.8, 0.7), (0.8 - 0.1 + 1) / 2),
        ((1.0, 0.2), (0.7, 0.8), (0.8 + 1) / 2),  # a gain of clean accuracy is no merit
        ((0.5, 0.9), (0.8, 0.7), (-0.1 + 1) / 2),  # a rise of the attack success rate is no further fault
        ((1.0, 1.0), (1.0, 0.0), 0.0),
    ],
)
def test_the_effectiveness_rating_agrees_with_values_by_hand(success, clean, rating):
    before, after = ({"attack_success_rate": success[i], "clean_accuracy": clean[i]} for i in (0, 1))
    assert metrics.defense_effectiveness(before, after) == pytest.approx(rating)


def test_a_rating_without_one_of_its_values_is_none_at_all():
    whole, lacking = {"attack_success_rate": 1.0, "clean_accuracy": 0.8}, {"clean_accuracy": 0.8}
    for missing in (None, float("nan")):
        assert metrics.defense_effectiveness(whole, lacking | {"attack_success_rate": missing}) is None
        assert metrics.defense_effectiveness(lacking | {"attack_success_rate": missing}, whole) is None
    frame = pd.DataFrame([{"attack": "sig", "seed": 0, "method": name, **whole} for name in ("none", "abl", "nad")])
    frame["attack_success_rate"] = [1.0, None, 0.2]
    rating = summary.with_effectiveness(frame)["defense_effectiveness"]
    assert rating.isna().tolist() == [True, True, False] and rating[2] == pytest.approx(0.9)
    # Without an undefended run of its attack and seed a defence has none; the others keep theirs.
    alone = pd.concat([frame, frame.tail(1).assign(seed=1), frame.tail(1).assign(attack="cl")], ignore_index=True)
    rating = summary.with_effectiveness(alone)["defense_effectiveness"]
    assert rating.isna().tolist() == [True, True, False, True, True] and rating[2] == pytest.approx(0.9)
    assert summary.with_effectiveness(frame.tail(1))["defense_effectiveness"].isna().all()


def test_what_cannot_be_measured_is_none_and_warns_of_nothing():
    poisoned, test = attacks.poison(toy(50, 1)), toy(20, 2)
    rest, target = test.take(np.flatnonzero(test.labels != 0)), test.take(np.flatnonzero(test.labels == 0))
    measured = metrics.evaluate(Answers([1] * 36), rest, poisoned, "fp32")
    assert measured["target_class_accuracy"] is None and measured["clean_accuracy"] == pytest.approx(2 / 18)
    measured = metrics.evaluate(Answers([0] * 2), target, poisoned, "fp32")
    assert [name for name, value in measured.items() if value is None] == [
        "clean_accuracy_non_target",
        "attack_success_rate",
        "robust_accuracy",
    ]
    nothing, losses = np.empty(0, np.int64), np.ones(50, np.float32)
    assert metrics.isolation_quality(nothing, poisoned.is_poisoned) == {
        "isolation_precision": None,
        "isolation_recall": 0.0,
    }
    clean = attacks.poison(toy(50, 1), rate=0.0)
    assert [name for name, value in metrics.loss_gap(losses, clean, 0.1).items() if value is None] == [
        "poisoned_loss",
        "isolation_precision",
        "isolation_recall",
        "isolation_auroc",
        "isolation_average_precision",
    ]
    record = {"stage": "finetune", "images": 50, "seconds": 0.0, **measured}
    assert summary.of_run([record], nothing, poisoned)["images_per_second"] is None


def test_nothing_is_measured_where_no_attack_can_be_tried():
    poisoned, test = attacks.poison(toy(50, 1)), toy(20, 2)
    empty, target = test.take(np.empty(0, np.int64)), test.take(np.flatnonzero(test.labels == 0))
    assert "no test images" in refused(metrics.evaluate, Answers([]), empty, poisoned, "fp32")
    assert "no test images" in refused(after_epoch.measure, empty, poisoned, 0.1)
    assert "of the target alone" in refused(after_epoch.measure, target, poisoned, 0.1)
    assert after_epoch.measure(test, poisoned, 0.1)


def test_means_of_what_no_run_has_are_none():
    rows = [{"attack": "sig", "seed": s, "attack_success_rate": None, "clean_accuracy": 0.5} for s in (0, 1)]
    found = summary.of_attacks(pd.DataFrame(rows).assign(clean_accuracy_non_target=None))
    assert found == {
        "attack_success_rate_sig": None,
        "clean_accuracy_sig": 0.5,
        "clean_accuracy_non_target_sig": None,
    }
    one = {"attack": "sig", "method": "abl", "poisoned_loss": None}
    gap = pd.DataFrame([one | {"seed": s, "epoch": e, "clean_loss": s + e} for s in (0, 1) for e in (1, 2)])
    assert summary.of_gap(gap) == {"clean_loss_sig_abl": 2.5, "poisoned_loss_sig_abl": None}


def test_average_precision_agrees_with_values_by_hand():
    poisoned = np.array([True, True, False, False, True])
    losses = np.array([0.1, 0.9, 0.5, 0.2, 0.3], np.float32)
    # In the order of the losses: poisoned (1 of 1), clean, poisoned (2 of 3), clean, poisoned (3 of 5).
    by_hand = (1 / 1 + 2 / 3 + 3 / 5) / 3
    assert metrics.isolation_average_precision(losses, poisoned) == pytest.approx(by_hand)
    # The twins: the best ranking, the worst, one that says nothing, and no poison at all.
    assert metrics.isolation_average_precision(np.where(poisoned, 0.0, 1.0), poisoned) == 1.0
    worst = (1 / 3 + 2 / 4 + 3 / 5) / 3
    assert metrics.isolation_average_precision(np.array([3, 4, 1, 2, 5.0]), poisoned) == pytest.approx(worst)
    assert metrics.isolation_average_precision(np.zeros(5), poisoned) == pytest.approx(3 / 5)
    assert metrics.isolation_average_precision(losses, np.zeros(5, bool)) is None


def test_average_precision_is_that_of_scikit_learn_with_ties_and_without():
    from sklearn.metrics import average_precision_score

    random = np.random.default_rng(0)
    for digits in (1, 8):
        losses, poisoned = random.random(200).round(digits), random.random(200) < 0.1
        expected = average_precision_score(poisoned, -losses)
        assert metrics.isolation_average_precision(losses, poisoned) == pytest.approx(expected)


def test_a_sweep_of_several_attacks_is_read_kind_by_kind():
    names = ["attack", "method", "method_settings", "seed", "poison_rate"]
    rows = [
        ("badnets", "none", "", 0, 0.1, 1.0),
        ("badnets", "none", "", 1, 0.1, 0.5),
        ("badnets", "abl", "", 0, 0.1, 0.25),
        ("badnets", "abl", "", 1, 0.1, 0.25),
        ("blend", "abl", "", 0, 0.1, 0.75),
    ]
    frame = pd.DataFrame(rows, columns=[*names, "attack_success_rate"])
    found = statistics.by_kind(frame, names)
    assert [*found] == ["attack", "method", "attack_success_rate", "minus_none"]  # what varies, and no more
    assert found.to_numpy().tolist() == [
        ["badnets", "none", "0.75 (n = 2)", ""],
        ["badnets", "abl", "0.25 (n = 2)", "-0.5 (n = 2)"],
        ["blend", "abl", "0.75 (n = 1)", ""],  # nothing undefended to hold it against
    ]
    # The twin: runs at another rate are another kind, and no reference.
    other = frame.assign(poison_rate=[0.1, 0.1, 0.2, 0.2, 0.1])
    assert set(statistics.by_kind(other, names)["minus_none"]) == {""}


@pytest.mark.parametrize("values", [[0.03, 0.01, 0.9, 0.02, 0.04], [0.7] * 4 + [0.7000000000000001]])
def test_an_interval_is_that_of_the_values_in_whatever_order_and_of_equal_ones_it_is_their_mean(values):
    found = {str(statistics.summary(list(order))) for order in permutations(values)}
    assert len(found) == 1 and "nan" not in found.pop()
    ends = statistics.summary(values)
    assert ends.low <= ends.mean <= ends.high
    assert (ends.low == ends.high) == (max(values) - min(values) < 1e-9)  # the twin
