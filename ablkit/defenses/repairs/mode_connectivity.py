"""Mode connectivity repair (MCR; Zhao et al. 2020, arXiv 2005.00060): a model from within a curve between two others.

Clean images train the bend of a quadratic Bezier curve whose ends are fixed models. Along it the clean loss stays low,
while the backdoor, which no image speaks for, is lost some way from the ends.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from ablkit import models
from ablkit.defenses import training
from ablkit.defenses.defense import Defense, Evaluation, Given, Repaired
from ablkit.defenses.repairs import clean_data
from ablkit.errors import UserError, unknown
from ablkit.randomness import numpy_stream, torch_stream
from ablkit.settings import at_least, defaults
from ablkit.shapes import Float, Int64, Tensor
from ablkit.training import train
from ablkit.training.epoch import sgd
from ablkit.training.hardware import Hardware
from ablkit.training.inference import per_example_losses, predict
from ablkit.training.losses import cross_entropy
from ablkit.training.stages import Stage

SecondEnd = Literal["finetuned", "retrained"]
_OF_FINETUNING = ("epochs", "learning_rate", "drop_epoch", "drop_factor")
Weights = dict[str, Tensor]
"""Parameters of a model by name."""


@dataclass(frozen=True)
class Settings(clean_data.Settings):
    """The curve, and the fine-tuning of its second end (`epochs`, `learning_rate`, `drop_epoch`, `drop_factor`)."""

    second_end: SecondEnd = "retrained"
    """`retrained`: a second backdoored model, trained on the same poisoned set from another seed, as in the paper; it
    costs a whole training and needs that set. `finetuned`: the backdoored model after fine-tuning on the clean images,
    which is all that a repair is given; a backdoor that survives this lies at both ends in the same place, and then
    all along the curve."""
    t: float = 0.1
    """Point of the curve that is the result: 0 is the backdoored model, 1 the second end."""
    points: int = 11
    """Evenly spaced points of the curve that are measured beside `t`; 0 measures `t` alone."""
    curve_epochs: int = 100
    """Epochs on the clean images that train the bend."""
    curve_learning_rate: float = 0.01
    """For the first half of the epochs; it then falls, evenly until nine tenths of them, to a hundredth (C)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, points=0, curve_epochs=0, curve_learning_rate=0)
        if self.second_end not in get_args(SecondEnd):
            raise unknown("second_end", self.second_end, get_args(SecondEnd))
        if not 0 <= self.t <= 1:
            raise UserError(f"t {self.t} is outside [0, 1]; the paper's comparison uses 0.1")
        usual = defaults(clean_data.Settings)
        for name in _OF_FINETUNING if self.second_end == "retrained" else ():
            if (value := getattr(self, name)) != usual[name]:
                raise UserError(f"{name} {value} of mcr has no part in second_end retrained; leave it out")

    def curve_rate(self, epoch: int) -> float:
        """The learning rate of the bend in an epoch, counted from 0."""
        done = (epoch + 1) / self.curve_epochs
        return self.curve_learning_rate * float(np.interp(done, [0.5, 0.9], [1, 0.01]))


def repair(given: Given, settings: Settings, evaluate: Evaluation | None = None) -> Repaired:
    """Train a curve from the backdoored model to a second one and return the model at `t`.

    At each point the batch norm statistics are recomputed on the clean images, at the ends too: there the weights are
    exactly those of the end models, and t = 0 shows what new statistics do on their own.

    The history has the epochs of `second_end` (with `retrained`, `second_end_isolate` and so on); those of `curve`,
    which are not evaluated, as no one model belongs to them; and a record for each point, such as `t=0.30`, with that
    of the result last. `record` has the accuracy on the clean images, which the curve was trained on, at each point.

    Raises UserError where there are no clean images or a loss is not finite.
    """
    place = training.hardware_of(given)
    first = training.working_copy(given)
    second, history = _second_end(given, settings, evaluate)
    ends = _weights(first), _weights(second)
    bend = copy.deepcopy(first)
    _load(bend, {name: (a + ends[1][name]) / 2 for name, a in ends[0].items()})
    history += _train_bend(bend, ends, given, settings)
    record, model = {"t": settings.t}, first
    others = [t for t in np.linspace(0, 1, settings.points).round(6).tolist() if t != settings.t]
    for t in [*others, settings.t]:
        started = time.perf_counter()
        model = copy.deepcopy(first)
        _load(model, curve(ends, _weights(bend), t))
        recompute_statistics(model, given, settings.batch_size, place)
        measured = {"stage": f"t={t:.2f}", "epoch": settings.curve_epochs, "t": t, **_on_clean_images(model, given)}
        measured["seconds"] = time.perf_counter() - started
        history.append(training.finished(measured, model, given, evaluate))
        record[f"clean_images_accuracy_t={t:.2f}"] = measured["clean_images_accuracy"]
    return Repaired(model, history, record)


