"""The losses of the two phases; each maps logits and labels of a mini-batch to the scalar that is descended."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ablkit.shapes import Float, Int, Tensor


def cross_entropy(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Plain mean cross entropy, in float32 whatever the precision of the logits."""
    return F.cross_entropy(logits.float(), labels)


def local_gradient_ascent(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], gamma: float, per_sample: bool = False
) -> Float[Tensor, ""]:
    """Loss of the isolation phase (paper section 3, LGA): sign(l - gamma) l, which holds the loss l at `gamma`.

    Clean examples settle near `gamma`; poisoned ones, learned faster than the ascent pushes them back, fall below it.

    Args:
        per_sample: take sign and product for each example before the mean. The default takes l as the mean over the
            mini-batch, as the authors' code does; which of the two the paper means it does not say.
    """
    loss = F.cross_entropy(logits.float(), labels, reduction="none" if per_sample else "mean")
    # The sign is a constant of the differentiation: its own derivative is zero wherever it has one.
    return (torch.sign(loss.detach() - gamma) * loss).mean()


def flooding(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], level: float, per_sample: bool = False
) -> Float[Tensor, ""]:
    """Flooding (Ishida et al. 2020): |l - b| + b, with b the `level`.

    In the batch-mean form its gradient is that of local gradient ascent with gamma = b: comparing the two compares
    nothing.
    """
    loss = F.cross_entropy(logits.float(), labels, reduction="none" if per_sample else "mean")
    return ((loss - level).abs() + level).mean()


def gradient_ascent(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Loss of the unlearning stage: the negated cross entropy of isolated examples, without a bound."""
    return -cross_entropy(logits, labels)


def global_gradient_ascent(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], weight: float = 1.0
) -> Float[Tensor, ""]:
    """Loss of the joint second phase (paper section 3, GGA): E_Dc[l] - E_Db[l].

    The first half of the mini-batch comes from the kept examples D_c, the second half from the isolated ones D_b.

    Args:
        weight: factor of the second mean; 1 is the paper's equation. That one has no lower bound, and with equal
            weights the ascent soon drowns the descent.
    """
    half = len(labels) // 2
    return cross_entropy(logits[:half], labels[:half]) - weight * cross_entropy(logits[half:], labels[half:])
