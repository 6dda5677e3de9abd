"""The one training loop of attackers: several networks and optimisers, in one file after each epoch."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ablkit.attacks.attack import FEWEST
from ablkit.data.images import Images
from ablkit.errors import UserError, shown
from ablkit.shapes import Bool, Tensor, ndarray
from ablkit.training import checkpoint
from ablkit.training.checkpoint import CHECKPOINT

Parts = dict[str, tuple[nn.Module, torch.optim.Optimizer]]
"""Name -> network and the optimiser of all its parameters."""


def split(train: Images) -> tuple[Images, Images]:
    """The images to train on, and those on which an attacker measures, see `held_out`; raises as `check_size` does."""
    check_size(train)
    is_held_out = held_out(train)
    return train.take(np.flatnonzero(~is_held_out)), train.take(np.flatnonzero(is_held_out))


def held_out(train: Images) -> Bool[ndarray, " n"]:
    """Whether each image is one of the tenth on which an attacker measures: every tenth, or every tenth group.

    By groups where the set has them, twenty or more: an image of the same track or subject is no new one.
    """
    number = np.arange(len(train))
    if train.groups is not None and len(named := np.unique(train.groups)) >= FEWEST:
        number = np.searchsorted(named, train.groups)
    return number % 10 == 9


def check_size(train: Images) -> None:
    """Raise UserError for fewer images than an attacker trains a network on."""
    if len(train) < FEWEST:
        raise UserError(
            f"this attack trains a network on the training set, but {len(train)} images are too few; give at least"
            f" {FEWEST}"
        )


def run(
    folder: Path,
    name: str,
    parts: Parts,
    epochs: int,
    one_epoch: Callable[[int], dict[str, float]],
    factor: Callable[[int], float],
    way_out: str = "use another seed or more images",
) -> None:
    """Train the epochs that the checkpoint in `folder` does not have; print a line after each.

    Args:
        name: of what is trained, for people.
        one_epoch: trains an epoch, counted from 0, and gives its numbers by name, the loss among them.
        factor: what all learning rates are multiplied by in an epoch.
        way_out: what to do where the loss is not finite.

    Raises UserError where the loss of an epoch is not finite.
    """
    path = folder / CHECKPOINT
    for epoch in range(load(path, parts), epochs):
        started = time.perf_counter()
        for _, optimiser in parts.values():
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * factor(epoch)
        numbers = one_epoch(epoch)
        if not math.isfinite(numbers["loss"]):
            raise UserError(f"the loss of the {name} is {numbers['loss']} in epoch {epoch + 1}; {way_out}")
        save(path, epoch + 1, parts)
        said = "".join(f", {what} {value:.3f}" for what, value in numbers.items())
        print(f"{name}: epoch {epoch + 1} of {epochs}{said}, {time.perf_counter() - started:.1f} s", flush=True)


def dropped(epoch: int, epochs: int) -> float:
    """The factor of a learning rate that falls to a tenth after two thirds of the epochs."""
    return 0.1 if epoch >= -(-2 * epochs // 3) else 1.0


def step(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    """One step down the loss with each optimiser."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser in optimisers:
        optimiser.step()


def means(batches: list[dict[str, Tensor]]) -> dict[str, float]:
    """The mean over an epoch's batches of each of their numbers."""
    return {name: torch.stack([batch[name].detach() for batch in batches]).mean().item() for name in batches[0]}


def save(path: Path, finished: int, parts: Parts) -> None:
    """Write networks, optimisers and the number of finished epochs, whole or not at all."""
    tensors = {}
    for name, (network, optimiser) in parts.items():
        tensors |= {f"{name}/network/{key}": value for key, value in network.state_dict().items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}/optimiser/{index}/{key}": v for key, v in state.items() if v is not None}
    checkpoint.write(path, tensors, {"finished": str(finished), "identity": path.parent.name})


def load(path: Path, parts: Parts) -> int:
    """Fill networks and optimisers from what `save` wrote; return the number of finished epochs, 0 without a file.

    Random streams need no entry: they are functions of the seed and the epoch. A file that is damaged, or was written
    into another folder, whose name is a digest of all that decides the training, is dropped with a line.
    """
    if not os.path.lexists(path):
        return 0
    try:
        tensors, facts = checkpoint.read(path)
        if facts.get("identity") != path.parent.name:
            raise ValueError("it belongs to a training with other data or settings")
        finished = int(facts.get("finished", ""))
        if finished < 0:
            raise ValueError("it does not say how far it has come")
        _check(tensors, parts)
    except ValueError as error:
        checkpoint.drop(path, error)
        return 0
    for name, (network, optimiser) in parts.items():
        network.load_state_dict(_under(f"{name}/network/", tensors))
        parameters = _parameters(optimiser)
        for key, value in _under(f"{name}/optimiser/", tensors).items():
            index, entry = key.split("/")
            parameter = parameters[int(index)]
            # In the parameter's own memory order and on its device; a step counter is no such tensor and stays.
            like = value if value.shape != parameter.shape else torch.empty_like(parameter).copy_(value)
            optimiser.state[parameter][entry] = like
    return finished


def _check(tensors: dict[str, torch.Tensor], parts: Parts) -> None:
    """Raise ValueError where the tensors are not those of these networks and optimisers."""
    wanted = {f"{name}/network/{key}": v for name, (net, _) in parts.items() for key, v in net.state_dict().items()}
    checkpoint.check_fit({name: v for name, v in tensors.items() if "/optimiser/" not in name}, wanted)
    states = {
        f"{name}/optimiser/{index}": parameter.shape
        for name, (_, optimiser) in parts.items()
        for index, parameter in enumerate(_parameters(optimiser))
    }
    for name, value in tensors.items():
        owner = name.rpartition("/")[0]
        if "/optimiser/" in name and (owner not in states or value.shape not in (states[owner], torch.Size())):
            raise ValueError(f"tensor {shown(name)} belongs to no parameter")


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _under(prefix: str, tensors: dict) -> dict:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
