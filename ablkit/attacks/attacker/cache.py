"""What attackers have trained, kept under a key of all that decides it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ablkit import paths, provenance
from ablkit.attacks.attack import Order
from ablkit.errors import UserError
from ablkit.files import locked, read_json, sweep_temporary, write_bytes, write_json
from ablkit.randomness import numpy_stream
from ablkit.shapes import Tensor
from ablkit.training import checkpoint, hardware
from ablkit.training.checkpoint import CHECKPOINT
from ablkit.training.kept import STAGES

_TENSORS, _RECORD = "tensors.safetensors", "record.json"


def keep(
    kind: str,
    order: Order,
    facts: dict,
    make: Callable[[Path], tuple[dict[str, Tensor], dict[str, float]]],
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What `make` returns, tensors and a record, from the cache where it has been made before.

    Args:
        kind: names the folder under the cache.
        facts: whatever decides the result beside the training set, the seed and this package's code; JSON values.
        make: is given a folder to keep checkpoints in, from which it is to go on where it was interrupted. The record
            gains `KIND_seconds`, the time of the call that finished it. The code that decides the result is that of the
            module that defines it, with all that this imports.

    What is there but damaged is dropped with a line and made again. Raises UserError where the cache cannot be written.
    """
    from safetensors.torch import save

    folder = paths.cache_root() / kind / _key(order, facts, make)
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
        for needless in (CHECKPOINT, STAGES):
            checkpoint.delete(folder / needless)
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
    return int(numpy_stream(order.seed, "trigger", 1, 0).integers(1 << 31))


def _code(make: Callable) -> str:
    """Digest of the code of a maker, also of one that was given arguments before."""
    while isinstance(make, partial):
        make = make.func
    if not provenance.everything(make.__module__):
        raise ValueError(f"{make} is defined in {make.__module__}, which is no module of this package")
    return provenance.digest(make.__module__)


def _key(order: Order, facts: dict, make: Callable) -> str:
    place = hardware.choose(order.device, order.precision)
    where = [place.device.type, place.precision, hardware.name(place), torch.__version__, torch.get_num_threads()]
    where.append(torch.backends.cpu.get_cpu_capability())
    digest = hashlib.sha256(json.dumps([_code(make), order.seed, where, facts], sort_keys=True).encode())
    digest.update(repr((order.train.images.shape, order.train.classes, order.train.mirrors)).encode())
    if order.train.groups is not None:
        digest.update(np.ascontiguousarray(order.train.groups))
    digest.update(np.ascontiguousarray(order.train.images))
    digest.update(np.ascontiguousarray(order.train.labels))
    return digest.hexdigest()[:12]
