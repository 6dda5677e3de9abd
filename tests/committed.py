"""A few of the committed runs, of which pages are made in a moment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

DATA = Path(__file__).parents[1] / "reports" / "data"
RUN = "ddbcd978d0f5"
"""A committed run at the paper's scale."""
_USUAL = {"poison_rate": 0.1, "gamma": 0.5, "isolation_rate": 0.01, "isolation_epochs": 6}
"""Of a run of the quick preset, in place of those that vary one of these."""


def copy(to: Path) -> Path:
    """Copy a few committed runs, and the tables beside them, into a new folder."""
    for folder in sorted(path.parent for path in DATA.glob("*/metrics.json")):
        parameters = json.loads((folder / "params.json").read_text())["parameters"]
        own = [parameters[name] for name in ("attack", "attack_settings", "seed", "dataset")]
        is_whole = parameters["method"] in ("none", "abl", "oracle") and parameters["finetune_epochs"]
        is_usual = all(parameters.get(name, value) == value for name, value in _USUAL.items())
        if own == ["badnets", "", 0, "cifar10"] and is_whole and is_usual:
            shutil.copytree(folder, to / folder.name)
    shutil.copytree(DATA / RUN, to / RUN, dirs_exist_ok=True)
    for table in ("bench.json", "gpu-speed.csv", "gpu-unfinished.csv", "suspects.csv", "discarded.csv"):
        shutil.copy(DATA / table, to)
    return to
