"""A surrogate trained on adversarial examples (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ablkit import models
from ablkit.attacks.attack import Order
from ablkit.attacks.attacker import cache, classifier, pgd, training
from ablkit.data.images import Images
from ablkit.randomness import torch_stream
from ablkit.shapes import Int64, Tensor, UInt8
from ablkit.training import hardware
from ablkit.training.augmentation import augment
from ablkit.training.epoch import one_set, sgd
from ablkit.training.hardware import Hardware
from ablkit.training.inference import predict
from ablkit.training.recipe import Recipe

EPSILON = 8.0
"""Levels of 255 by which a training image may change: Madry et al. on CIFAR-10."""
STEPS = 3
"""Steps towards each adversarial example. Madry et al. take 7; with 3 it can be afforded without a GPU."""


def trained(order: Order, epochs: int) -> tuple[nn.Module, dict[str, float]]:
    """A model that the attacker trained on adversarial examples of the clean set, in eval mode, and its record.

    As `classifier.trained`, but each batch is first perturbed by STEPS steps within EPSILON, each 2.5 EPSILON /
    STEPS long, so that the border can be reached from any start. On the one in ten images that are held out it
    measures `surrogate_accuracy` and, after twenty such steps, `surrogate_robust_accuracy`.
    """
    rest, held = training.split(order.train)
    settings = classifier.plain_recipe(order, epochs)

    def make(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
        model = _train(rest, settings, order, folder)
        bound = {"epsilon": EPSILON, "step": _step(20), "steps": 20, "seed": order.seed, "precision": order.precision}
        seen = {"accuracy": held.images, "robust_accuracy": pgd.perturb(model, held.images, held.labels, **bound)}
        right = {name: predict(model, images, order.precision) == held.labels for name, images in seen.items()}
        return model.state_dict(), {f"surrogate_{name}": float(hits.mean()) for name, hits in right.items()}

    facts = {"recipe": vars(settings), "epsilon": EPSILON, "steps": STEPS}
    tensors, record = cache.keep("adversarial", order, facts, make)
    model = models.build(settings.model, len(order.train.classes))
    model.load_state_dict(tensors)
    return model.eval(), record


def _step(steps: int) -> float:
    return 2.5 * EPSILON / steps


def _train(train: Images, settings: Recipe, order: Order, folder: Path) -> nn.Module:
    """Train from the start or from the checkpoint in the folder, whose name is a digest of all that decides it."""
    place, seed = hardware.choose(order.device, order.precision), cache.own_seed(order)
    model = place.place(models.build(settings.model, len(train.classes), seed=seed))
    optimiser = sgd(model.parameters(), settings, settings.finetune_learning_rate)
    images, labels = torch.tensor(train.images, device=place.device), torch.tensor(train.labels, device=place.device)

    def one_epoch(epoch: int) -> dict[str, float]:
        return {"loss": _epoch(model, optimiser, images, labels, settings, seed, epoch, place)}

    parts, epochs = {"model": (model, optimiser)}, settings.finetune_epochs
    training.run(folder, "adversarial surrogate", parts, epochs, one_epoch, partial(training.dropped, epochs=epochs))
    return model.eval()


def _epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: UInt8[Tensor, "n h w c"],
    labels: Int64[Tensor, " n"],
    settings: Recipe,
    seed: int,
    epoch: int,
    place: Hardware,
) -> float:
    """Take one step on the adversarial examples of each batch; return the mean of the batches' losses."""
    drawn = torch_stream(seed, "augmentation", epoch, 0)
    batches = one_set(torch.arange(len(labels)), settings.batch_size, torch_stream(seed, "order", epoch, 0))
    total = torch.zeros((), device=place.device)
    for indices in (batch.to(place.device) for batch in batches):
        x, y = augment(images[indices], settings, drawn).float(), labels[indices]
        noise = pgd.uniform(x.shape, EPSILON, drawn).to(place.device)
        model.eval()  # so that the attack leaves batch norm's statistics alone
        x = pgd.ascend(model, x, y, noise, EPSILON, _step(STEPS), STEPS, place)
        model.train()
        loss = F.cross_entropy(pgd.logits(model, x, place), y)
        training.step(loss, optimiser)
        total += loss.detach()
    return total.item() / len(batches)
