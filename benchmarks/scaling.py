"""How the speed of phase 1 changes with images, batch, width, and runs side by side."""

from __future__ import annotations

import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing.synchronize import Barrier

import torch

from ablkit.runs.arguments import cores
from ablkit.training import hardware
from ablkit.training.recipe import Recipe
from benchmarks.measuring import cifar_images, median_rate, rate
from benchmarks.training import phase1

_ROUNDS = 3
_IMAGES = 2048
_PATIENCE = 600
"""Seconds after which a process that waits for the others gives up."""
IMAGES = (512, 1024, 2048, 4096, 8192)
BATCHES = (16, 32, 64, 128, 256)
WIDTHS = (1, 2, 4)
RUNS = {"cpu": (1, 2), "cuda": (1, 2, 4, 8)}
"""Runs side by side in processes of their own; on a CPU they share its cores."""


def growth(device: str, precision: str, recipe: Recipe) -> dict[str, dict[int, float]]:
    """Images per second of phase 1 as one thing grows and all else stays as in the recipe.

    `images`, `batch`, `width`: of one run. `runs`: all runs together, each in a process of its own, started at once.
    """
    place = hardware.choose(device, precision)

    def of(changed: Recipe, count: int = _IMAGES) -> float:
        return median_rate(phase1(place, changed), *cifar_images(count), rounds=_ROUNDS)

    return {
        "images": {count: of(recipe, count) for count in IMAGES},
        "batch": {size: of(replace(recipe, batch_size=size)) for size in BATCHES},
        "width": {width: of(replace(recipe, model=f"wrn-16-{width}")) for width in WIDTHS},
        "runs": {number: together(number, device, precision, recipe) for number in RUNS[place.device.type]},
    }


def together(number: int, device: str, precision: str, recipe: Recipe) -> float:
    """Images per second of some runs in processes of their own, added up; in each round all begin at once."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, cores() // number)
    with ProcessPoolExecutor(number, context, _prepare, (context.Barrier(number), threads)) as pool:
        # What is measured goes along: a new process does not know what a caller has set here.
        asked = device, precision, recipe, _IMAGES, _ROUNDS
        each = list(pool.map(_one_of_them, *([one] * number for one in asked)))
    return statistics.median(map(sum, zip(*each, strict=True)))


def _prepare(gate: Barrier, threads: int) -> None:
    global _gate
    _gate = gate
    torch.set_num_threads(threads)


def _one_of_them(device: str, precision: str, recipe: Recipe, count: int, rounds: int) -> list[float]:
    epoch = phase1(hardware.choose(device, precision), recipe)
    images, labels = cifar_images(count)
    rates = []
    for _ in range(rounds + 1):
        _gate.wait(_PATIENCE)
        rates.append(rate(epoch, images, labels))
    return rates[1:]  # the first one warms up
