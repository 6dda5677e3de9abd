"""Metrics of defences and of isolation agree with values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import toy
from torch import nn

from ablkit import attacks, metrics


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
