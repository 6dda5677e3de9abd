"""Names for losses of phase 1, so that a list of them is one parameter: `plain`, `lga-0.5`, `lga-0.5-per-sample`."""

from __future__ import annotations

import re

from ablkit.errors import UserError, shown
from ablkit.training.recipe import RECIPES

SETTINGS = ("isolation_loss", "gamma", "per_sample")
"""The parameters of run.ipynb that a name stands for."""
_LGA = re.compile(r"lga-(\d+|\d*\.\d+)(-per-sample)?")


def settings_of(name: str) -> dict:
    """The parameters that a name stands for; raises UserError for a text that is none."""
    if name == "plain":
        return {"isolation_loss": "plain", "gamma": RECIPES["quick"].gamma, "per_sample": False}
    found = _LGA.fullmatch(name) if len(name) < 40 and name.isascii() else None
    if found is None:
        raise UserError(
            f"losses names {shown(name)}; use plain, or LGA with its gamma as lga-0.5 or lga-0.5-per-sample"
        )
    return {"isolation_loss": "lga", "gamma": float(found[1]), "per_sample": found[2] is not None}


def name_of(isolation_loss: str, gamma: float, per_sample: bool) -> str | None:
    """The name of these parameters, None for a loss that has none."""
    if isolation_loss == "plain":
        return "plain"
    return f"lga-{gamma:g}{'-per-sample' * bool(per_sample)}" if isolation_loss == "lga" else None
