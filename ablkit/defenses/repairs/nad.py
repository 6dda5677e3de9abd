"""Neural Attention Distillation (Li et al. 2021, arXiv 2101.05930): fine-tune a copy, let the model attend as it does.

The teacher is the backdoored model itself after fine-tuning on the clean images. The student, the backdoored model once
more, is fine-tuned likewise while its attention maps are drawn to the teacher's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from ablkit import models
from ablkit.defenses import training
from ablkit.defenses.defense import Defense, Evaluation, Given, Repaired
from ablkit.defenses.repairs import clean_data
from ablkit.errors import unknown
from ablkit.settings import at_least
from ablkit.shapes import Float, Int64, Tensor
from ablkit.training.losses import cross_entropy
from ablkit.training.stages import Stage

Distance = Literal["mean_square", "norm"]


@dataclass(frozen=True)
class Settings(clean_data.Settings):
    """Teacher and distillation; `epochs` are those of the distillation, the learning rates those of both."""

    teacher_epochs: int = 10
    """Epochs of the teacher's fine-tuning."""
    power: float = 2.0
    """p of the attention map, the sum over channels of |activation|^p."""
    beta_low: float = 500.0
    """Weight of the distance in the first of the three groups; of a model with more stages, in the last but two."""
    beta_middle: float = 1000.0
    """Weight of the distance in the second group, or the last stage but one."""
    beta_high: float = 1000.0
    """Weight of the distance in the third group, or the last stage."""
    distance: Distance = "mean_square"
    """Between two maps of unit length: `norm` is the paper's equation, the length of their difference; `mean_square`
    is what the authors' code takes (C) and what weights of this size fit, as it divides by the number of pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, teacher_epochs=0, power=1, beta_low=0, beta_middle=0, beta_high=0)
        if self.distance not in get_args(Distance):
            raise unknown("distance", self.distance, get_args(Distance))


def repair(given: Given, settings: Settings, evaluate: Evaluation | None = None) -> Repaired:
    """Fine-tune a teacher, then distill its attention into the backdoored model.

    The history has the epochs of the stages `teacher` and `distill`; with `evaluate` the first ones show what fine-
    tuning alone does. Maps are compared where the authors' code does, at the output of each group, and in a model with
    more stages at the outputs of the last three. With all betas 0 the result is that of `clean_data.finetune`.

    Raises UserError where there are no clean images, the model has no stages to look into or the loss is not finite.
    """
    teacher, student = training.working_copy(given), training.working_copy(given)
    alone = replace(settings, epochs=settings.teacher_epochs)
    history = clean_data.finetune(teacher, given, alone, evaluate, name="teacher", place_in_stream=1)
    teacher.eval()
    betas = (settings.beta_low, settings.beta_middle, settings.beta_high)

    def logits_and_distance(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            wanted = models.group_outputs(teacher, x)
        outputs = models.group_outputs(student, x)
        distances = [
            beta * attention_distance(ours, theirs, settings.power, settings.distance)
            for beta, ours, theirs in zip(betas, outputs[-3:], wanted[-3:], strict=True)
        ]
        return models.unwrapped(student).classify(outputs[-1]), sum(distances)

    stage = Stage("distill", settings.epochs, "all", _loss, settings.rate, settings.augmentation)
    history += clean_data.run_stage(student, given, stage, settings.batch_size, evaluate, forward=logits_and_distance)
    return Repaired(student.eval(), history, _record(history))


def attention(maps: Float[Tensor, "n c h w"], power: float) -> Float[Tensor, "n hw"]:
    """Where a group of layers looks (the paper's A_sum^p): sum over channels of |activation|^p, scaled to length 1."""
    return F.normalize(maps.float().abs().pow(power).sum(dim=1).flatten(1), dim=1)


def attention_distance(
    student: Float[Tensor, "n c h w"],
    teacher: Float[Tensor, "n c h w"],
    power: float = 2.0,
    distance: Distance = "mean_square",
) -> Float[Tensor, ""]:
    """How far the attention of two models lies apart, mean over images; see `Settings.distance`."""
    difference = attention(student, power) - attention(teacher, power)
    return difference.square().mean() if distance == "mean_square" else difference.norm(dim=1).mean()


def _loss(outputs: tuple[Tensor, Tensor], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    logits, distance = outputs
    return cross_entropy(logits, labels) + distance


def _record(history: list[dict]) -> dict[str, float]:
    """The last training loss of teacher and student, where they were trained."""
    return {f"{record['stage']}_loss": record["loss"] for record in history}


DEFENSE = Defense("NAD", "Li et al. 2021, arXiv 2101.05930", "clean data", repair, Settings)
