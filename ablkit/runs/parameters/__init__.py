"""The parameters of each notebook: names, types, defaults and presets, checked before anything runs."""

from ablkit.runs.parameters.checks import check, judge, mistakes
from ablkit.runs.parameters.namespace import given
from ablkit.runs.parameters.notebooks import (
    NOTEBOOKS,
    ManyAttacks,
    ManyMethods,
    OneRun,
    Parameters,
    PoisonedSet,
    model_of,
)
from ablkit.runs.parameters.presets import PRESETS, changed, defaults

__all__ = [
    "NOTEBOOKS",
    "PRESETS",
    "ManyAttacks",
    "ManyMethods",
    "OneRun",
    "Parameters",
    "PoisonedSet",
    "changed",
    "check",
    "defaults",
    "given",
    "judge",
    "mistakes",
    "model_of",
]
