"""The defences by name: repairs of a backdoored model."""

from ablkit.defenses import fine_pruning, mode_connectivity, nad
from ablkit.defenses.defense import Defense, Given, Repaired

DEFENSES: dict[str, Defense] = {
    "fine_pruning": fine_pruning.DEFENSE,
    "mcr": mode_connectivity.DEFENSE,
    "nad": nad.DEFENSE,
}
"""Every defence that the kit has beside ABL itself."""

__all__ = ["DEFENSES", "Defense", "Given", "Repaired"]
