"""Trainings side by side in one process end as each would alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, train_toy, weights

from ablkit.training import side_by_side

SHORT = replace(TOY_RECIPE, finetune_epochs=1, finetune_drop_epoch=1, unlearn_epochs=1)


def test_each_seed_gives_the_bits_that_it_gives_alone():
    together = side_by_side([partial(train_toy, SHORT, seed=seed) for seed in (0, 1, 2)], "cpu")
    for seed, trained in enumerate(together):
        assert np.array_equal(weights(trained), weights(train_toy(SHORT, seed=seed)))
    # The twin: another seed gives others.
    assert not np.array_equal(weights(together[0]), weights(together[1]))


def test_a_failure_is_raised_and_the_threads_are_those_of_before():
    def fail() -> None:
        raise ValueError("this one")

    with pytest.raises(ValueError, match="this one"):
        side_by_side([fail, int], "cpu")
    assert torch.get_num_threads() == 1
    assert side_by_side([], "cpu") == []
