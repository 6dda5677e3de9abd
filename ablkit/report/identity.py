"""Which runs are the same but for their seed and for what changes no result."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ablkit.runs.parameters import defaults

NO_RESULT = ("device", "precision", "threads", "monitor_images", "trajectories")
"""Parameters that change no result beyond how it rounds: where a run was made, and what was watched on the way."""


def identity(values: Mapping[str, object]) -> str:
    """The parameters of a run as text, whether they come from a notebook or from a table of runs."""
    return json.dumps([_plain(name, values[name]) for name in defaults("run") if name not in ("seed", *NO_RESULT)])


def _plain(name: str, value: object) -> str:
    """The same text for a number whatever type a table gave it, and for settings in whatever order."""
    if name in ("attack_settings", "method_settings"):
        return ", ".join(sorted(str(value).split(", ")))
    try:
        return f"{float(str(value)):.12g}"
    except ValueError:
        return str(value)
