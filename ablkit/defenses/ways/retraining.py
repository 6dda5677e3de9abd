"""The ways that start from another model than the backdoored one: fresh weights, or weights learned on ImageNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ablkit import training
from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.ways.finetuning import fine_tune
from ablkit.defenses.ways.isolated import Settings, kept_examples, way
from ablkit.models import imagenet
from ablkit.models.normalise import Normalised
from ablkit.settings import NoSettings


@dataclass(frozen=True)
class Pretrained(Settings):
    """The network that was trained on ImageNet."""

    network: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    """Which of torchvision's; our reading, as torchvision has no weights for a WRN-16-1."""


def retrain(given: Given, settings: NoSettings, evaluate: Evaluation | None = None) -> Repaired:
    """Trains a model from fresh weights on the kept examples, as method `none` of `training.train` does.

    So with cross entropy, for the recipe's epochs of isolation and fine-tuning, with their learning rates and
    augmentation, from the seed's own fresh weights: with nothing isolated it is the undefended training itself. The
    given model has no part in it. What was poisoned and not isolated is still among the examples.
    """
    kept = kept_examples(given)
    trained = training.retrain(
        kept,
        given.recipe,
        seed=given.seed,
        device=given.device,
        precision=given.precision,
        evaluate=evaluate,
        folder=given.folder,
        store=given.store,
        report=given.report,
    )
    record = {"training_images": float(len(kept))}
    return Repaired(trained.model, trained.history, record)


def pretrained(given: Given, settings: Pretrained, evaluate: Evaluation | None = None) -> Repaired:
    """Trains all layers of a network that was trained on ImageNet on the kept examples.

    Our reading: the network as torchvision defines it, images at their own size, normalised as ImageNet's were, and a
    fresh output layer (drawn from the seed's stream) for the classes of the data; the rest as `finetune_all`.
    The backdoored model itself has no part in it, and its architecture is another.

    Raises NotRunError, with the reason, where the weights cannot be had: nothing takes their place.
    """
    examples = kept_examples(given)
    network = imagenet.with_new_head(imagenet.pretrained(settings.network), len(given.data.classes), given.seed)
    start = Normalised(network, imagenet.IMAGENET_MEAN, imagenet.IMAGENET_DEVIATION)
    return fine_tune(given, settings, "pretrained", examples, evaluate, start=start)


PRETRAINED = way("fine-tuning an ImageNet model", pretrained, Pretrained)
RETRAIN = way("retraining from scratch", retrain, NoSettings)
