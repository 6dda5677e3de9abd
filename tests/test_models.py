"""The models are the paper's, and their weights come from the seed alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ablkit import models
from ablkit.errors import UserError


def count(name: str) -> int:
    return sum(p.numel() for p in models.build(name, 10).parameters())


def test_wrn_16_1_has_175066_parameters():
    assert count("wrn-16-1") == 175_066
    assert count("wrn-16-2") != 175_066


def test_convolutions_are_he_normal_over_their_outputs():
    weight = models.build("wrn-16-4", 10, seed=3).groups[4].conv2.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * weight.shape[0])), rel=0.02)
    assert weight.mean().item() == pytest.approx(0, abs=1e-3)


def test_blocks_activate_before_they_convolve():
    block = models.build("wrn-16-1", 10).eval().groups[0]
    order = [type(m) for m in block.children()][:2]
    assert order == [nn.BatchNorm2d, nn.Conv2d]
    assert block.shortcut is None
    # With equal width the input itself runs past the convolutions.
    block.conv2.weight.data.zero_()
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_the_seed_alone_draws_the_weights_and_leaves_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (models.build("wrn-10-1", 10, seed=s).stem.weight for s in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_normalisation_is_part_of_the_model():
    plain, normalised = (models.build("wrn-10-1", 10, normalise=n).eval() for n in (False, True))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(normalised(x), plain((x - normalised.mean) / normalised.deviation))
    assert not torch.equal(normalised(x), plain(x))


def test_with_gn_behind_its_name_a_model_keeps_no_statistics_and_is_otherwise_the_same():
    grouped, plain = models.build("wrn-16-1-gn", 10, seed=3), models.build("wrn-16-1", 10, seed=3)
    assert list(grouped.buffers()) == [] and len(list(plain.buffers())) > 0
    assert [name for name, _ in grouped.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(grouped.parameters(), plain.parameters(), strict=True))
    norms = [module for module in grouped.modules() if isinstance(module, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [8] * len(models.batch_norms(plain))
    assert models.batch_norms(grouped) == []
    assert (models.has_batch_norm("wrn-16-1-gn"), models.has_batch_norm("wrn-16-1")) == (False, True)
    # An image is normalised by itself: what stands beside it in a batch makes no difference.
    x = torch.rand(4, 3, 32, 32)
    for model, alone in ((grouped, True), (plain, False)):
        assert torch.allclose(model.train()(x)[:2], model(x[:2]), atol=1e-5) == alone


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_group_norm_is_torch_s_in_every_layout(layout):
    own = models.build("wrn-10-1-gn", 10).groups[0].norm1
    torch_s = torch.nn.GroupNorm(own.num_groups, own.num_channels)
    x = torch.rand(3, 16, 5, 7).to(memory_format=layout)
    assert torch.allclose(own(x), torch_s(x), atol=1e-5) and own(x).is_contiguous(memory_format=torch.channels_last)
    assert not torch.allclose(own(x), torch_s(2 * x + torch.rand(16, 1, 1)), atol=1e-5)  # the twin


@pytest.mark.parametrize("name", ["resnet", "wrn-17-1", "wrn-4-1", "wrn-16-0", "wrn-16", "wrn-16-1-bn", "wrn-16-1-gn-"])
def test_a_model_that_does_not_exist_is_refused(name):
    with pytest.raises(UserError, match=name):
        models.build(name, 10)


@pytest.mark.parametrize("normalise", [False, True])
def test_the_head_on_the_last_groups_output_is_the_model(normalise):
    model = models.build("wrn-16-1", 10, normalise=normalise).eval()
    x = torch.rand(2, 3, 32, 32)
    outputs = models.group_outputs(model, x)
    assert [tuple(output.shape[1:]) for output in outputs] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    classify = models.unwrapped(model).classify
    assert torch.equal(classify(outputs[2]), model(x))
    # The twin: the images reach the groups normalised where the model is one that does so.
    raw = models.unwrapped(model).group_outputs(x)
    assert torch.equal(classify(raw[2]), model(x)) == (not normalise)


def test_a_model_without_three_groups_is_refused():
    with pytest.raises(UserError, match="a Linear has no stages to look into"):
        models.unwrapped(nn.Linear(1, 1))
    with pytest.raises(UserError, match="a Staged has no three groups to look into"):
        models.wide(models.build("mobilenet-v3-small", 10))
    assert models.wide(models.build("wrn-10-1", 10)).head.out_features == 10  # the twin
