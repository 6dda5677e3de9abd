"""Images per second beside a conventional pipeline of the same model, in one process, as ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ablkit import models
from ablkit.files import write_json
from ablkit.randomness import torch_stream
from ablkit.runs import environment
from ablkit.training import graphs, hardware
from ablkit.training.augmentation import augment
from ablkit.training.epoch import one_set, run_epoch
from ablkit.training.hardware import Hardware
from ablkit.training.inference import per_example_losses
from ablkit.training.losses import cross_entropy, local_gradient_ascent
from ablkit.training.recipe import Recipe, recipe
from benchmarks import conventional
from benchmarks.measuring import cifar_images, rate

ROUNDS = 9
SIZES = (2048, 640)
"""Images of one round: ours, conventional. Each round takes about as long for the one as for the other."""
RECIPE = recipe("quick")


def bench(device: str = "auto", precision: str = "auto", json_file: Path | None = None) -> dict:
    """Print images per second of each phase and of the whole quick recipe, ours and conventional, and their ratio.

    The two take turns, a round each, so that a machine whose speed drifts slows both; the ratio is the median of the
    rounds' ratios. A recipe's rate is that of its phases by their numbers of epochs, the unlearning at the rate of
    phase 1. Returns {phase1, finetune, isolation_pass, recipe: {images_per_second, conventional, ratio}}.
    """
    place = hardware.choose(device, precision)
    facts = environment.describe(device, precision)
    print(f"{environment.hardware_line(facts)}, {RECIPE.model}, batch {RECIPE.batch_size}")
    many, few = SIZES
    images, labels = cifar_images(many)
    phases: dict[str, tuple[Callable, Callable]] = {
        "phase1": (phase1(place, RECIPE), conventional.phase1(place, RECIPE)),
        "finetune": (finetune(place, RECIPE), conventional.finetune(place, RECIPE)),
        "isolation_pass": (isolation_pass(place, RECIPE), conventional.isolation_pass(place, RECIPE)),
    }
    figures = {}
    print(f"{'':<16}{'images/s':>10}{'conventional':>14}{'ratio':>8}{'lowest':>8}{'highest':>9}")
    measured: dict[str, list[tuple[float, float]]] = {}
    for name, (fast, slow) in phases.items():
        pairs = [(rate(fast, images, labels), rate(slow, images[:few], labels[:few])) for _ in range(ROUNDS + 1)]
        measured[name] = pairs[1:]  # the first one warms up
        figures[name] = _line(name, measured[name])
    figures["recipe"] = _line("recipe", [_whole(RECIPE, rates) for rates in zip(*measured.values(), strict=True)])
    if json_file:
        write_json(json_file, {**figures, "environment": facts, "rounds": ROUNDS})
    return figures


def _line(name: str, pairs: list[tuple[float, float]]) -> dict[str, float]:
    ratios = [a / b for a, b in pairs]
    line = {
        "images_per_second": statistics.median(a for a, _ in pairs),
        "conventional": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }
    print(
        f"{name:<16}{line['images_per_second']:>10.0f}{line['conventional']:>14.0f}{line['ratio']:>8.2f}"
        f"{line['lowest']:>8.2f}{line['highest']:>9.2f}"
    )
    return line


def _whole(recipe: Recipe, rates: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    """Images per second of a recipe, ours and conventional, of those of phase 1, fine-tuning and isolation pass."""
    first = recipe.isolation_epochs + recipe.unlearn_epochs * recipe.isolation_rate
    passes = (first, recipe.finetune_epochs, 1)
    return tuple(sum(passes) / sum(n / pair[side] for n, pair in zip(passes, rates, strict=True)) for side in (0, 1))


def phase1(place: Hardware, recipe: Recipe) -> Callable:
    """(images, labels) -> one epoch of local gradient ascent."""
    return _training(place, recipe, partial(local_gradient_ascent, gamma=recipe.gamma), None)


def finetune(place: Hardware, recipe: Recipe) -> Callable:
    """(images, labels) -> one epoch of fine-tuning with crop, flip and cutout."""
    return _training(
        place, recipe, cross_entropy, partial(augment, recipe=recipe, generator=torch_stream(0, "augmentation", 0, 0))
    )


def isolation_pass(place: Hardware, recipe: Recipe) -> Callable:
    """(images, labels) -> the loss of each example."""
    model = place.place(models.build(recipe.model, 10))
    return lambda images, labels: per_example_losses(model, images, labels, place.precision)


def _training(place: Hardware, recipe: Recipe, loss_of: Callable, change: Callable | None) -> Callable:
    model = place.place(models.build(recipe.model, 10)).train()
    forward = graphs.compiled(model, place, graphs.WORTH_COMPILING)  # as in a training of the paper's length
    optimiser = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=1e-4, nesterov=True, fused=True)

    def epoch(images: np.ndarray, labels: np.ndarray) -> float:
        on_device = torch.tensor(images, device=place.device), torch.tensor(labels, device=place.device)
        batches = one_set(torch.arange(len(labels)), recipe.batch_size, torch_stream(0, "order", 0, 0))
        on_place = [batch.to(place.device) for batch in batches]
        return run_epoch(forward, optimiser, *on_device, on_place, loss_of, place, change, capture=True)

    return epoch
