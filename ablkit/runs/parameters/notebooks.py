"""The parameters of each notebook: names, types and the defaults of the quick preset."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ablkit import attacks, data, provenance
from ablkit.errors import UserError, shown, unknown
from ablkit.files import read_text
from ablkit.paths import notebooks_root
from ablkit.runs.parameters.cases import (
    Adaptive,
    Gamma,
    IsolationRate,
    PoisonRate,
    Recipes,
    Repairs,
    TurningEpoch,
)
from ablkit.runs.parameters.comparisons import (
    Architectures,
    Comparison,
    Exclusion,
    Isolators,
    LossGap,
    Twins,
    WhatUnlearns,
)
from ablkit.runs.parameters.one_run import RUN, Parameters, made
from ablkit.runs.parameters.presets import PRESETS, filled
from ablkit.runs.parameters.your_data import YOUR_DATA

_ROOMS = tuple(f"ablkit.{room}" for room in ("attacks", "defenses", "exclusion", "metrics", "runs", "training"))


class SweepParameters(Parameters):
    """Those of the notebook about sweeps."""

    @property
    def path(self) -> Path:
        """The sweep file; raises UserError where there is none of that name."""
        if Path(self.file).name != self.file:
            raise UserError(f"file {shown(self.file)} must be the name of a file in notebooks/sweeps, without a folder")
        path = notebooks_root() / "sweeps" / self.file
        if not os.path.isfile(path):  # False, too, for what can be no path
            raise UserError(f"file {shown(self.file)} is not in {path.parent}; name one that is")
        return path

    def outside(self) -> dict:
        """The text of the sweep file, and which data the sets are that it names."""
        text = read_text(self.path)
        named = [name for name in data.prepared_names() if name in text or name == RUN.defaults()["dataset"]]
        return {"file": text, "sets": {name: data.digest(name) for name in named}}

    def modules(self) -> tuple[str, ...]:
        """All that a run of the file may need: the rooms that make results."""
        return tuple(name for name in provenance.every_module() if name.startswith(_ROOMS))


_PRESET = {"preset": "quick", "changes": ""}
_OVER = {"seeds": "0 1 2", **_PRESET}
_CASES = {"case_names": "all", **_OVER}
_TWINS = " ".join(name for name, attack in attacks.ATTACKS.items() if attack.twin)

NOTEBOOKS: dict[str, type[Parameters]] = {
    "run": RUN,
    "loss_gap": made(LossGap, attack_names=" ".join(attacks.ATTACKS), **_OVER),
    "attacks": made(Comparison, attack_names=" ".join(attacks.ATTACKS), **_OVER),
    "table1": made(
        Comparison, attack_names=" ".join(attacks.ATTACKS), method_names="none repairs abl exclude oracle", **_OVER
    ),
    "unlearning": made(Comparison, attack_names="badnets blend sig", method_names="none ways abl oracle", **_OVER),
    "what_unlearns": made(WhatUnlearns, attack_names="badnets blend sig", arm_names="all", **_OVER),
    "twins": made(Twins, attack_names=_TWINS, **_OVER),
    "isolators": made(Isolators, attack_names=" ".join(attacks.ATTACKS), losses="lga-0.5", epochs=6, **_OVER),
    "exclusion": made(Exclusion, attack_names=" ".join(attacks.ATTACKS), **_OVER),
    "architectures": made(
        Architectures,
        attack_names="badnets blend",
        model_names="all",
        to_the_end="",
        epochs=8,
        train_size=5_000,
        **_OVER,
    ),
    "gamma": made(Gamma, attack_names="badnets blend sig", method_names="abl", **_CASES),
    "isolation_rate": made(IsolationRate, attack_names="badnets blend sig", method_names="abl", **_CASES),
    "turning_epoch": made(TurningEpoch, attack_names="badnets blend sig", method_names="abl", **_CASES),
    "poison_rate": made(PoisonRate, attack_names="badnets blend", method_names="none abl exclude", **_CASES),
    "adaptive": made(Adaptive, attack_names="badnets blend", method_names="none abl exclude", **_CASES),
    "repairs": made(Repairs, attack_names="badnets blend", method_names="fine_pruning mcr nad", **_CASES),
    "recipes": made(Recipes, attack_names="badnets blend", method_names="abl", **_CASES),
    "cost": made(Comparison, attack_names="badnets", method_names="none abl exclude repairs", **_OVER),
    "your_data": YOUR_DATA,
    "sweep": made(SweepParameters, dataset="digits", file="smoke.yaml", workers=2),
}
"""Notebook -> model of its parameters."""


def model_of(notebook: str) -> type[Parameters]:
    """The parameter model of a notebook; raises UserError for an unknown one."""
    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    return NOTEBOOKS[notebook]


def defaults(notebook: str, preset: str = "quick") -> dict:
    """The parameters of a notebook under a preset."""
    return changed(notebook, preset, {})


def nearest(notebook: str, values: Mapping[str, object]) -> tuple[str, dict]:
    """The preset from which these parameters differ least, or their own, and those that differ.

    Args:
        values: name -> value; names that the notebook does not have are passed over.
    """

    def others(preset: str) -> dict:
        # Another data set is taken whole, where nothing else is said.
        own = changed(notebook, preset, {name: values[name] for name in ("dataset",) if name in values})
        own["dataset"] = defaults(notebook, preset)["dataset"]
        return {name: values[name] for name in own if name in values and values[name] != own[name]}

    given = values.get("preset")
    preset = str(given) if given in PRESETS else min(PRESETS, key=lambda name: len(others(name)))
    return preset, others(preset)


def changed(notebook: str, preset: str, given: dict) -> dict:
    """The parameters of a preset with those that a user gave; another data set than the preset's is taken whole.

    A comparison's preset is one of its parameters, and may be given as such in place of the other.
    """
    own = model_of(notebook).defaults()
    if "preset" in own and given.get("preset", preset) != preset:
        if preset != "quick":
            raise UserError(f"preset is given twice, {shown(preset)} and {shown(given['preset'])}; leave one out")
        preset = given["preset"]
    return filled(own, preset, given)
