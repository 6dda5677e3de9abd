"""The defences by name: repairs with clean data, and ways to use the examples that ABL has isolated."""

from __future__ import annotations

from ablkit.defenses import fine_pruning, mode_connectivity, nad, unlearning
from ablkit.defenses.defense import Defense, Evaluation, Given, Repaired

__all__ = ["DEFENSES", "Defense", "Evaluation", "Given", "Repaired"]

DEFENSES: dict[str, Defense] = {
    "fine_pruning": fine_pruning.DEFENSE,
    "mcr": mode_connectivity.DEFENSE,
    "nad": nad.DEFENSE,
    **unlearning.WAYS,
}
"""Every defence that the kit has beside ABL itself."""
