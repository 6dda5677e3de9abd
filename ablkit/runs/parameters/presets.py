"""The presets: `smoke` for tests, `quick` for a laptop, `paper`, and `released`, what the authors' code really does.

Beside them ABL as other kits run it: the recipes of `training.peers` on the data of `paper`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ablkit.errors import unknown
from ablkit.training.peers import PEERS
from ablkit.training.recipe import RECIPES

_WHOLE = {"train_size": 0, "poison_rate": 0.1, "monitor_images": 2_000}
"""The data set as a whole, and the same share of it poisoned by every attack."""
_DATA = {
    "smoke": {
        "dataset": "digits",
        "train_size": 600,
        "monitor_images": 100,
        "seeds": "0",
        "epochs": 3,
        "least_steps": 0,
    },
    "quick": {},
    "paper": {**_WHOLE, "epochs": 20},
    "released": {**_WHOLE, "epochs": 10, "include_target": True, "released": True, "held_out": 0.0},
    **{name: {**_WHOLE, "epochs": own["isolation_epochs"]} for name, own in PEERS.items()},
}
PRESETS = tuple(_DATA)


def filled(own: Mapping[str, object], preset: object, given: dict) -> dict:
    """Parameters under a preset, with those that a user gave; another data set than the preset's is taken whole.

    Args:
        own: name -> default of the parameters, for those that the preset says nothing of.
    """
    if not isinstance(preset, str) or preset not in _DATA:
        raise unknown("preset", preset, PRESETS)
    of_preset = {**vars(RECIPES[preset]), **_DATA[preset], "preset": preset}
    values = {name: of_preset.get(name, default) for name, default in own.items()}
    if "train_size" in own and given.get("dataset", values["dataset"]) != values["dataset"]:
        values["train_size"] = 0
    return values | given
