"""What most ways to use the isolated examples do: ABL's unlearning stage with other examples or another loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ablkit.data.images import Images
from ablkit.defenses import training
from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.ways.isolated import Settings, isolated_examples, kept_examples, way
from ablkit.errors import UserError
from ablkit.randomness import torch_stream
from ablkit.settings import at_least
from ablkit.shapes import Tensor
from ablkit.training import losses
from ablkit.training.epoch import sgd
from ablkit.training.stages import Stage

# The place of the unlearning among ABL's stages: each way visits its examples in the order that the ascent would.
_STAGE = 2


@dataclass(frozen=True)
class LastLayers(Settings):
    """Which layers are trained."""

    layers: int = 1
    """Layers with weights, counted from the output; 1, our reading, is the linear layer alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, layers=1)


def fine_tune(
    given: Given,
    settings: Settings,
    stage: str,
    examples: Images,
    evaluate: Evaluation | None = None,
    *,
    loss_of: Callable[[Tensor, Tensor], Tensor] = losses.cross_entropy,
    **options: Any,
) -> Repaired:
    """Train a copy of the model on some examples as ABL's unlearning stage would, perhaps with another loss.

    Args:
        stage: name in the history.
        options: those of `train_on`.

    Raises UserError where there are no examples and where the loss is not finite.
    """
    return train_on(given, unlearning_stage(given, settings, stage, loss_of), examples, evaluate, **options)


def train_on(
    given: Given,
    stage: Stage,
    examples: Images,
    evaluate: Evaluation | None = None,
    *,
    start: nn.Module | None = None,
    layers: int = 0,
    redraw: Callable[[Tensor, int], Tensor] | None = None,
    before_step: Callable[..., None] | None = None,
    batches: training.Batches | None = None,
    ends: Callable[[nn.Module, dict], bool] | None = None,
    measured: dict[str, float] | None = None,
) -> Repaired:
    """Train a copy of the model on some examples for a stage.

    The optimiser is the recipe's, batch order and augmentation those that ABL's ascent would draw. The optimiser starts
    afresh whatever `carry_momentum` says, for a model alone holds no momentum.

    Args:
        start: another model than the given one to copy and train.
        layers: how many layers with weights are trained, counted from the output; the others keep their weights and
            batch norm statistics. 0 trains all.
        redraw: called with the images on the device and the epoch, counted from 0; gives those of that epoch.
        before_step: hook of the optimiser, called before each step with the optimiser first.
        batches: see `training.train`, as `ends`.
        measured: what the way has measured of itself; the number of examples joins it.

    Raises UserError where there are no examples and where the loss is not finite.
    """
    if not len(examples):
        raise UserError(f"{stage.name} has no examples to train on; give a training set of which some are kept")
    recipe = given.recipe
    model = training.working_copy(given, start)
    parts = last_layers(model, layers) if layers else [model]
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)
    optimiser = sgd([p for p in model.parameters() if p.requires_grad], recipe)
    if before_step is not None:
        optimiser.register_step_pre_hook(before_step)
    history = training.train(
        model,
        given,
        stage,
        examples,
        recipe.batch_size,
        lambda epoch: tuple(torch_stream(given.seed, what, _STAGE, epoch) for what in ("order", "augmentation")),
        evaluate,
        optimiser=optimiser,
        parts=parts,
        redraw=redraw,
        batches=batches,
        ends=ends,
    )
    model.requires_grad_(True).eval()
    return Repaired(model, history, {"training_images": float(len(examples)), **(measured or {})})


def unlearning_stage(
    given: Given, settings: Settings, name: str, loss_of: Callable[[Tensor, Tensor], Tensor] = losses.cross_entropy
) -> Stage:
    """The recipe's unlearning stage under another name, with the settings' epochs and learning rate, and any loss."""
    recipe = given.recipe
    return Stage(
        name,
        settings.epochs or recipe.unlearn_epochs,
        "all",
        loss_of,
        lambda epoch: settings.learning_rate or recipe.unlearn_learning_rate,
        augmented=recipe.unlearn_augmentation,
        batchnorm=recipe.unlearn_batchnorm,
    )


def last_layers(model: nn.Module, count: int) -> list[nn.Module]:
    """The `count` layers with weights of their own that lie nearest to the output, in the order of their definition.

    Convolutions, norms and linear layers count one each. Raises UserError where the model has fewer.
    """
    layers = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    if count > len(layers):
        raise UserError(f"layers {count} is more than the model has; choose 1 to {len(layers)}, or train all of them")
    return layers[-count:]


def gradient_ascent(given: Given, settings: Settings, evaluate: Evaluation | None = None) -> Repaired:
    """ABL's own way (section 3): the negated cross entropy of the isolated examples.

    From the same fine-tuned model it takes the very steps of the unlearning stage of `training.train` whose recipe has
    `carry_momentum` False; with True that stage goes on with the momentum of the fine-tuning, which no model holds.
    """
    examples = isolated_examples(given)
    return fine_tune(given, settings, "gradient_ascent", examples, evaluate, loss_of=losses.gradient_ascent)


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


FINETUNE_ALL = way("fine-tuning all layers", finetune_all, Settings)
FINETUNE_LAST = way("fine-tuning the last layers", finetune_last, LastLayers)
GRADIENT_ASCENT = way("gradient ascent", gradient_ascent, Settings, "Li et al. 2021 (ABL), arXiv 2110.11571")
