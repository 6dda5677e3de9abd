"""A run that is wanted: what it is, where it lies, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ablkit import records, runs
from ablkit.attacks import find
from ablkit.notebooks import code_digest, path_of
from ablkit.parameters import ManyAttacks, Parameters, PoisonedSet


@dataclass(frozen=True)
class Job:
    """One run that a report or a sweep needs."""

    notebook: str
    title: str
    parameters: Parameters

    @cached_property
    def folder(self) -> Path:
        """Where its run is or will be."""
        return runs.folder_of(self.notebook, self.parameters, code_digest(path_of(self.notebook)))

    @property
    def subject(self) -> str:
        """What tells it from the others of its kind: attack and seed, what is compared, or else the data set."""
        p = self.parameters
        if isinstance(p, PoisonedSet):
            return f"{find(p.attack).title}, seed {p.seed}"
        if isinstance(p, ManyAttacks):
            return f"{len(p.attack_names.split())} attacks, seeds {p.seeds}"
        return p.dataset

    @property
    def state(self) -> str:
        """`done`, `failed` or `missing`."""
        if (self.folder / "metrics.json").exists() and self._is_whole():
            return "done"
        return "failed" if (self.folder / "failure.json").exists() else "missing"

    def metrics(self) -> dict:
        """The metrics of a run that is done."""
        return records.metrics(self.folder)

    def _is_whole(self) -> bool:
        try:
            self.metrics()
        except records.Damaged:
            return False  # so it is run again
        return True
