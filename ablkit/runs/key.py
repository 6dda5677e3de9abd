"""The key of a run: a digest of its parameters, code, data and kind of hardware."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ablkit import data, provenance
from ablkit.paths import runs_root
from ablkit.runs.notebooks import Source
from ablkit.runs.parameters import Parameters
from ablkit.training import hardware


def facts_of(notebook: str, parameters: Parameters, source: Source | None) -> dict:
    """All that decides a run: parameters, code, data, device and precision; params.json holds them.

    Args:
        source: the notebook; None where its code is not known, as in JupyterLab.
    """
    place = hardware.choose(parameters.device, parameters.precision)
    return {
        "notebook": notebook,
        "parameters": parameters.model_dump(),
        "code": source.digest if source else "unknown",
        "data": data.digest(parameters.dataset),
        "package": provenance.digest(*modules_of(parameters, source)),
        "place": [place.device.type, place.precision],
        **parameters.outside(),
    }


def folder_of(facts: dict) -> Path:
    """The folder of a run, which its key names."""
    return runs_root() / facts["notebook"] / key_of(facts)


def key_of(facts: dict) -> str:
    """The key of a run, a digest of `facts_of` it."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def modules_of(parameters: Parameters, source: Source | None) -> tuple[str, ...]:
    """The modules whose code, with all that they import, decides a run: imported by its notebook, or named by a
    parameter.

    Where the notebook is not known, that may be any.
    """
    return (*(source.modules if source else provenance.every_module()), *parameters.modules())
