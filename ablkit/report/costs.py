"""What runs cost, from the times that they recorded, and what others would."""

from __future__ import annotations

import pandas as pd

from ablkit.report.collect import Collection, Scale
from ablkit.runs.parameters import defaults

_TRAINING_IMAGES = 50_000
"""Of CIFAR-10, the set of the presets."""


def minutes(runs: pd.DataFrame) -> pd.Series:
    """Minutes of each run: of its process where that was recorded, else of its training and of making its attack."""
    none = pd.Series(float("nan"), runs.index)
    trained = runs.get("seconds", none).astype(float) + runs.get("poisoning_seconds", none).astype(float).fillna(0)
    return runs.get("env_wall_seconds", none).astype(float).fillna(trained) / 60


def images_of(preset: str, method: str = "abl") -> int:
    """Images that a run of a preset trains on, all epochs added up."""
    own = defaults("run", preset)
    images = round((own["train_size"] or _TRAINING_IMAGES) * (1 - own["held_out"] * (not own["train_size"])))
    epochs = own["isolation_epochs"] + own["finetune_epochs"]
    return round(images * (epochs + (own["isolation_rate"] * own["unlearn_epochs"] if method == "abl" else 0)))


def images_per_second(scale: Scale) -> float | None:
    """The median over the runs of a scale, each on one core or one of several on a GPU; None where none has it."""
    known = scale.runs.get("images_per_second", pd.Series(dtype=float)).dropna()
    return float(known.median()) if len(known) else None


def cpu_hours(collection: Collection, preset: str = "paper") -> float | None:
    """Hours that an ABL run of a preset would take on one core, at the speed of the CPU runs; None without any."""
    rates = [images_per_second(scale) for scale in collection.scales if scale.place.startswith("CPU")]
    rates = [rate for rate in rates if rate]
    return images_of(preset) / rates[0] / 3600 if rates else None
