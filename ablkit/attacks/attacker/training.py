"""What an attacker's own training needs to go on after a kill: several networks and optimisers in one file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from ablkit.errors import shown
from ablkit.training import checkpoint

Parts = dict[str, tuple[nn.Module, torch.optim.Optimizer]]
"""Name -> network and the optimiser of all its parameters."""


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
