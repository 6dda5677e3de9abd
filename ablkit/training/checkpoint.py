"""Everything that a killed training needs to go on as if nothing had happened, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ablkit.errors import UserError, shown
from ablkit.files import strict, write_bytes, write_text
from ablkit.training.averaging import Average

CHECKPOINT = "checkpoint.safetensors"
"""Name of the file."""


@dataclass
class Progress:
    """How far a stage has come. Random streams need no entry: they are functions of the seed and the epoch."""

    epoch: int = 0
    """Finished epochs of the stage."""
    history: list[dict] = field(default_factory=list)
    """One record for each."""
    trajectories: dict[str, np.ndarray] = field(default_factory=dict)
    """In phase 1 the scores of each training example after each of them or after the last, float32."""


def save(
    path: Path,
    identity: str,
    progress: Progress,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average | None = None,
) -> None:
    """Write a checkpoint, whole or not at all."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        if state.get("momentum_buffer") is not None:
            tensors[f"momentum.{index}"] = state["momentum_buffer"]
    tensors |= {f"trajectory.{name}": torch.tensor(values) for name, values in progress.trajectories.items()}
    tensors |= average.state() if average else {}
    facts = {"epoch": progress.epoch, "history": progress.history}
    write(path, tensors, {"identity": identity, "progress": json.dumps(strict(facts), allow_nan=False)})


def write(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    """Write tensors and facts with a digest of both, whole or not at all."""
    from safetensors.torch import save as serialised

    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_bytes(path, serialised(tensors, {**facts, "sha256": _digest(tensors, facts)}))


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What `write` wrote: tensors and facts; raises ValueError for everything else."""
    from safetensors import safe_open

    if not path.is_file():
        raise ValueError("it is no regular file")
    try:
        with safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        digest = _digest(tensors, {name: value for name, value in facts.items() if name != "sha256"})
    except Exception as error:  # a damaged file fails in many ways
        raise ValueError(f"it is damaged: {' '.join(str(error).split())[:200]}") from None
    if facts.pop("sha256", "") != digest:
        raise ValueError("it is damaged: it is not what was written")
    return tensors, facts


def drop(path: Path, reason: object) -> None:
    """Delete a file that a training does not go on from, and say so in one line."""
    # Named by its folder alone: the line is part of the notebook's page.
    print(f"{path.parent.name}/{path.name} is dropped: {reason}; its training starts again", flush=True)
    delete(path)


def delete(path: Path) -> None:
    """Delete what is at `path`, if anything, whatever it is; raises UserError where that cannot be done."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be deleted ({error.strerror}); delete it, or use another folder") from None


def write_history(folder: Path, history: list[dict]) -> None:
    """Write the records so far as JSON lines, for people to follow: `history.jsonl`, whole or not at all."""
    lines = [json.dumps(strict(record), allow_nan=False) for record in history]
    write_text(folder / "history.jsonl", "".join(f"{line}\n" for line in lines))


def load(
    path: Path,
    identity: str,
    model: nn.Module,
    shapes: Callable[[int], dict[str, tuple[int, int]]] | None = None,
    average: Average | None = None,
) -> tuple[Progress, dict[int, torch.Tensor]]:
    """Fill `model` and `average` from a checkpoint; return the progress and the optimiser's momentum by its index.

    Args:
        shapes: the shape of the trajectory of each score that it holds, by the number of finished epochs.

    Without a file it is the beginning. So it is where the file is damaged, or belongs to a training with other data or
    settings: it is then dropped with a line, and the model stays as it is.
    """
    if not os.path.lexists(path):
        return Progress(), {}
    try:
        tensors, facts = read(path)
        if facts.get("identity") != identity:
            raise ValueError("it belongs to a training with other data or settings")
        progress = _progress(facts.get("progress", ""))
        progress.trajectories = _trajectories(tensors, shapes(progress.epoch) if shapes else {})
        sums = {name: tensors.pop(name) for name in list(tensors) if name.startswith("average.")}
        check_fit(sums, average.state() if average else {})
        weights = {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
        check_fit(weights, model.state_dict())
        parameters = {f"momentum.{index}": parameter for index, parameter in enumerate(model.parameters())}
        momentum = {name: value for name, value in tensors.items() if not name.startswith("model.")}
        check_fit(momentum, {name: parameters[name] for name in momentum if name in parameters})
    except ValueError as error:
        drop(path, error)
        return Progress(), {}
    model.load_state_dict(weights)
    if average:
        average.restore(sums)
    return progress, {int(name.split(".")[1]): value for name, value in momentum.items()}


def check_fit(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Raise ValueError where the tensors have not the names, shapes and types of the `wanted` ones."""
    for name in sorted(found.keys() ^ wanted.keys()):
        raise ValueError(f"it {'lacks' if name in wanted else 'has a strange'} tensor {shown(name)}")
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype) != (wanted[name].shape, wanted[name].dtype):
            raise ValueError(f"tensor {shown(name)} has another shape or type")


def restore_momentum(optimiser: torch.optim.Optimizer, momentum: dict[int, torch.Tensor]) -> None:
    """Give a fresh optimiser the momentum of the one that was saved."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for index, buffer in momentum.items():
        parameter = parameters[index]
        # The memory order of the parameter too: sums over another order would round differently.
        optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)


def _digest(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _progress(text: str) -> Progress:
    """How far a stage has come, from the JSON in its checkpoint; raises ValueError where it says nothing of that."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    epoch, history = (facts.get(name) if isinstance(facts, dict) else None for name in ("epoch", "history"))
    if type(epoch) is not int or not isinstance(history, list):
        raise ValueError("it does not say how far it has come")
    if epoch != len(history) or not all(isinstance(record, dict) for record in history):
        raise ValueError("its history is not that of its epochs")
    return Progress(epoch, history)


def _trajectories(tensors: dict[str, torch.Tensor], shapes: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """Take the trajectories out of the tensors; raises ValueError where they do not have these shapes."""
    found = {name: tensors.pop(name) for name in list(tensors) if name.startswith("trajectory.")}
    check_fit(found, {f"trajectory.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()})
    return {name.removeprefix("trajectory."): values.numpy() for name, values in found.items()}
