"""The attacker's own clean models and generators: trained once, kept under a key of all that decides them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ablkit import models, paths
from ablkit.attacks.craft import Order
from ablkit.errors import UserError
from ablkit.files import read_json, sweep_temporary, write_bytes, write_json
from ablkit.lock import locked
from ablkit.provenance import package_digest
from ablkit.randomness import numpy_stream
from ablkit.shapes import Tensor
from ablkit.training import checkpoint, hardware, train
from ablkit.training.abl import CHECKPOINT
from ablkit.training.inference import predict
from ablkit.training.recipe import Recipe, recipe

MODEL = "wrn-16-1"
_FEWEST = 20
_TENSORS, _RECORD = "tensors.safetensors", "record.json"


def classifier(order: Order, epochs: int) -> tuple[nn.Module, dict[str, float]]:
    """A model trained by the attacker on the clean training set, in eval mode, and what to report of it.

    Cross entropy with crop and flip for `epochs`, the learning rate dropped to a tenth after two thirds of them. One
    in ten training images is held out to measure its accuracy. Equal orders share one file, whatever the attack.
    Raises UserError for fewer than 20 training images.
    """
    if len(order.train) < _FEWEST:
        raise UserError(
            f"this attack trains a model on the training set, but {len(order.train)} images are too few; give at least"
            f" {_FEWEST}"
        )
    settings = _recipe(order, epochs)
    held_out = np.arange(len(order.train)) % 10 == 9
    rest, held = (order.train.take(np.flatnonzero(part)) for part in (~held_out, held_out))

    def make(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
        made = train(
            rest.images,
            rest.labels,
            len(rest.classes),
            settings,
            method="none",
            seed=own_seed(order),
            device=order.device,
            precision=order.precision,
            folder=folder,
            report=lambda record: _say("surrogate", record["epoch"], epochs, record["seconds"]),
        )
        accuracy = float((predict(made.model, held.images, order.precision) == held.labels).mean())
        return made.model.state_dict(), {"surrogate_accuracy": accuracy}

    tensors, record = keep("classifier", order, {"recipe": vars(settings)}, make)
    model = models.build(settings.model, len(order.train.classes))
    model.load_state_dict(tensors)
    return model.eval(), record


def keep(
    kind: str,
    order: Order,
    facts: dict,
    make: Callable[[Path], tuple[dict[str, Tensor], dict[str, float]]],
    *modules: str,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What `make` returns, tensors and a record, from the cache where it has been made before.

    Args:
        kind: names the folder under the cache.
        facts: whatever decides the result beside the training set, the seed and this package's code; JSON values.
        make: is given a folder to keep checkpoints in, from which it is to go on where it was interrupted. The record
            gains `KIND_seconds`, the time of the call that finished it.
        *modules: files of this package whose code decides the result too, such as "attacks/dynamic.py".

    What is there but damaged is dropped with a line and made again. Raises UserError where the cache cannot be written.
    """
    from safetensors.torch import save

    folder = paths.cache_root() / kind / _key(order, facts, modules)
    with locked(folder, wait=True):  # of two runs that need it at once, one makes it and the other waits
        sweep_temporary(folder)
        kept = _kept(folder)
        if kept is None:
            started = time.perf_counter()
            tensors, record = make(folder)
            content = save({name: value.cpu().contiguous() for name, value in tensors.items()})
            write_bytes(folder / _TENSORS, content)
            record = {**record, f"{kind}_seconds": time.perf_counter() - started}
            own = {"key": folder.name, "sha256": hashlib.sha256(content).hexdigest()}
            write_json(folder / _RECORD, {"record": record, **own})
            kept = _kept(folder)
        if kept is None:
            raise UserError(f"what was written to {folder} is not what is there; is its disk whole?")
        checkpoint.delete(folder / CHECKPOINT)
        return kept


def _kept(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]] | None:
    """What `keep` has left in a folder, None where there is nothing; what is damaged is dropped with a line."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not os.path.lexists(folder / _RECORD):
        return None
    try:
        notes = read_json(folder / _RECORD)
        if not (folder / _TENSORS).is_file():
            raise ValueError(f"{_TENSORS} is gone")
        content = (folder / _TENSORS).read_bytes()
        own = {"key": folder.name, "sha256": hashlib.sha256(content).hexdigest(), "record": notes.get("record")}
        if notes != own or not _is_record(own["record"]):
            raise ValueError(f"{_TENSORS} and its record do not belong together")
        return load(content), own["record"]
    except (UserError, OSError, ValueError, SafetensorError) as error:
        reason = str(error).removeprefix(f"{folder / _RECORD} ").partition(";")[0]
        checkpoint.drop(folder / _RECORD, reason)
        checkpoint.delete(folder / _TENSORS)
        return None


def _is_record(value: object) -> bool:
    return isinstance(value, dict) and all(
        one is None or (type(one) in (int, float) and abs(one) < float("inf")) for one in value.values()
    )


def own_seed(order: Order) -> int:
    """The seed of the attacker's models, so that none starts from the weights of the model that is attacked."""
    return int(numpy_stream(order.seed, "trigger", 1).integers(1 << 31))


def _key(order: Order, facts: dict, modules: tuple[str, ...]) -> str:
    # Not the whole package's code: a change to one attack should not cost the surrogates of the others.
    code = package_digest("data", "models", "training", "randomness.py", "attacks/surrogates.py", *modules)
    place = hardware.choose(order.device, order.precision)
    where = [place.device.type, place.precision]
    digest = hashlib.sha256(json.dumps([code, order.seed, where, facts], sort_keys=True).encode())
    digest.update(repr((order.train.images.shape, order.train.classes)).encode())
    digest.update(np.ascontiguousarray(order.train.images))
    digest.update(np.ascontiguousarray(order.train.labels))
    return digest.hexdigest()[:12]


def _recipe(order: Order, epochs: int) -> Recipe:
    """Plain training: no first phase, everything in the fine-tuning."""
    return recipe(
        "quick",
        model=MODEL,
        batch_size=min(64, max(2, len(order.train) // 4)),
        isolation_epochs=0,
        cutout_length=0,
        isolation_rate=0.5,  # of no use here, but checked: it must select an image of the smallest set
        finetune_epochs=epochs,
        finetune_drop_epoch=-(-2 * epochs // 3),
    )


def _say(what: str, epoch: int, epochs: int, seconds: float) -> None:
    print(f"{what}: epoch {epoch} of {epochs}, {seconds:.1f} s", flush=True)


def pixels(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 images (n h w c) as floats in [0, 1] (n c h w) on a device."""
    return torch.tensor(images, device=device).permute(0, 3, 1, 2).float() / 255


def levels(x: Tensor) -> np.ndarray:
    """Floats in [0, 1] (n c h w) as uint8 images (n h w c), rounded."""
    return (x.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
