"""The parameters of each notebook: names, types, defaults and presets, checked before anything runs."""

from ablkit.runs.parameters.cases import USUAL, Cases
from ablkit.runs.parameters.checks import check, judge
from ablkit.runs.parameters.comparisons import Comparison
from ablkit.runs.parameters.namespace import given
from ablkit.runs.parameters.notebooks import NOTEBOOKS, changed, defaults, model_of, nearest
from ablkit.runs.parameters.one_run import OneRun, Parameters
from ablkit.runs.parameters.presets import PRESETS
from ablkit.runs.parameters.your_data import YourData

__all__ = [
    "NOTEBOOKS",
    "PRESETS",
    "USUAL",
    "Cases",
    "Comparison",
    "OneRun",
    "Parameters",
    "YourData",
    "changed",
    "check",
    "defaults",
    "given",
    "judge",
    "model_of",
    "nearest",
]
