"""The losses do to the gradient what the paper says."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ablkit.training import losses


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(8, 10, generator=random), torch.randint(10, (8,), generator=random)


def gradient(loss_of, logits: torch.Tensor, *arguments, **options) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss_of(logits, *arguments, **options), logits)[0]


@pytest.mark.parametrize(("gamma", "sign"), [(0.0, 1.0), (100.0, -1.0)])
def test_lga_flips_the_gradient_of_cross_entropy_below_gamma(gamma, sign):
    logits, labels = batch()
    plain = gradient(F.cross_entropy, logits, labels)
    assert torch.equal(gradient(losses.local_gradient_ascent, logits, labels, gamma), sign * plain)


@pytest.mark.parametrize("level", [0.0, 0.5, 2.0, 3.0, 100.0])
def test_batch_mean_lga_and_flooding_have_the_same_gradient_for_gamma_equal_to_the_level(level):
    for seed in range(5):
        logits, labels = batch(seed)
        lga = gradient(losses.local_gradient_ascent, logits, labels, level)
        assert torch.equal(lga, gradient(losses.flooding, logits, labels, level))


def test_they_differ_where_gamma_and_level_differ():
    logits, labels = batch()
    loss = F.cross_entropy(logits, labels).item()
    lga = gradient(losses.local_gradient_ascent, logits, labels, loss + 0.1)
    assert not torch.equal(lga, gradient(losses.flooding, logits, labels, loss - 0.1))


def test_per_sample_lga_takes_the_sign_of_each_example():
    logits, labels = batch()
    each = F.cross_entropy(logits, labels, reduction="none")
    gamma = each.median().item() + 1e-4
    expected = torch.stack(
        [
            torch.sign(each[i] - gamma) * gradient(F.cross_entropy, logits[i : i + 1], labels[i : i + 1])[0] / len(each)
            for i in range(len(each))
        ]
    )
    found = gradient(losses.local_gradient_ascent, logits, labels, gamma, per_sample=True)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, gradient(losses.local_gradient_ascent, logits, labels, gamma))


def test_ascent_is_the_negated_descent():
    logits, labels = batch()
    assert torch.equal(gradient(losses.gradient_ascent, logits, labels), -gradient(F.cross_entropy, logits, labels))


def test_the_joint_loss_descends_on_the_first_half_and_ascends_on_the_second():
    logits, labels = batch()
    expected = F.cross_entropy(logits[:4], labels[:4]) - F.cross_entropy(logits[4:], labels[4:])
    assert torch.equal(losses.global_gradient_ascent(logits, labels), expected)
