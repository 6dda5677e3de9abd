"""What most ways to use the isolated examples do: ABL's unlearning stage with other examples or another loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ablkit.defenses import loop
from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.examples import Settings
from ablkit.defenses.loop import Examples
from ablkit.errors import UserError
from ablkit.randomness import torch_stream
from ablkit.shapes import Tensor
from ablkit.training import losses
from ablkit.training.abl import sgd
from ablkit.training.stages import Stage

# The place of the unlearning among ABL's stages: each way visits its examples in the order that the ascent would.
_STAGE = 2


def fine_tune(
    given: Given,
    settings: Settings,
    stage: str,
    examples: Examples,
    evaluate: Evaluation | None = None,
    *,
    start: nn.Module | None = None,
    layers: int = 0,
    loss_of: Callable[[Tensor, Tensor], Tensor] = losses.cross_entropy,
    redraw: Callable[[Tensor, int], Tensor] | None = None,
    before_step: Callable[..., None] | None = None,
    measured: dict[str, float] | None = None,
) -> Repaired:
    """Train a copy of the model on some examples as ABL's unlearning stage would.

    Optimiser, batch size, `unlearn_batchnorm` and `unlearn_augmentation` (the default is none) are the recipe's, the
    batch order and augmentation those that the ascent would draw. The optimiser starts afresh whatever `carry_momentum`
    says, for a model alone holds no momentum.

    Args:
        stage: name in the history.
        start: another model than the given one to copy and train.
        layers: how many layers with weights are trained, counted from the output; the others keep their weights and
            batch norm statistics. 0 trains all.
        redraw: called with the images on the device and the epoch, counted from 0; gives those of that epoch.
        before_step: hook of the optimiser, called before each step with the optimiser first.
        measured: what the way has measured of itself; the number of examples joins it.

    Raises UserError where there are no examples and where the loss is not finite.
    """
    if not len(examples.labels):
        raise UserError(f"{stage} has no examples to train on; give a training set of which some are kept")
    recipe = given.recipe
    model = loop.working_copy(given, start)
    parts = last_layers(model, layers) if layers else [model]
    model.requires_grad_(False)
    for part in parts:
        part.requires_grad_(True)
    optimiser = sgd([p for p in model.parameters() if p.requires_grad], recipe)
    if before_step is not None:
        optimiser.register_step_pre_hook(before_step)
    history = loop.train(
        model,
        given,
        Stage(
            stage,
            settings.epochs or recipe.unlearn_epochs,
            "all",
            loss_of,
            lambda epoch: settings.learning_rate or recipe.unlearn_learning_rate,
            augmented=recipe.unlearn_augmentation,
            freezes_batchnorm=recipe.unlearn_batchnorm == "eval",
        ),
        examples,
        recipe.batch_size,
        lambda epoch: tuple(torch_stream(given.seed, what, _STAGE, epoch) for what in ("order", "augmentation")),
        evaluate,
        optimiser=optimiser,
        parts=parts,
        redraw=redraw,
    )
    model.requires_grad_(True).eval()
    return Repaired(model, history, {"training_images": float(len(examples.labels)), **(measured or {})})


def last_layers(model: nn.Module, count: int) -> list[nn.Module]:
    """The `count` layers with weights of their own that lie nearest to the output, in the order of their definition.

    Convolutions, batch norms and linear layers count one each. Raises UserError where the model has fewer.
    """
    layers = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    if count > len(layers):
        raise UserError(f"layers {count} is more than the model has; choose 1 to {len(layers)}, or train all of them")
    return layers[-count:]
