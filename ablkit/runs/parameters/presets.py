"""The presets: `smoke` for tests, `quick` for a laptop, `paper`, and `released`, what the authors' code really does."""

from __future__ import annotations

from ablkit.errors import unknown
from ablkit.runs.parameters.notebooks import model_of
from ablkit.training.recipe import RECIPES

_DATA = {
    "smoke": {"dataset": "digits", "train_size": 600, "monitor_images": 0, "seeds": "0"},
    "quick": {},
    "paper": {"train_size": 0, "poison_rate": 0.1},
    "released": {
        "train_size": 0,
        "poison_rate": 0.1,
        "include_target": True,
        "released": True,
        "held_out": 0.0,
    },
}
PRESETS = tuple(_DATA)


def defaults(notebook: str, preset: str = "quick") -> dict:
    """The parameters of a notebook under a preset."""
    if preset not in _DATA:
        raise unknown("preset", preset, PRESETS)
    values = {**vars(RECIPES[preset]), **_DATA[preset]}
    fields = model_of(notebook).model_fields
    return {name: values.get(name, field.default) for name, field in fields.items()}


def changed(notebook: str, preset: str, given: dict) -> dict:
    """The parameters of a preset with those that a user gave; another data set than the preset's is taken whole."""
    values = defaults(notebook, preset)
    if "train_size" not in values:
        return values | given
    other = given.get("dataset", values["dataset"]) != values["dataset"]
    return values | ({"train_size": 0} if other else {}) | given
