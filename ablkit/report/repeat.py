"""The shortest command that makes a run again."""

from __future__ import annotations

import shlex

from ablkit.runs.parameters import nearest


def command(notebook: str, values: dict) -> str:
    """`ablkit run NOTEBOOK` with what differs from the preset that is nearest.

    Args:
        values: the parameters of the run; those that the notebook does not have are passed over.
    """
    preset, changed = nearest(notebook, values)
    options = [] if preset == "quick" else ["--preset", preset]
    for name, value in changed.items():
        options += ["-p", name, str(value)]
    return shlex.join(["ablkit", "run", notebook, *options])
