"""A run that is wanted: what it is, where it lies, and how far it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ablkit.attacks import find
from ablkit.errors import UserError
from ablkit.files import read_json
from ablkit.runs import records, seals
from ablkit.runs.folder import PARAMETERS, drop_checkpoints
from ablkit.runs.key import facts_of, folder_of
from ablkit.runs.notebooks import Source, read
from ablkit.runs.parameters import Comparison, OneRun, Parameters, nearest

_MOST_NAMED = 8
"""Parameters in a line about a run."""


@dataclass(frozen=True)
class Job:
    """One run that a report or a sweep needs."""

    notebook: str
    title: str
    parameters: Parameters
    shared: Source | None = field(default=None, compare=False, repr=False)
    """The notebook, where several jobs are to be of the same one; read when it is first needed where this is None."""

    # Each is found once: what is edited later has no part in a run whose key is known.
    @cached_property
    def source(self) -> Source:
        """The notebook that its run executes."""
        return self.shared or read(self.notebook)

    @cached_property
    def facts(self) -> dict:
        """All that its key stands for."""
        return facts_of(self.notebook, self.parameters, self.source)

    @property
    def folder(self) -> Path:
        """Where its run is or will be."""
        return folder_of(self.facts)

    @property
    def subject(self) -> str:
        """What tells it from others of its kind: attack, seed and what differs from the nearest preset, what is
        compared, or else the data set."""
        p = self.parameters
        if isinstance(p, OneRun):
            preset, own = nearest(self.notebook, dict(p))
            told = {"preset": preset} if preset != "quick" else {}
            told |= {name: value for name, value in own.items() if name not in ("attack", "method", "seed")}
            others = [f", {name} {value}" for name, value in told.items()]
            more = f" and {len(others) - _MOST_NAMED} more parameters" if others[_MOST_NAMED:] else ""
            return f"{find(p.attack).title}, seed {p.seed}{''.join(others[:_MOST_NAMED])}{more}"
        if isinstance(p, Comparison):
            return f"{len(p.attack_names.split())} attacks, seeds {p.seeds}"
        return p.dataset

    def is_done(self, with_model: bool = False) -> bool:
        """Whether its run is whole: the metrics can be read, and it was made with these parameters and this code.

        What is damaged, or stands for another run, is made again.

        Args:
            with_model: as a run that others start from; one that came in an archive without its weights is none.
        """
        try:
            records.metrics(self.folder)
            seals.check_sealed(self.folder)
            if with_model and seals.left_out(self.folder):
                return False
            done = read_json(self.folder / PARAMETERS) == json.loads(json.dumps(self.facts))
        except UserError:
            return False
        if done:
            drop_checkpoints(self.folder)  # of a runner that was killed between its last two steps
        return done

    @property
    def state(self) -> records.State:
        """See `records.state`; what is done is whole, see `is_done`, or else damaged."""
        found = records.state(self.folder)
        return "damaged" if found == "done" and not self.is_done() else found

    def metrics(self) -> dict:
        """The metrics of a run that is done."""
        return records.metrics(self.folder)
