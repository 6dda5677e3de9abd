"""The ways that start from another model than the backdoored one: fresh weights, or weights learned on ImageNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ablkit import training
from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.ways.finetuning import fine_tune
from ablkit.defenses.ways.isolated import Settings, classes_of, kept_examples, way
from ablkit.errors import NotRunError
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
    given model only tells the number of classes. What was poisoned and not isolated is still among the examples.
    """
    kept = kept_examples(given)
    trained = training.retrain(
        kept.images,
        kept.labels,
        classes_of(given),
        given.recipe,
        seed=given.seed,
        device=given.device,
        precision=given.precision,
        evaluate=None if evaluate is None else lambda model, stage, epoch, last: evaluate(model, stage, epoch),
        folder=given.folder,
        store=given.store,
        report=given.report,
    )
    record = {"training_images": float(len(kept.labels))}
    return Repaired(trained.model, trained.history, record)


def pretrained(given: Given, settings: Pretrained, evaluate: Evaluation | None = None) -> Repaired:
    """Trains all layers of a network that was trained on ImageNet on the kept examples.

    Our reading: the network as torchvision defines it, images at their own size, normalised as ImageNet's were, and a
    fresh output layer (drawn from the seed's stream) for the classes of the given model; the rest as `finetune_all`.
    The backdoored model itself has no part in it, and its architecture is another.

    Raises NotRunError, with the reason, where the weights cannot be had: nothing takes their place.
    """
    if given.images.shape[3] != 3:
        channels = given.images.shape[3]
        raise NotRunError(f"ImageNet models take 3 channels and the images have {channels}, so this was not run")
    examples = kept_examples(given)
    network = imagenet.with_new_head(imagenet.pretrained(settings.network), classes_of(given), given.seed)
    start = Normalised(network, imagenet.IMAGENET_MEAN, imagenet.IMAGENET_DEVIATION)
    return fine_tune(given, settings, "pretrained", examples, evaluate, start=start)


PRETRAINED = way("fine-tuning an ImageNet model", pretrained, Pretrained)
RETRAIN = way("retraining from scratch", retrain, NoSettings)
