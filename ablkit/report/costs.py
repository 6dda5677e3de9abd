"""What runs cost, from the times that they recorded, and what others would."""

from __future__ import annotations

import pandas as pd

from ablkit.report.collect import Collection, Scale
from ablkit.runs.parameters import OneRun, defaults

_TRAINING_IMAGES = 50_000
"""Of CIFAR-10, the set of the presets."""
NEVER_COMMITTED = "471ff5ff6d"
"""The commit of the replaced runs that never were among the committed ones: their seconds are those of the process."""


def minutes(runs: pd.DataFrame) -> pd.Series:
    """Minutes of each run: on a CPU of its training and of making its attack, on a GPU of its whole process."""
    none = pd.Series(float("nan"), runs.index)
    trained = runs.get("seconds", none).astype(float) + runs.get("poisoning_seconds", none).astype(float).fillna(0)
    on_gpu = runs.get("env_device", none) == "cuda"
    return trained.where(~on_gpu, runs.get("env_wall_seconds", none).astype(float).fillna(trained)) / 60


def training_minutes(runs: pd.DataFrame) -> pd.Series:
    """Minutes of training of each run, on any hardware: methods are held beside each other by them, as what making the
    poison takes depends on the attack alone, and not every method has been run on every attack."""
    return runs.get("seconds", pd.Series(float("nan"), runs.index)).astype(float) / 60


def with_own_training(replaced: pd.DataFrame, committed: pd.DataFrame) -> pd.DataFrame:
    """The replaced runs whose training no committed run has, each training once.

    A run that is judged anew starts from the training that is kept, and records the same seconds to the microsecond.
    Those of processes, in tenths, may be the same by chance.
    """
    trained = replaced["seconds"].round(6)
    standing = committed.get("seconds", pd.Series(dtype=float)).astype(float).round(6)
    shared = trained.isin(standing) | trained.duplicated()
    return replaced[~shared | (replaced["commit"] == NEVER_COMMITTED)]


def gpu_minutes(collection: Collection) -> str:
    """What an ABL run at the paper's scale took on a GPU, in a sentence; empty without any."""
    for scale in collection.full:
        known = minutes(scale.of("abl")).dropna()
        if len(known) and not scale.place.startswith("CPU"):
            others = at_once(scale.runs) - 1
            beside = f", with {others} others at the same time" if others else ""
            return f"On a GPU the whole process of such a run took {known.median():.1f} minutes{beside}."
    return ""


def at_once(runs: pd.DataFrame) -> int:
    """The most runs that were made at the same time, by when they started and how long they took."""
    starts = pd.to_datetime(runs["env_started"], errors="coerce", utc=True)
    ends = starts + pd.to_timedelta(runs.get("env_wall_seconds", pd.Series(dtype=float)), unit="s")
    return max(int(((starts <= start) & (ends > start)).sum()) for start in starts) if len(runs) else 0


def epochs_of(run: OneRun) -> int:
    """Epochs of a run on about all training images; one of a defence counts as long as what it starts from.

    A lower bound for `exclude`, which trains twice where it does not leave out all suspects at once.
    """
    return (1 + (run.method == "exclude")) * run.isolation_epochs + run.finetune_epochs


def images_of(preset: str) -> int:
    """Images that an ABL run of a preset trains on, all epochs added up."""
    own = defaults("run", preset)
    images = round((own["train_size"] or _TRAINING_IMAGES) * (1 - own["held_out"] * (not own["train_size"])))
    isolated = own["isolation_rate"]
    epochs = own["isolation_epochs"] + (1 - isolated) * own["finetune_epochs"] + isolated * own["unlearn_epochs"]
    return round(images * epochs)


def images_per_second(scale: Scale) -> float | None:
    """The median over the runs of a scale, each on one core or one of several on a GPU; None where none has it."""
    known = scale.runs.get("images_per_second", pd.Series(dtype=float)).dropna()
    return float(known.median()) if len(known) else None


def cpu_hours(collection: Collection) -> float | None:
    """Hours of training of an ABL run at the paper's scale on one core, by the speed of quick runs, or None."""
    known = [
        s for s in collection.scales if s.place.startswith("CPU") and s.dataset == "cifar10" and s.preset == "quick"
    ]
    rates = [images_per_second(scale) for scale in known]
    rates = [rate for rate in rates if rate]
    return images_of("paper") / rates[0] / 3600 if rates else None
