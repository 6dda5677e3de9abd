"""The loop's speed costs nothing: its first steps are those of a plain loop, to the bit."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ablkit import models
from ablkit.training import hardware
from ablkit.training.epoch import one_set, run_epoch
from ablkit.training.losses import cross_entropy

STEPS, SIZE = 5, 32


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (STEPS * SIZE, 32, 32, 3), dtype=np.uint8)
    return torch.tensor(pixels), torch.tensor(random.integers(0, 10, STEPS * SIZE))


def optimiser_of(model: torch.nn.Module, momentum: float = 0.9) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), 0.1, momentum, weight_decay=1e-4, nesterov=True, fused=True)


def plain_loop(momentum: float = 0.9) -> dict[str, torch.Tensor]:
    """Five steps as anyone would write them, in the kit's memory layout and with its fused optimiser."""
    images, labels = examples()
    model = models.build("wrn-16-1", 10, seed=0).to(memory_format=torch.channels_last).train()
    optimiser = optimiser_of(model, momentum)
    for start in range(0, len(labels), SIZE):
        x = images[start : start + SIZE].permute(0, 3, 1, 2) / 255
        loss = F.cross_entropy(model(x), labels[start : start + SIZE])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.state_dict()


def test_the_first_five_steps_in_fp32_are_those_of_a_plain_loop_bit_for_bit():
    place = hardware.choose("cpu", "fp32")
    model = place.place(models.build("wrn-16-1", 10, seed=0)).train()
    batches = one_set(torch.arange(STEPS * SIZE), SIZE, None)
    run_epoch(model, optimiser_of(model), *examples(), batches, cross_entropy, place)
    plain, other = plain_loop(), plain_loop(momentum=0.8)
    for name, value in model.state_dict().items():
        assert torch.equal(value, plain[name]), name
    # The twin: another momentum shows in five steps.
    assert not torch.equal(model.state_dict()["head.weight"], other["head.weight"])
