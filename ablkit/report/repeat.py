"""The shortest command that makes a run again."""

from __future__ import annotations

import shlex

from ablkit.runs.parameters import PRESETS, defaults


def command(notebook: str, values: dict) -> str:
    """`ablkit run NOTEBOOK` with what differs from the preset that is nearest.

    Args:
        values: the parameters of the run; those that the notebook does not have are passed over.
    """

    def changed(preset: str) -> dict:
        own = defaults(notebook, preset)
        return {name: values[name] for name in own if name in values and values[name] != own[name]}

    preset = values.get("preset") or min(PRESETS, key=lambda name: len(changed(name)))
    options = [] if preset == "quick" else ["--preset", preset]
    for name, value in changed(preset).items():
        options += ["-p", name, str(value)]
    return shlex.join(["ablkit", "run", notebook, *options])
