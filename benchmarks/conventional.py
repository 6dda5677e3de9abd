"""Training as research code has it: PIL transforms one image at a time, a DataLoader, fp32, a loss pass of batch 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from ablkit import models
from ablkit.data import vision
from ablkit.training import hardware
from ablkit.training.losses import cross_entropy, local_gradient_ascent
from ablkit.training.recipe import Recipe


class _OneAtATime(torch.utils.data.Dataset):
    """A data set as research code has it: one PIL image and one chain of transforms at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def cutout(image: torch.Tensor) -> torch.Tensor:
    """Blank a square of at most two by two pixels."""
    mask = np.ones(image.shape[1:], np.float32)
    y, x = np.random.randint(image.shape[1]), np.random.randint(image.shape[2])
    mask[max(0, y - 1) : y + 1, max(0, x - 1) : x + 1] = 0
    return image * torch.from_numpy(mask)


def _training(place: hardware.Hardware, recipe: Recipe, loss_of: Callable, transform: Callable) -> Callable:
    model = models.build(recipe.model, 10).to(place.device).train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, 0.9, weight_decay=1e-4, nesterov=True)

    def epoch(images: np.ndarray, labels: np.ndarray) -> float:
        loader = _loader(images, labels, transform, recipe.batch_size, shuffle=True)
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


def phase1(place: hardware.Hardware, recipe: Recipe) -> Callable:
    """(images, labels) -> one epoch of local gradient ascent."""
    loss_of = partial(local_gradient_ascent, gamma=0.5)
    return _training(place, recipe, loss_of, vision.torchvision().transforms.ToTensor())


def finetune(place: hardware.Hardware, recipe: Recipe) -> Callable:
    """(images, labels) -> one epoch of fine-tuning with crop, flip and cutout."""
    transforms = vision.torchvision().transforms
    chain = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    return _training(place, recipe, cross_entropy, transforms.Compose([*chain, cutout]))


def isolation_pass(place: hardware.Hardware, recipe: Recipe) -> Callable:
    """(images, labels) -> the loss of each example."""
    model = models.build(recipe.model, 10).to(place.device).eval()
    to_tensor = vision.torchvision().transforms.ToTensor()

    def losses(images: np.ndarray, labels: np.ndarray) -> list[float]:
        found = []
        for image, truth in _loader(images, labels, to_tensor, 1, shuffle=False):
            with torch.no_grad():
                found.append(F.cross_entropy(model(image.to(place.device)), truth.to(place.device)).item())
        return found

    return losses


def _loader(images: np.ndarray, labels: np.ndarray, transform: Callable, size: int, *, shuffle: bool) -> Iterable:
    return torch.utils.data.DataLoader(_OneAtATime(images, labels, transform), batch_size=size, shuffle=shuffle)
