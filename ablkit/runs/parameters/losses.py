"""Names for losses of phase 1, so that a list of them is one parameter: `plain`, `lga-0.5`, `lga-0.5-per-sample`."""

from __future__ import annotations

import re

from ablkit.errors import UserError, shown
from ablkit.training.recipe import RECIPES

SETTINGS = ("isolation_loss", "gamma", "per_sample")
"""The parameters of run.ipynb that a name stands for."""
_NAME = re.compile(r"(lga|flooding)-(\d+|\d*\.\d+)(-per-sample)?")


def settings_of(name: str) -> dict:
    """The parameters that a name stands for; raises UserError for a text that is none."""
    if name == "plain":
        return {"isolation_loss": "plain", "gamma": RECIPES["quick"].gamma, "per_sample": False}
    found = _NAME.fullmatch(name) if len(name) < 40 and name.isascii() else None
    if found is None:
        raise UserError(
            f"losses names {shown(name)}; use plain, or LGA or flooding with a gamma, as lga-0.5, flooding-0.5 or"
            " lga-0.5-per-sample"
        )
    return {"isolation_loss": found[1], "gamma": float(found[2]), "per_sample": found[3] is not None}


def name_of(isolation_loss: str, gamma: float, per_sample: bool) -> str:
    """The name of these parameters."""
    return "plain" if isolation_loss == "plain" else f"{isolation_loss}-{gamma:g}{'-per-sample' * bool(per_sample)}"
