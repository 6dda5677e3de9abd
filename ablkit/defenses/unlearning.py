"""Other ways to use the isolated examples than ABL's gradient ascent, and the ascent itself.

The paper compares them on BadNets, CIFAR-10, in one table whose details could not be read: each docstring says what
this kit does, and "our reading" marks what is its own decision. Apart from `retrain` and `pretrained`, all start from
the model that they are given (ABL's own ascent starts from the fine-tuned one). Apart from `retrain`, all train as the
recipe's unlearning stage does, so that only the way differs: `unlearn_epochs`, `unlearn_learning_rate`,
`unlearn_batchnorm`, no augmentation, cross entropy.

Even training on the isolated examples as they are weakens a backdoor (so on the toy set of the tests) while
`unlearn_batchnorm` is `train`: batches of nothing but poisoned images with one label move the running statistics. So
compare a way with that, not with the undefended model alone: `pixel_noise` with `deviation` 0 is it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ablkit.defenses import relabelling, retraining
from ablkit.defenses.defense import Defense, Evaluation, Given, Repaired
from ablkit.defenses.examples import Changed, Settings, isolated_examples, kept_examples, with_kept
from ablkit.defenses.fine_tuning import fine_tune
from ablkit.randomness import torch_stream
from ablkit.settings import NoSettings, at_least
from ablkit.shapes import Tensor
from ablkit.training import losses

_PAPER = "Li et al. 2021 (ABL), arXiv 2110.11571; details are our reading"


@dataclass(frozen=True)
class PixelNoise(Changed):
    """The noise on the isolated images."""

    deviation: float = 25.0
    """Standard deviation, in levels of 255; our reading."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, deviation=0)


@dataclass(frozen=True)
class GradientNoise(Changed):
    """The noise on the gradients."""

    deviation: float = 0.1
    """Standard deviation, whatever the size of the gradient; our reading (the least of the values that Neelakantan et
    al. 2015 start from when they add such noise to help a training)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, deviation=0)


@dataclass(frozen=True)
class LastLayers(Settings):
    """Which layers are trained."""

    layers: int = 1
    """Layers with weights, counted from the output; 1, our reading, is the linear layer alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, layers=1)


def gradient_ascent(given: Given, settings: Settings, evaluate: Evaluation | None = None) -> Repaired:
    """ABL's own way (section 3): the negated cross entropy of the isolated examples.

    From the same fine-tuned model it takes the very steps of the unlearning stage of `training.train` whose recipe has
    `carry_momentum` False; with True that stage goes on with the momentum of the fine-tuning, which no model holds.
    """
    examples = isolated_examples(given)
    return fine_tune(given, settings, "gradient_ascent", examples, evaluate, loss_of=losses.gradient_ascent)


def pixel_noise(given: Given, settings: PixelNoise, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated images under Gaussian noise, with their labels.

    Our reading: noise for each pixel and channel, drawn anew in each epoch, rounded and clipped to [0, 255].
    """
    isolated = isolated_examples(given)
    count = len(isolated.labels)

    def noisy(images: Tensor, epoch: int) -> Tensor:
        drawn = torch_stream(given.seed, "defense", epoch)
        noise = torch.randn(images[:count].shape, generator=drawn).mul_(settings.deviation).to(images.device)
        changed = noise.add_(images[:count]).round_().clamp_(0, 255).to(torch.uint8)
        return torch.cat([changed, images[count:]])

    examples = with_kept(isolated, given, settings)
    return fine_tune(given, settings, "pixel_noise", examples, evaluate, redraw=noisy)


def gradient_noise(given: Given, settings: GradientNoise, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated examples with their labels, with Gaussian noise added to each gradient.

    Our reading: independent noise of constant deviation on the gradient of every weight in every step. (The table, as
    recalled, counts this way among those that change images; noise on the gradient of an image is not offered.)
    """
    drawn = torch_stream(given.seed, "defense")

    def disturb(optimiser: torch.optim.Optimizer, *_: object) -> None:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                noise = torch.randn(parameter.shape, generator=drawn).to(parameter.device)
                parameter.grad.add_(noise, alpha=settings.deviation)

    examples = with_kept(isolated_examples(given), given, settings)
    return fine_tune(given, settings, "gradient_noise", examples, evaluate, before_step=disturb)


def finetune_all(given: Given, settings: Settings, evaluate: Evaluation | None = None) -> Repaired:
    """Trains all layers on the kept examples; the isolated ones are left out.

    Our reading: no augmentation and the learning rate of the unlearning. From a model that was fine-tuned on the same
    examples already, as ABL's is, it goes on with that at a low rate.
    """
    return fine_tune(given, settings, "finetune_all", kept_examples(given), evaluate)


def finetune_last(given: Given, settings: LastLayers, evaluate: Evaluation | None = None) -> Repaired:
    """Trains the last layers on the kept examples; the isolated ones are left out.

    Our reading: the layers go on from their weights, and the others keep weights and batch norm statistics.
    """
    examples = kept_examples(given)
    return fine_tune(given, settings, "finetune_last", examples, evaluate, layers=settings.layers)


def _way(title: str, repair: Callable[..., Repaired], settings: type, paper: str = _PAPER) -> Defense:
    return Defense(title, paper, "isolated data", repair, settings)


WAYS: dict[str, Defense] = {
    "pixel_noise": _way("pixel noise", pixel_noise, PixelNoise),
    "gradient_noise": _way("gradient noise", gradient_noise, GradientNoise),
    "label_shuffling": _way("label shuffling", relabelling.label_shuffling, relabelling.LabelShuffling),
    "label_uniform": _way("uniform labels", relabelling.label_uniform, Changed),
    "label_smoothing": _way("label smoothing", relabelling.label_smoothing, relabelling.LabelSmoothing),
    "self_learning": _way("self-learning", relabelling.self_learning, relabelling.SelfLearning),
    "finetune_all": _way("fine-tuning all layers", finetune_all, Settings),
    "finetune_last": _way("fine-tuning the last layers", finetune_last, LastLayers),
    "pretrained": _way("fine-tuning an ImageNet model", retraining.pretrained, retraining.Pretrained),
    "retrain": _way("retraining from scratch", retraining.retrain, NoSettings),
    "gradient_ascent": _way("gradient ascent", gradient_ascent, Settings, "Li et al. 2021 (ABL), arXiv 2110.11571"),
}
"""In the order of the paper's table, as recalled."""
