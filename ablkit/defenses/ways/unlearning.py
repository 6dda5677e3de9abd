"""ABL's unlearning with its parts apart: what becomes of batch norm, which loss, which batches, and when it stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ablkit import models
from ablkit.data.images import Images
from ablkit.defenses import training
from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.ways.finetuning import train_on, unlearning_stage
from ablkit.defenses.ways.isolated import Settings, isolated_examples, kept_examples, way
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.settings import at_least
from ablkit.shapes import Float, Int64, Tensor
from ablkit.training import losses
from ablkit.training.averaging import drawn_for_statistics, with_fresh_statistics
from ablkit.training.epoch import one_set
from ablkit.training.inference import predict
from ablkit.training.recipe import Recipe

NAME = "unlearn"
KEPT_A_STEP, ISOLATED_A_STEP = 64, 16
"""Images in each step of the joint schedule."""
_IDLE = {"statistics": ("learning_rate", "loss"), "kept": ("epochs", "learning_rate", "loss", "schedule", "stop")}
"""Setting of `batchnorm` -> the settings that then have nothing to act on."""


@dataclass(frozen=True)
class Unlearn(Settings):
    """Which parts of the unlearning are on. The defaults are those of the authors' code, as `gradient_ascent`."""

    batchnorm: Literal["train", "statistics", "frozen", "kept"] = "train"
    """`train`: each batch is normalised by its own statistics, and the running ones move (the authors' code).
    `statistics`: the same with a learning rate of 0, so that no weight changes. `frozen`: the running statistics are
    used and kept while the weights ascend. `kept`: no training at all, and the statistics re-estimated, once, on as
    many kept images as the recipe's `statistics_images`."""
    loss: Literal["ascent", "bounded", "relabel"] = "ascent"
    """On the isolated images. `ascent`: the negated cross entropy, without a bound (the paper). `bounded`: the same,
    where an image counts up to log(classes), the cross entropy of a uniform guess, and is pushed no further; this kit's
    own bound. `relabel`: descent to another label than the one at hand, drawn uniformly before the first epoch (Graves
    et al. 2021, arXiv 2010.10981)."""
    schedule: Literal["sequential", "joint", "alternating"] = "sequential"
    """`sequential`: isolated images alone (the authors' code). `joint`: each step takes 64 kept and 16 isolated images
    and adds the cross entropy of the first to the loss of the second (the paper's equation), with every isolated image
    once an epoch. `alternating`: the steps of a sequential epoch, then as many on kept images with cross entropy."""
    stop: float = 0.0
    """The run ends after the first epoch at whose end no more than this share of the isolated images is taken for the
    label at hand, which a defender can see; 0 never ends it early."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, stop=0)
        if self.stop >= 1:
            raise UserError(f"stop {self.stop} is outside [0, 1), a share of the isolated images; 0 never stops early")
        for name in _IDLE.get(self.batchnorm, ()):
            if getattr(self, name) != getattr(type(self), name):
                raise UserError(
                    f"batchnorm {self.batchnorm} makes no use of {name} {getattr(self, name)}; leave {name} out"
                )

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise UserError where the settings work on batch norm and the recipe's model has none."""
        if self.batchnorm != "train" and not models.has_batch_norm(recipe.model):
            raise UserError(
                f"batchnorm {self.batchnorm} works on batch norm, and {recipe.model} has none; leave batchnorm at train"
            )


def unlearn(given: Given, settings: Unlearn, evaluate: Evaluation | None = None) -> Repaired:
    """ABL's unlearning from the fine-tuned model, with the parts that the settings name.

    With the defaults it takes the very steps of `gradient_ascent`. The recipe's `unlearn_batchnorm` has no part in it.
    Each record has `isolated_labels_kept`, the share of the isolated images that the model takes for the label at hand.

    Raises UserError where nothing is isolated, where the loss is not finite, and for a `batchnorm` other than `train`
    on a model without batch norm.
    """
    settings.check_recipe(given.recipe)
    isolated = isolated_examples(given)
    if settings.batchnorm == "kept":
        return _re_estimated(given, isolated, evaluate)
    examples, loss_of = isolated, _LOSSES[settings.loss]
    if settings.loss == "relabel":
        examples = replace(isolated, labels=_other_labels(given, isolated))
    batches = None
    if settings.schedule != "sequential":
        loss_of = partial(mixed_loss, classes=len(given.data.classes), of_isolated=loss_of)
        examples, batches = _beside_kept(given, examples, settings)
    batchnorm = "eval" if settings.batchnorm == "frozen" else "train"
    stage = replace(unlearning_stage(given, settings, NAME, loss_of), batchnorm=batchnorm)
    if settings.batchnorm == "statistics":
        stage = replace(stage, learning_rate=lambda epoch: 0.0)
    repaired = train_on(
        given, stage, examples, evaluate, batches=batches, ends=partial(_ends, given, isolated, settings.stop)
    )
    record = {**repaired.record, "epochs": float(len(repaired.history)), **_last(repaired.history)}
    return replace(repaired, record=record)


