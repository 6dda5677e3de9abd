"""The committed results of the quick preset hold what the README claims of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FILES = Path(__file__).parents[1] / "reports" / "files"
SEEDS = [0, 1, 2]


def metrics(method: str, seed: int) -> dict:
    return json.loads((FILES / f"run-cifar10-badnets-{method}-seed{seed}" / "metrics.json").read_text())


def test_seed_0_meets_the_targets_of_the_quick_preset():
    undefended, defended = metrics("none", 0), metrics("abl", 0)
    assert undefended["attack_success_rate"] >= 0.95
    assert defended["isolation_precision"] >= 0.90
    assert defended["attack_success_rate"] <= 0.05
    assert defended["clean_accuracy_non_target"] >= 0.68


@pytest.mark.parametrize("seed", SEEDS)
def test_on_every_seed_the_defence_makes_the_difference(seed):
    assert metrics("none", seed)["attack_success_rate"] >= 0.95
    assert metrics("abl", seed)["attack_success_rate"] < metrics("abl", seed)["attack_success_rate_finetuned"] / 2
    # What it costs: the target class.
    assert metrics("abl", seed)["target_class_accuracy"] < metrics("none", seed)["target_class_accuracy"]
