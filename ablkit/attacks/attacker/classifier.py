"""The attacker's own clean models and generators: trained once, kept under a key of all that decides them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ablkit import models
from ablkit.attacks.attack import Order
from ablkit.attacks.attacker.cache import keep, own_seed
from ablkit.attacks.attacker.training import split
from ablkit.shapes import Tensor
from ablkit.training import train
from ablkit.training.inference import predict
from ablkit.training.recipe import Recipe, recipe

MODEL = "wrn-16-1"


def trained(order: Order, epochs: int) -> tuple[nn.Module, dict[str, float]]:
    """A model trained by the attacker on the clean training set, in eval mode, and what to report of it.

    Cross entropy with crop, and with flip where the set allows it, for `epochs`, the learning rate dropped to a tenth
    after two thirds of them. One in ten training images is held out to measure its accuracy. Equal orders share one
    file, whatever the attack.
    Raises UserError for fewer than 20 training images.
    """
    rest, held = split(order.train)
    settings = plain_recipe(order, epochs)

    def make(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
        made = train(
            rest,
            settings,
            method="none",
            seed=own_seed(order),
            device=order.device,
            precision=order.precision,
            folder=folder,
            report=lambda record: _say(record["epoch"], epochs, record["seconds"]),
        )
        accuracy = float((predict(made.model, held.images, order.precision) == held.labels).mean())
        return made.model.state_dict(), {"surrogate_accuracy": accuracy}

    tensors, record = keep("classifier", order, {"recipe": vars(settings)}, make)
    model = models.build(settings.model, len(order.train.classes))
    model.load_state_dict(tensors)
    return model.eval(), record


def plain_recipe(order: Order, epochs: int) -> Recipe:
    """Plain training: no first phase, everything in the fine-tuning."""
    plain = recipe(
        "quick",
        model=MODEL,
        batch_size=min(64, max(2, len(order.train) // 4)),
        isolation_epochs=0,
        cutout_length=0,
        isolation_rate=0.5,  # of no use here, but checked: it must select an image of the smallest set
        finetune_epochs=epochs,
        finetune_drop_epoch=-(-2 * epochs // 3),
    )
    return plain.fitting(order.train)


def _say(epoch: int, epochs: int, seconds: float) -> None:
    print(f"surrogate: epoch {epoch} of {epochs}, {seconds:.1f} s", flush=True)
