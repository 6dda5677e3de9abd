"""The fast loss pass gives each example the loss that it has on its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import toy

from ablkit import models
from ablkit.training import hardware, isolate, per_example_losses, predict


@pytest.fixture
def model() -> torch.nn.Module:
    model = models.build("wrn-10-1", 10).train()
    model(torch.rand(64, 3, 16, 16))  # batch norm has seen something
    return hardware.choose("cpu").place(model)


def one_by_one(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    model.eval()
    with torch.no_grad():
        pixels = torch.tensor(images).permute(0, 3, 1, 2).float() / 255
        return np.array(
            [F.cross_entropy(model(x[None]), torch.tensor([y])).item() for x, y in zip(pixels, labels, strict=True)]
        )


def test_losses_equal_those_of_a_loop_over_single_examples(model):
    some = toy(100, 3)
    expected = one_by_one(model, some.images, some.labels)
    np.testing.assert_allclose(per_example_losses(model, some.images, some.labels, "fp32"), expected, atol=2e-5)
    # The twin: in train mode the same examples have other losses.
    model.train()
    pixels = torch.tensor(some.images).permute(0, 3, 1, 2).float() / 255
    together = F.cross_entropy(model(pixels), torch.tensor(some.labels), reduction="none").detach().numpy()
    assert np.abs(together - expected).max() > 0.1


def test_bf16_isolates_nearly_the_same_examples(model):
    some = toy(1000, 3)
    exact, rough = (per_example_losses(model, some.images, some.labels, p) for p in ("fp32", "bf16"))
    shared = np.intersect1d(isolate(exact, 0.1), isolate(rough, 0.1))
    assert len(shared) >= 95
    assert not np.array_equal(exact, rough)


def test_several_threads_give_the_same_losses_and_are_put_back(model):
    some = toy(200, 3)
    alone = per_example_losses(model, some.images, some.labels, "fp32")
    torch.set_num_threads(2)
    try:
        assert np.array_equal(per_example_losses(model, some.images, some.labels, "fp32"), alone)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_the_model_keeps_its_mode_and_its_weights(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    predict(model, toy(50, 3).images, "fp32")
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
