"""Images per second beside a conventional pipeline of the same model, in one process, as ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ablkit import environment, models, vision
from ablkit.bench.measuring import cifar_images, rate
from ablkit.files import write_json
from ablkit.randomness import torch_stream
from ablkit.training import hardware
from ablkit.training.augmentation import augment
from ablkit.training.inference import per_example_losses
from ablkit.training.loop import one_set, run_epoch
from ablkit.training.losses import cross_entropy, local_gradient_ascent
from ablkit.training.recipe import recipe

ROUNDS = 9
SIZES = (2048, 640)
"""Images of one round: ours, conventional. Each round takes about as long for the one as for the other."""
RECIPE = recipe("quick")


def bench(device: str = "auto", precision: str = "auto", json_file: Path | None = None) -> dict:
    """Print images per second of phase 1, fine-tuning and isolation pass, ours and conventional, and their ratio.

    The two take turns, a round each, so that a machine whose speed drifts slows both; the ratio is the median of the
    rounds' ratios. Returns {phase1, finetune, isolation_pass: {images_per_second, conventional, ratio}}.
    """
    place = hardware.choose(device, precision)
    facts = environment.describe(device, precision)
    print(f"{environment.hardware_line(facts)}, {RECIPE.model}, batch {RECIPE.batch_size}")
    many, few = SIZES
    images, labels = cifar_images(many)
    phases: dict[str, tuple[Callable, Callable]] = {
        "phase1": (_ours_phase1, _usual_phase1),
        "finetune": (_ours_finetune, _usual_finetune),
        "isolation_pass": (_ours_isolation, _usual_isolation),
    }
    figures = {}
    print(f"{'':<16}{'images/s':>10}{'conventional':>14}{'ratio':>8}{'lowest':>8}{'highest':>9}")
    for name, (ours, usual) in phases.items():
        fast, slow = ours(place), usual(place)
        pairs = []
        for round_ in range(ROUNDS + 1):
            pair = rate(fast, images, labels), rate(slow, images[:few], labels[:few])
            if round_:  # the first one warms up
                pairs.append(pair)
        ratios = [a / b for a, b in pairs]
        line = {
            "images_per_second": statistics.median(a for a, _ in pairs),
            "conventional": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(ratios),
        }
        figures[name] = line
        print(
            f"{name:<16}{line['images_per_second']:>10.0f}{line['conventional']:>14.0f}{line['ratio']:>8.2f}"
            f"{min(ratios):>8.2f}{max(ratios):>9.2f}"
        )
    if json_file:
        write_json(json_file, {**figures, "environment": facts, "rounds": ROUNDS})
    return figures


def _ours_training(place: hardware.Hardware, loss_of: Callable, augmented: bool) -> Callable:
    model = place.place(models.build(RECIPE.model, 10)).train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=1e-4, nesterov=True, fused=True)
    drawn = torch_stream(0, "augmentation")
    change = partial(augment, recipe=RECIPE, generator=drawn) if augmented else None

    def epoch(images: np.ndarray, labels: np.ndarray) -> float:
        on_device = torch.tensor(images, device=place.device), torch.tensor(labels, device=place.device)
        batches = one_set(torch.arange(len(labels)), RECIPE.batch_size, torch_stream(0, "order"))
        return run_epoch(model, optimiser, *on_device, [b.to(place.device) for b in batches], loss_of, place, change)

    return epoch


def _ours_phase1(place: hardware.Hardware) -> Callable:
    return _ours_training(place, partial(local_gradient_ascent, gamma=0.5), augmented=False)


def _ours_finetune(place: hardware.Hardware) -> Callable:
    return _ours_training(place, cross_entropy, augmented=True)


def _ours_isolation(place: hardware.Hardware) -> Callable:
    model = place.place(models.build(RECIPE.model, 10))
    return lambda images, labels: per_example_losses(model, images, labels, place.precision)


class _Usual(torch.utils.data.Dataset):
    """A data set as research code has it: one PIL image and one chain of transforms at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def _usual_cutout(image: torch.Tensor) -> torch.Tensor:
    mask = np.ones(image.shape[1:], np.float32)
    y, x = np.random.randint(image.shape[1]), np.random.randint(image.shape[2])
    mask[max(0, y - 1) : y + 1, max(0, x - 1) : x + 1] = 0
    return image * torch.from_numpy(mask)


def _usual_training(place: hardware.Hardware, loss_of: Callable, transform: Callable) -> Callable:
    model = models.build(RECIPE.model, 10).to(place.device).train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=1e-4, nesterov=True)

    def epoch(images: np.ndarray, labels: np.ndarray) -> float:
        loader = _loader(images, labels, transform, RECIPE.batch_size, shuffle=True)
        total = 0.0
        for batch, truth in loader:
            batch, truth = batch.to(place.device), truth.to(place.device)
            loss = loss_of(model(batch), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
        return total

    return epoch


def _usual_phase1(place: hardware.Hardware) -> Callable:
    loss_of = partial(local_gradient_ascent, gamma=0.5)
    return _usual_training(place, loss_of, vision.torchvision().transforms.ToTensor())


def _usual_finetune(place: hardware.Hardware) -> Callable:
    transforms = vision.torchvision().transforms
    chain = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    return _usual_training(place, cross_entropy, transforms.Compose([*chain, _usual_cutout]))


def _usual_isolation(place: hardware.Hardware) -> Callable:
    model = models.build(RECIPE.model, 10).to(place.device).eval()
    to_tensor = vision.torchvision().transforms.ToTensor()

    def losses(images: np.ndarray, labels: np.ndarray) -> list[float]:
        found = []
        for image, truth in _loader(images, labels, to_tensor, 1, shuffle=False):
            with torch.no_grad():
                found.append(F.cross_entropy(model(image.to(place.device)), truth.to(place.device)).item())
        return found

    return losses


def _loader(images: np.ndarray, labels: np.ndarray, transform: Callable, size: int, *, shuffle: bool) -> Iterable:
    return torch.utils.data.DataLoader(_Usual(images, labels, transform), batch_size=size, shuffle=shuffle)
