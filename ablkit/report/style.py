"""What series look like, in one place: a colour, and beside it a line, a marker or a hatch that needs no colour.

Any two colours of one figure differ by at least 20 in CIEDE2000, also as people with protanopia or deuteranopia see
them; `tests/test_colours.py` computes it.
"""

from __future__ import annotations

COLOURS = {
    "clean_accuracy": "#1b6ca8",
    "target_class_accuracy": "#44aa99",
    "attack_success_rate": "#d55e00",
    "isolation_precision": "#222222",
    "clean_loss": "#1b6ca8",
    "poisoned_loss": "#d55e00",
    "attack": "#d55e00",
    "idea_off": "#8c8c8c",
    "loss": "#d55e00",
    "averaged": "#1b6ca8",
    "none": "#8c8c8c",
    "abl": "#d55e00",
    "exclude": "#1b6ca8",
    "fine_pruning": "#8c8c8c",
    "mcr": "#d55e00",
    "nad": "#1b6ca8",
}
"""Quantity, kind of run or isolation score -> its colour, the same in every figure.

Clean is blue, poisoned and attack vermilion.
"""
DASHES = {
    "clean_accuracy": "-",
    "target_class_accuracy": (0, (5, 1.5)),
    "attack_success_rate": (0, (1, 1)),
    "isolation_precision": (0, (4, 1.5, 1, 1.5)),
    "clean_loss": "-",
    "poisoned_loss": (0, (1, 1)),
    "loss": (0, (1, 1)),
    "averaged": "-",
    "none": (0, (1, 1)),
    "abl": (0, (5, 1.5)),
    "exclude": "-",
    "fine_pruning": (0, (1, 1)),
    "mcr": (0, (5, 1.5)),
    "nad": "-",
}
"""Quantity, isolation score or kind of run -> its line, as matplotlib takes it."""
MARKERS = {
    "clean_accuracy": "o",
    "target_class_accuracy": "s",
    "attack_success_rate": "^",
    "isolation_precision": "D",
    "clean_loss": "o",
    "poisoned_loss": "^",
    "attack": "^",
    "idea_off": "o",
    "loss": "^",
    "averaged": "o",
    "none": "o",
    "abl": "^",
    "exclude": "D",
    "fine_pruning": "o",
    "mcr": "^",
    "nad": "D",
}
"""Quantity, kind of run or isolation score -> its marker."""
HATCHES = {"clean_accuracy": "", "target_class_accuracy": "\\\\\\\\", "attack_success_rate": "////"}
HATCHES |= {"attack": "////", "idea_off": ""}
"""Quantity, or kind of run -> the hatch of its bars."""
TINT = 0.6
"""Opacity of bars, under the dots of the seeds."""
FRAME = COLOURS["poisoned_loss"]
"""The frame around a poisoned image."""
