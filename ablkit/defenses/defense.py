"""What every defence is made of: what it is given, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ablkit.data.images import Images
from ablkit.shapes import Int64, ndarray
from ablkit.training.kept import Store
from ablkit.training.progress import Evaluation
from ablkit.training.recipe import Recipe

Needs = Literal["clean data", "isolated data"]


@dataclass(frozen=True)
class Given:
    """What a defence works with: nothing that a defender would not have."""

    model: nn.Module
    """The backdoored model; a defence works on a copy and never changes it."""
    clean: Images | None
    """Clean images held out from training (5 %), for repairs; None for defences that need none."""
    data: Images
    """The poisoned training set as the adversary left it."""
    isolated: Int64[ndarray, " k"]
    """Indices of the examples that ABL isolated, lowest loss first; empty for repairs."""
    recipe: Recipe
    """Of the training that made the model: optimiser settings, batch size, augmentation."""
    seed: int
    device: str = "auto"
    precision: str = "auto"
    folder: Path | None = None
    """Where a training from fresh weights keeps its history, and without a `store` its stages."""
    report: Callable[[dict], None] | None = None
    """Called with each new record of the history."""
    store: Store | None = None
    """Where a training from fresh weights keeps its stages; its `measured` stands for the evaluation."""


@dataclass(frozen=True)
class Repaired:
    """What a defence leaves behind."""

    model: nn.Module
    """In eval mode."""
    history: list[dict]
    """One record for each epoch or step: at least stage, epoch, loss and seconds, where they make sense, and whatever
    `evaluate` returned."""
    record: dict[str, float] = field(default_factory=dict)
    """What the defence measured of itself; names say the unit."""


@dataclass(frozen=True)
class Defense:
    """A defence by name; see `ablkit.defenses.DEFENSES`."""

    title: str
    paper: str
    needs: Needs
    """What it needs beside the model: clean images held out, or the training set and what was isolated of it."""
    repair: Callable[[Given, Any, Evaluation | None], Repaired]
    """What it is given, its settings and what to measure after each epoch -> the repaired model."""
    settings: type
    """Frozen dataclass of the defence's own settings. A method `check_recipe`, if it has one, raises UserError for a
    recipe that they do not go with."""
