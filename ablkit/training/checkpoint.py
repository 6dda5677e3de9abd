"""Everything that a killed training needs to go on as if nothing had happened, in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ablkit.errors import UserError
from ablkit.files import write_bytes, write_text
from ablkit.provenance import package_digest
from ablkit.training.recipe import Recipe


@dataclass
class Progress:
    """How far a training has come. Random streams need no entry: they are functions of the seed and the epoch."""

    stage: int = 0
    """Index of the current stage."""
    epoch: int = 0
    """Finished epochs of the current stage."""
    history: list[dict] = field(default_factory=list)
    """One record for each finished epoch of every stage."""
    losses: np.ndarray | None = None
    """Loss of each training example at the turning epoch, once it is known."""
    isolated: np.ndarray | None = None
    """Indices of the isolated examples, once they are known."""


def fingerprint(images: np.ndarray, labels: np.ndarray, recipe: Recipe, **others: object) -> str:
    """A digest of all that a training's model depends on; what `evaluate` adds to its history has no part in it."""
    digest = hashlib.sha256()
    # How images came about has no part in it, so that an edit of an attack does not orphan an unfinished surrogate.
    code = package_digest("models", "training", "randomness.py")
    digest.update(json.dumps([code, asdict(recipe), others], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels))
    return digest.hexdigest()


def save(path: Path, identity: str, progress: Progress, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write a checkpoint, whole or not at all."""
    from safetensors.torch import save as serialised

    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        if state.get("momentum_buffer") is not None:
            tensors[f"momentum.{index}"] = state["momentum_buffer"].contiguous()
    for name in ("losses", "isolated"):
        if getattr(progress, name) is not None:
            tensors[name] = torch.tensor(getattr(progress, name))
    facts = {"stage": progress.stage, "epoch": progress.epoch, "history": progress.history}
    metadata = {"identity": identity, "progress": json.dumps(facts)}
    write_bytes(path, serialised(tensors, metadata))


def write_history(folder: Path, history: list[dict]) -> None:
    """Write the records so far as JSON lines, for people to follow: `history.jsonl`, whole or not at all."""
    write_text(folder / "history.jsonl", "".join(f"{json.dumps(record)}\n" for record in history))


def load(path: Path, identity: str, model: nn.Module) -> tuple[Progress, dict[int, torch.Tensor]]:
    """Fill `model` from a checkpoint; return the progress and the optimiser's momentum by parameter index.

    Raises UserError where the file is damaged or belongs to a training with other data or settings.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise UserError(f"checkpoint {path} is damaged ({error}); delete it to start this training again") from None
    if metadata["identity"] != identity:
        raise UserError(
            f"checkpoint {path} belongs to a training with other data or settings; delete it or use another folder"
        )
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    progress = Progress(**json.loads(metadata["progress"]))
    for name in ("losses", "isolated"):
        if name in tensors:
            setattr(progress, name, tensors[name].numpy())
    return progress, {int(k.split(".")[1]): v for k, v in tensors.items() if k.startswith("momentum.")}


def restore_momentum(optimiser: torch.optim.Optimizer, momentum: dict[int, torch.Tensor]) -> None:
    """Give a fresh optimiser the momentum of the one that was saved."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for index, buffer in momentum.items():
        parameter = parameters[index]
        # The memory order of the parameter too: sums over another order would round differently.
        optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(buffer)


def drop_damaged(folder: Path) -> None:
    """Delete checkpoints below `folder` that cannot be read, so that their training starts again."""
    from safetensors import SafetensorError, safe_open

    for path in folder.rglob("checkpoint.safetensors"):
        try:
            with safe_open(path, "pt") as file:
                file.keys()
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
