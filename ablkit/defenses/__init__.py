"""The defences by name: what is done with a model that has learned a backdoor."""

from __future__ import annotations

from ablkit.defenses import unlearning
from ablkit.defenses.defense import Defense, Evaluation, Given, Repaired

__all__ = ["DEFENSES", "Defense", "Evaluation", "Given", "Repaired"]

DEFENSES: dict[str, Defense] = {**unlearning.WAYS}
"""Every defence that the kit has beside ABL itself."""
