"""What an attacker's own training needs to go on after a kill: several networks and optimisers in one file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ablkit.errors import UserError
from ablkit.files import write_bytes

Parts = dict[str, tuple[nn.Module, torch.optim.Optimizer]]
"""Name -> network and the optimiser of all its parameters."""


def save(path: Path, finished: int, parts: Parts) -> None:
    """Write networks, optimisers and the number of finished epochs, whole or not at all."""
    from safetensors.torch import save as serialised

    tensors = {}
    for name, (network, optimiser) in parts.items():
        tensors |= {f"{name}/network/{key}": value for key, value in network.state_dict().items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}/optimiser/{index}/{key}": v for key, v in state.items() if v is not None}
    tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
    write_bytes(path, serialised(tensors, {"finished": str(finished)}))


def load(path: Path, parts: Parts) -> int:
    """Fill networks and optimisers from what `save` wrote; return the number of finished epochs, 0 without a file.

    Random streams need no entry: they are functions of the seed and the epoch. Raises UserError for a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            finished = int(file.metadata()["finished"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"checkpoint {path} is damaged ({error}); delete it to start this training again") from None
    for name, (network, optimiser) in parts.items():
        network.load_state_dict(_under(f"{name}/network/", tensors))
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for key, value in _under(f"{name}/optimiser/", tensors).items():
            index, entry = key.split("/")
            parameter = parameters[int(index)]
            # In the parameter's own memory order and on its device; a step counter is no such tensor and stays.
            like = value if value.shape != parameter.shape else torch.empty_like(parameter).copy_(value)
            optimiser.state[parameter][entry] = like
    return finished


def _under(prefix: str, tensors: dict) -> dict:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
