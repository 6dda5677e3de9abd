"""The parameters of each notebook: names, types, defaults and presets, checked before anything runs."""

from ablkit.parameters.checks import check, judge, mistakes
from ablkit.parameters.models import NOTEBOOKS, ManyAttacks, ManyMethods, OneRun, Parameters, PoisonedSet, model_of
from ablkit.parameters.namespace import given
from ablkit.parameters.presets import PRESETS, changed, defaults

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
