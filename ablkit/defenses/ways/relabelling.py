"""The ways to use the isolated examples that change their labels; see `ways` for what all ways share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch.nn.functional as F

from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.ways.finetuning import fine_tune
from ablkit.defenses.ways.isolated import Changed, Settings, isolated_examples, way, with_kept
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.shapes import Float, Int64, Tensor, ndarray
from ablkit.training.inference import logits_of


@dataclass(frozen=True)
class LabelShuffling(Changed):
    """Whose labels are shuffled."""

    among: Literal["isolated", "training set"] = "isolated"
    """`isolated`: the isolated examples exchange labels among themselves. `training set`: they exchange them with all
    examples, so that most get another class than the target."""


@dataclass(frozen=True)
class LabelSmoothing(Settings):
    """How far the targets are smoothed."""

    smoothing: float = 0.1
    """Share of each target that is spread evenly over all classes, in [0, 1]; our reading (Szegedy et al. 2016)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing <= 1:
            raise UserError(f"smoothing {self.smoothing} is outside [0, 1]; 0.1 is usual")


@dataclass(frozen=True)
class SelfLearning(Changed):
    """What the model may answer."""

    excludes_label: bool = True
    """The pseudo-label is another class than the label at hand. Otherwise the model, which has learned the backdoor,
    gives the target class again."""


def label_shuffling(given: Given, settings: LabelShuffling, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated images with their labels permuted, once, before the first epoch.

    Where the isolation is precise, nearly all of these labels are the target's: a permutation then changes next to
    none of them (`relabelled` says how many), and this is fine-tuning on the poison as it is, whose effect comes from
    the batch norm alone. See the setting `among` for another reading.
    """
    stream = numpy_stream(given.seed, "defense", 0, 0)
    if settings.among == "training set":
        labels = stream.permutation(given.data.labels)[: len(given.isolated)]
    else:
        labels = stream.permutation(isolated_examples(given).labels)
    return _relabelled(given, settings, "label_shuffling", labels, evaluate)


def label_uniform(given: Given, settings: Changed, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated images with labels drawn uniformly from all classes.

    Our reading: drawn once, before the first epoch, and the label at hand may be drawn again.
    """
    labels = numpy_stream(given.seed, "defense", 0, 0).integers(len(given.data.classes), size=len(given.isolated))
    return _relabelled(given, settings, "label_uniform", labels, evaluate)


def label_smoothing(given: Given, settings: LabelSmoothing, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated examples against smoothed targets: (1 - s) on the label plus s / classes on each class.

    The label keeps the largest share: this asks for less confidence in the target class, not for another.
    """
    loss_of = partial(_smoothed, smoothing=settings.smoothing)
    examples = isolated_examples(given)
    return fine_tune(given, settings, "label_smoothing", examples, evaluate, loss_of=loss_of)


def self_learning(given: Given, settings: SelfLearning, evaluate: Evaluation | None = None) -> Repaired:
    """Trains on the isolated images with pseudo-labels by the given model itself: its second choice.

    Our reading: the class with the largest logit (eval mode, no augmentation) apart from the label at hand, which is
    held to be the attacker's; taken once, before the first epoch. A model trained on the kept examples alone would be
    no better judge: with 10 % poisoned and 1 % isolated it learns the backdoor from the rest.
    """
    isolated = isolated_examples(given)
    scores = logits_of(given.model, isolated.images, given.precision).cpu().numpy()
    if settings.excludes_label:
        scores[np.arange(len(scores)), isolated.labels] = -np.inf
    return _relabelled(given, settings, "self_learning", scores.argmax(axis=1), evaluate)


def _smoothed(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], smoothing: float) -> Float[Tensor, ""]:
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def _relabelled(
    given: Given, settings: Changed, stage: str, labels: Int64[ndarray, " k"], evaluate: Evaluation | None
) -> Repaired:
    """Fine-tune on the isolated images with other labels; record the share that is another than before."""
    isolated = isolated_examples(given)
    examples = with_kept(replace(isolated, labels=labels), given, settings)
    share = float((labels != isolated.labels).mean())
    return fine_tune(given, settings, stage, examples, evaluate, measured={"relabelled": share})


LABEL_SHUFFLING = way("label shuffling", label_shuffling, LabelShuffling)
LABEL_UNIFORM = way("uniform labels", label_uniform, Changed)
LABEL_SMOOTHING = way("label smoothing", label_smoothing, LabelSmoothing)
SELF_LEARNING = way("self-learning", self_learning, SelfLearning)
