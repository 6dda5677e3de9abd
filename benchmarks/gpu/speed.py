"""What a GPU does with the paper's recipe: images per second of each phase, what makes them fast, runs side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ablkit import models
from ablkit.files import write_json
from ablkit.randomness import torch_stream
from ablkit.runs import environment
from ablkit.runs.arguments import cores
from ablkit.sweep import gpu_sharing
from ablkit.sweep.slots import Slot
from ablkit.training import RECIPES, graphs, hardware
from ablkit.training.augmentation import augment
from ablkit.training.epoch import one_set, run_epoch, sgd
from ablkit.training.inference import per_example_losses
from ablkit.training.losses import cross_entropy, local_gradient_ascent
from benchmarks import conventional, limits
from benchmarks.measuring import cifar_images, rate

RECIPE = RECIPES["paper"]
STEPS = int(os.environ.get("STEPS", 100))
"""Of one round; fewer for a rehearsal on a CPU."""
IMAGES = STEPS * RECIPE.batch_size
CONVENTIONAL_IMAGES = min(2560, IMAGES)
SIDE_BY_SIDE = (2, 4, 8, 16)
SECONDS = 4.0
"""How long the processes of a round train beside each other."""


def main(file: Path, device: str = "cuda") -> None:
    """Measure, print a line for each number as it comes, and write what there is so far as JSON: it may be stopped."""
    place = hardware.choose(device)
    facts = environment.describe(device)
    print(environment.hardware_line(facts), flush=True)
    rates: dict[str, float] = {}
    shares: dict[str, float] = {}

    def keep(name: str, value: float) -> None:
        rates[name] = value
        write_json(file, {"images_per_second": rates, "limits": shares, "environment": facts})
        print(f"{name:<40}{value:>12,.0f} images/s", flush=True)

    for phase, augmented in (("phase 1", False), ("fine-tuning", True)):
        for name, options in (("plain", (False, False)), ("graph", (True, False)), ("graph, compiled", (True, True))):
            keep(f"{phase}, {name}", _best(training(place, *options, augmented=augmented), IMAGES))
    images, labels = cifar_images(IMAGES)
    model = place.place(models.build(RECIPE.model, 10))
    keep("isolation pass", _best(lambda: per_example_losses(model, images, labels, place.precision), IMAGES))
    for name, pipeline in (("phase 1", conventional.phase1), ("fine-tuning", conventional.finetune)):
        few = images[:CONVENTIONAL_IMAGES], labels[:CONVENTIONAL_IMAGES]
        keep(f"{name}, conventional", rate(pipeline(place, RECIPE), *few))
    shares |= limits.shares(place, RECIPE, rates["phase 1, graph, compiled"])
    for name in ("share_of_product_ceiling", "share_of_copy_ceiling"):
        print(f"{name.replace('_', ' '):<40}{shares[name]:>12.3f}", flush=True)
    for number in SIDE_BY_SIDE:
        if number <= cores():
            keep(f"phase 1, {number} processes, with MPS", side_by_side(number, device, shared=True))
    keep("phase 1, 8 processes, without MPS", side_by_side(min(8, cores()), device, shared=False))


def training(place: hardware.Hardware, capture: bool, compile_it: bool, *, augmented: bool) -> Callable[[], float]:
    """One epoch of phase 1, or of fine-tuning where it is augmented, in batches of the recipe."""
    model = place.place(models.build(RECIPE.model, 10)).train()
    forward = graphs.compiled(model, place, graphs.WORTH_COMPILING if compile_it else 0)
    optimiser = sgd(model.parameters(), RECIPE)
    for group in optimiser.param_groups:
        group["lr"] = RECIPE.isolation_learning_rate
    on_device = [torch.tensor(array, device=place.device) for array in cifar_images(IMAGES)]
    change = partial(augment, recipe=RECIPE, generator=torch_stream(0, "augmentation", 0, 0)) if augmented else None
    loss = cross_entropy if augmented else partial(local_gradient_ascent, gamma=RECIPE.gamma)

    def epoch() -> float:
        order = one_set(torch.arange(IMAGES), RECIPE.batch_size, torch_stream(0, "order", 0, 0))
        batches = [batch.to(place.device) for batch in order]
        return run_epoch(forward, optimiser, *on_device, batches, loss, place, change, capture=capture)

    return epoch


def _best(work: Callable[[], object], images: int, rounds: int = 3) -> float:
    """Images per second of the fastest of some rounds, after one that warms up."""
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return images / min(taken[1:])


def side_by_side(number: int, device: str, *, shared: bool) -> float:
    """Images per second of phase 1 in some processes that train at once, added up."""
    room = [Slot(f"gpu 0, {k}", {"CUDA_VISIBLE_DEVICES": "0"}) for k in range(max(2, number))]
    if not shared:
        return _all(room[:number], device)
    with gpu_sharing.shared(room):
        return _all(room[:number], device)


def _all(room: list[Slot], device: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "worker", folder, device]
        workers = [
            subprocess.Popen(command, env=os.environ | slot.environment, stdout=subprocess.PIPE, text=True)
            for slot in room
        ]
        while len(list(Path(folder).glob("*.ready"))) < len(room):
            if any(worker.poll() for worker in workers):
                raise RuntimeError("a worker failed")
            time.sleep(0.02)
        Path(folder, "go").touch()
        return sum(float(worker.communicate()[0].split()[-1]) for worker in workers)


def worker(folder: Path, device: str) -> None:
    """Train until time is up, and print images per second."""
    torch.set_num_threads(1)
    epoch = training(hardware.choose(device), True, True, augmented=False)
    epoch()
    (folder / f"{os.getpid()}.ready").touch()
    while not (folder / "go").exists():
        time.sleep(0.005)
    started, epochs = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        epoch()
        epochs += 1
    print(epochs * IMAGES / (time.perf_counter() - started))


if __name__ == "__main__":
    if sys.argv[1] == "warm":  # leaves compiled kernels for the processes that come after it
        training(hardware.choose("cuda"), True, True, augmented=False)()
    elif sys.argv[1] == "worker":
        worker(Path(sys.argv[2]), sys.argv[3])
    else:
        main(Path(sys.argv[1]), *sys.argv[2:3])
