"""Fine-Pruning (Liu, Dolan-Gavitt & Garg 2018, arXiv 1805.12185): cut channels that clean images leave idle, fine-tune.

A backdoor tends to sit in channels that only the trigger excites. Pruning removes these; fine-tuning weakens what is
left where the attacker made trigger and classes share channels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ablkit import models
from ablkit.defenses import training
from ablkit.defenses.defense import Defense, Evaluation, Given, Repaired
from ablkit.defenses.repairs import clean_data
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream
from ablkit.settings import at_least
from ablkit.shapes import Float, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.inference import predict
from ablkit.training.recipe import Recipe


@dataclass(frozen=True)
class Settings(clean_data.Settings):
    """How far to prune, and the fine-tuning that follows."""

    step: float = 0.01
    """Share of the channels that one step prunes, at least one channel: of 64 channels each step prunes one."""
    largest_drop: float = 0.1
    """Pruning stops before the step after which the accuracy would lie more than this share of it below the given
    model's."""
    most_pruned: float = 1.0
    """Share of the channels beyond which none is pruned, however well the accuracy holds; 0 only fine-tunes. One
    channel always stays."""
    validation_share: float = 0.5
    """Share of the clean images that the accuracy is measured on while pruning; the activity of the channels is
    measured on the others. The fine-tuning uses all of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, step=0, largest_drop=0, most_pruned=0)
        if not 0 < self.validation_share < 1:
            raise UserError(f"validation_share {self.validation_share} is outside (0, 1); the default is 0.5")

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise UserError where the recipe's model has no norm that alone decides what the head sees of a channel."""
        if not models.is_wide(recipe.model):
            raise UserError(
                f"fine_pruning cuts channels at the norm before the head, and {recipe.model} has none there; use a"
                " model wrn-DEPTH-WIDTH, or another method"
            )


def repair(given: Given, settings: Settings, evaluate: Evaluation | None = None) -> Repaired:
    """Prune the least active channels of the last convolution, then fine-tune; pruned channels stay pruned.

    Each step that the accuracy survives is a record of the stage `prune`, then come the epochs of `finetune_clean`. The
    paper leaves the length and the learning rate of the fine-tuning open; the defaults are those of NAD.

    Raises UserError where there are no clean images, the model is no `wrn` or the loss is not finite.
    """
    model = training.working_copy(given)
    history, record = _prune(model, given, settings, evaluate)
    history += clean_data.finetune(model, given, settings, evaluate, name="finetune_clean")
    return Repaired(model.eval(), history, record)


def channel_activity(
    model: nn.Module, images: UInt8[ndarray, "n h w c"], precision: str = "auto"
) -> Float[ndarray, " channels"]:
    """Mean activation of each channel of the last convolution over `images`; leaves the model in eval mode.

    It is taken where the head takes it, which is also where a channel is cut: in a pre-activation network the output
    of the last convolution has its shortcut added and passes a norm and a ReLU first.
    """
    place, network = hardware.of(model, precision), models.wide(model)
    model.eval()
    total = torch.zeros(network.head.in_features, device=place.device)
    for start in range(0, len(images), place.evaluation_batch):
        with torch.inference_mode(), place.autocast():
            batch = torch.tensor(images[start : start + place.evaluation_batch], device=place.device)
            channels = network.last_channels(models.group_outputs(model, place.inputs(batch))[-1])
            total += channels.float().mean(dim=(2, 3)).sum(dim=0)
    return (total / len(images)).cpu().numpy()


def cut(model: nn.Module, channels: ndarray) -> None:
    """Prune channels of the last convolution, in place and for good.

    Scale and shift of their norm become 0. As ReLU passes no gradient at 0 and weight decay leaves a 0 alone,
    further training never wakes them.
    """
    norm = models.wide(model).norm
    with torch.no_grad():
        norm.weight[channels] = 0
        norm.bias[channels] = 0


def _prune(
    model: nn.Module, given: Given, settings: Settings, evaluate: Evaluation | None
) -> tuple[list[dict], dict[str, float]]:
    """Prune `model` in place, step by step, for as long as the accuracy holds."""
    clean = clean_data.clean_images(given)
    if len(clean) < 2:
        raise UserError("fine-pruning ranks channels on some clean images and measures on others; give 2 or more")
    order = numpy_stream(given.seed, "defense", clean_data.SPLIT, 0, 0).permutation(len(clean))
    count = min(max(1, round(settings.validation_share * len(clean))), len(clean) - 1)
    validation, rest = clean.take(order[:count]), clean.take(order[count:])

    def accuracy() -> float:
        return float((predict(model, validation.images, given.precision) == validation.labels).mean())

    norm = models.wide(model).norm
    idle_first = np.argsort(channel_activity(model, rest.images, given.precision), kind="stable")
    channels = len(idle_first)
    step = max(1, round(settings.step * channels))
    most = min(round(settings.most_pruned * channels), channels - 1)
    before = now = accuracy()
    history, pruned = [], 0
    while pruned + step <= most:
        started = time.perf_counter()
        kept = {name: value.clone() for name, value in norm.state_dict().items()}
        cut(model, idle_first[pruned : pruned + step])
        further = accuracy()
        if further < (1 - settings.largest_drop) * before:
            norm.load_state_dict(kept)
            break
        pruned, now = pruned + step, further
        record = {"stage": "prune", "epoch": len(history) + 1, "pruned_channels": pruned, "validation_accuracy": now}
        record["seconds"] = time.perf_counter() - started
        history.append(training.finished(record, model, given, evaluate))
    measured = {
        "channels": float(channels),
        "pruned_channels": float(pruned),
        "validation_accuracy_before": before,
        "validation_accuracy_pruned": now,
    }
    return history, measured


DEFENSE = Defense("Fine-Pruning", "Liu et al. 2018, arXiv 1805.12185", "clean data", repair, Settings)