def bounded_ascent(logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """The negated cross entropy, of each example up to log(classes): beyond it an example has no gradient."""
    loss = F.cross_entropy(logits.float(), labels, reduction="none")
    return -loss.clamp(max=math.log(logits.shape[1])).mean()


def mixed_loss(
    logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], classes: int, of_isolated: Callable
) -> Float[Tensor, ""]:
    """Mean cross entropy of the kept examples of a batch plus `of_isolated` of the isolated ones; either may be absent.

    Args:
        classes: what is added to the labels of isolated examples.
    """
    isolated = labels >= classes
    total = logits.new_zeros((), dtype=torch.float32)
    if not isolated.all():
        total = total + losses.cross_entropy(logits[~isolated], labels[~isolated])
    if isolated.any():
        total = total + of_isolated(logits[isolated], labels[isolated] - classes)
    return total


_LOSSES = {"ascent": losses.gradient_ascent, "bounded": bounded_ascent, "relabel": losses.cross_entropy}


def joint_batches(isolated: int, kept: int, order: torch.Generator) -> list[Tensor]:
    """Batches of an epoch of the joint schedule: of `isolated` examples, then `kept` ones, as they lie in the set."""
    second = one_set(torch.arange(isolated), ISOLATED_A_STEP, order)
    first = _some_kept(isolated, kept, KEPT_A_STEP, len(second), order)
    return [torch.cat(both) for both in zip(first, second, strict=True)]


def alternating_batches(isolated: int, kept: int, order: torch.Generator, size: int) -> list[Tensor]:
    """Batches of an epoch of the alternating schedule: those of isolated examples, then as many of kept ones."""
    first = one_set(torch.arange(isolated), size, order)
    return [*first, *_some_kept(isolated, kept, size, len(first), order)]


def _some_kept(isolated: int, kept: int, size: int, count: int, order: torch.Generator) -> list[Tensor]:
    """`count` batches of kept examples, none twice in a batch; each epoch begins a new round through them."""
    found: list[Tensor] = []
    while len(found) < count:
        found += one_set(torch.arange(isolated, isolated + kept), min(size, kept), order)
    return found[:count]


def _beside_kept(given: Given, isolated: Images, settings: Unlearn) -> tuple[Images, training.Batches]:
    """Isolated and kept examples in one set, the isolated as classes of their own, and the batches of an epoch."""
    kept = kept_examples(given)
    if not len(kept):
        raise UserError(f"schedule {settings.schedule} needs kept images, and all were isolated; isolate fewer")
    count = len(given.data.classes)
    both = replace(
        isolated,
        images=np.concatenate([isolated.images, kept.images]),
        labels=np.concatenate([isolated.labels + count, kept.labels]),
        classes=tuple(map(str, range(2 * count))),
    )
    batches = joint_batches
    if settings.schedule == "alternating":
        batches = partial(alternating_batches, size=given.recipe.batch_size)
    return both, lambda order: batches(len(isolated), len(kept), order)


def _other_labels(given: Given, isolated: Images) -> np.ndarray:
    """Uniformly drawn labels, each another than the one at hand."""
    classes = len(given.data.classes)
    steps = numpy_stream(given.seed, "defense", 0, 0).integers(1, classes, size=len(isolated))
    return (isolated.labels + steps) % classes


def _re_estimated(given: Given, isolated: Images, evaluate: Evaluation | None) -> Repaired:
    """The given weights with the batch norm statistics of kept images, and one record of it."""
    kept = kept_examples(given)
    if not len(kept):
        raise UserError("batchnorm kept needs kept images, and all were isolated; isolate fewer")
    started = time.perf_counter()
    chosen = drawn_for_statistics(len(kept), given.recipe.statistics_images, given.seed).numpy()
    start = training.working_copy(given)
    images = torch.tensor(kept.images[chosen], device=training.hardware_of(given).device)
    model = with_fresh_statistics(start, images, given.precision)
    record = {"stage": NAME, "epoch": 1, "seconds": time.perf_counter() - started, "images": len(chosen)}
    _ends(given, isolated, 0.0, model, record)
    history = [training.finished(record, model, given, evaluate)]
    return Repaired(model, history, {"training_images": float(len(chosen)), "epochs": 0.0, **_last(history)})


def _ends(given: Given, isolated: Images, stop: float, model: nn.Module, record: dict) -> bool:
    """Note how many isolated images keep their label; whether they are few enough to stop."""
    share = float((predict(model, isolated.images, given.precision) == isolated.labels).mean())
    record["isolated_labels_kept"] = share
    return stop > 0 and share <= stop


def _last(history: list[dict]) -> dict[str, float]:
    return {"isolated_labels_kept": history[-1]["isolated_labels_kept"]} if history else {}


_SOURCE = "Li et al. 2021 (ABL), arXiv 2110.11571; its parts are our reading"
UNLEARN = way("unlearning by parts", unlearn, Unlearn, _SOURCE)
