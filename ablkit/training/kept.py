"""Stages that are trained once: each is kept under a key of all that decides it, and taken by whoever needs it next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ablkit.files import Busy, locked, sweep_temporary, write_json
from ablkit.training import checkpoint
from ablkit.training.checkpoint import CHECKPOINT
from ablkit.training.stages import Stage

STAGES = "stages"
"""Name of the folder of kept stages."""
AGAIN = "ABLKIT_TRAIN_AGAIN"
"""Variable that is set where a run is to train every stage, whatever is kept of it."""
NOTE = "stages.json"
"""Lies in the folder of a training that is not done: the keys of its stages so far, in the shared folder."""


@dataclass(frozen=True)
class Store:
    """Where the stages of many trainings are kept: a folder each, with a checkpoint that is complete or goes on."""

    root: Path
    measured: str = ""
    """What stands for `evaluate` in the keys, as a stage is kept with the records that hold what it returned."""
    again: bool = False
    """Train each stage anew, whatever is kept of it."""


class Chain:
    """The keys of a training's stages, each of which holds the one before, and their places in a store.

    Args:
        folder: of the training; notes which stages of the store it has come to. Without a store it keeps its own there.
        store: see `Store`; without it and `folder` nothing is kept.
        facts: what decides the training beside its stages and its arrays.
    """

    def __init__(self, folder: Path | None, store: Store | None, facts: dict, *arrays: np.ndarray) -> None:
        self.note = folder / NOTE if folder and store else None
        self.store = Store(folder / STAGES) if folder and not store else store
        self.key, self.passed = "", []
        if self.store is not None:
            self.key = key_of({**facts, "measured": self.store.measured}, *arrays)

    @contextmanager
    def hold(self, stage: Stage, facts: dict, *arrays: np.ndarray) -> Iterator[Path | None]:
        """Go on to the next stage: yields where its checkpoint is kept, for this training alone; None for nowhere.

        Args:
            facts: what decides the stage beside its own settings and the stages before; `arrays` too.
        """
        if self.store is None:
            yield None
            return
        self.key = key_of({**stage.facts(), **facts, "before": self.key}, *arrays)
        if not stage.epochs:
            yield None
            return
        folder = self.store.root / self.key[:12]
        self.passed.append(folder.name)
        if self.note is not None:
            write_json(self.note, {"stages": self.passed})
        with _held(folder, stage.name):
            sweep_temporary(folder)
            if self.store.again:
                checkpoint.delete(folder / CHECKPOINT)
            yield folder / CHECKPOINT


@contextmanager
def _held(folder: Path, name: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except Busy:
            print(f"stage {name}: another run is training it ({STAGES}/{folder.name}), this one waits", flush=True)
            stack.enter_context(locked(folder, wait=True))
        yield


def key_of(facts: dict, *arrays: np.ndarray) -> str:
    """A digest of JSON values and arrays."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