def curve(ends: tuple[Weights, Weights], bend: Weights, t: float) -> Weights:
    """The weights at t (the paper's quadratic Bezier curve): (1 - t)^2 w1 + 2 t (1 - t) bend + t^2 w2."""
    first, second = ends
    return {
        name: (1 - t) ** 2 * first[name] + 2 * t * (1 - t) * middle + t**2 * second[name]
        for name, middle in bend.items()
    }


def recompute_statistics(model: nn.Module, given: Given, batch_size: int, place: Hardware) -> None:
    """Replace the batch norm statistics of `model` by their mean over batches of the clean images, not augmented.

    Leaves the model in eval mode. Statistics of the ends mean nothing for weights in between (Garipov et al. 2018).
    """
    images = torch.tensor(clean_data.clean_images(given).images, device=place.device)
    norms = models.batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch then takes the plain mean over batches
    model.train()
    # All of nearly one size, as each counts the same.
    for batch in images.tensor_split(-(-len(images) // batch_size)):
        with torch.no_grad(), place.autocast():
            model(place.inputs(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _second_end(given: Given, settings: Settings, evaluate: Evaluation | None) -> tuple[nn.Module, list[dict]]:
    if settings.second_end == "finetuned":
        model = training.working_copy(given)
        return model, clean_data.finetune(model, given, settings, evaluate, name="second_end")

    def named(stage: str) -> str:
        return f"second_end_{stage}"

    def renamed(record: dict) -> dict:
        return record | {"stage": named(record["stage"])}

    trained = train(
        given.data,
        given.recipe,
        method="none",
        seed=int(numpy_stream(given.seed, "defense", clean_data.SECOND_END, 0, 0).integers(1 << 31)),
        device=given.device,
        precision=given.precision,
        evaluate=evaluate and (lambda model, stage, *when: evaluate(model, named(stage), *when)),
        folder=given.folder,
        store=given.store,
        report=None if given.report is None else lambda record: given.report(renamed(record)),
    )
    return trained.model, [renamed(record) for record in trained.history]


def _train_bend(bend: nn.Module, ends: tuple[Weights, Weights], given: Given, settings: Settings) -> list[dict]:
    """Train the parameters of `bend` in place: at each step the model at a drawn t meets a batch of clean images.

    As in the authors' code the L2 penalty is on the weights at t, not on the bend.
    """
    draws = torch_stream(given.seed, "defense", clean_data.CURVE, 0, 0)

    def logits_and_penalty(x: Tensor) -> tuple[Tensor, Tensor]:
        weights = curve(ends, dict(bend.named_parameters()), torch.rand((), generator=draws).item())
        penalty = sum(w.square().sum() for w in weights.values()) * (given.recipe.weight_decay / 2)
        return functional_call(bend, weights, (x,)), penalty

    optimiser = sgd(bend.parameters(), replace(given.recipe, weight_decay=0.0))
    rate, augmented = settings.curve_rate, settings.augmentation
    stage = Stage("curve", settings.curve_epochs, "all", _loss, rate, augmented)
    return clean_data.run_stage(
        bend, given, stage, settings.batch_size, forward=logits_and_penalty, optimiser=optimiser, place_in_stream=1
    )


def _loss(outputs: tuple[Tensor, Tensor], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    logits, penalty = outputs
    return cross_entropy(logits, labels) + penalty


def _weights(model: nn.Module) -> Weights:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def _load(model: nn.Module, weights: Weights) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


def _on_clean_images(model: nn.Module, given: Given) -> dict[str, float]:
    clean = clean_data.clean_images(given)
    right = predict(model, clean.images, given.precision) == clean.labels
    loss = per_example_losses(model, clean.images, clean.labels, given.precision)
    return {"loss": float(loss.mean()), "clean_images_accuracy": float(right.mean())}


DEFENSE = Defense("MCR", "Zhao et al. 2020, arXiv 2005.00060", "clean data", repair, Settings)
