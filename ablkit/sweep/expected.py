"""How long a run is expected to take on this machine, by the finished runs that are like it."""

from __future__ import annotations

import statistics
from collections import defaultdict

from ablkit.runs import durations, environment, records
from ablkit.runs.job import Job

_SIZES = ("dataset", "train_size", "held_out", "monitor_images", "threads", "method", "method_settings", "schedule")
_SIZES += ("model", "batch_size", "isolation_epochs", "finetune_epochs", "unlearn_epochs")
_SIZES += ("method_names", "seeds", "file")
"""The parameters that decide how long a run takes, whatever the attack."""
_ATTACK = ("attack", "attack_settings", "attack_names")


class Expected:
    """Seconds that runs are expected to take, from start to end; it learns from each that ends."""

    def __init__(self, jobs: list[Job]) -> None:
        self._before = _finished({job.notebook for job in jobs})
        self._here: dict[tuple, list[float]] = defaultdict(list)
        self._kinds = {job: (_kind(job, _SIZES + _ATTACK), _kind(job, _SIZES)) for job in jobs}
        self._medians: dict[tuple, float] = {}

    def seconds(self, job: Job) -> float | None:
        """The median of the finished runs that differ by their seed alone, or else by attack and seed; None without.

        Those of this very sweep come first: they had as many others beside them.
        """
        for kind in self._kinds[job]:
            known = self._here if kind in self._here else self._before
            if kind in known:
                if kind not in self._medians:
                    self._medians[kind] = statistics.median(known[kind])
                return self._medians[kind]
        return None

    def kind(self, job: Job) -> tuple:
        """What a job has in common with all those whose time is a measure for its own."""
        return self._kinds[job][-1]

    def learn(self, job: Job, seconds: float) -> None:
        """A job of this sweep has ended."""
        for kind in self._kinds[job]:
            self._here[kind].append(seconds)
        self._medians.clear()


def _finished(notebooks: set[str]) -> dict[tuple, list[float]]:
    """Kind -> seconds of the finished runs of these notebooks that happened on hardware like this machine's."""
    found: dict[tuple, list[float]] = defaultdict(list)
    for notebook in sorted(notebooks):
        for folder in records.folders(notebook, "metrics.json"):
            try:
                facts, values = records.environment(folder), records.parameters(folder)
            except records.Damaged:
                continue  # its own run will mend it
            if seconds := facts.get(durations.NOTED):
                name = facts["gpu" if facts.get("device") == "cuda" else "processor"]
                place = facts.get("device"), facts.get("precision"), name
                for names in (_SIZES, _SIZES + _ATTACK):
                    found[notebook, place, _values(values, names)].append(seconds)
    return found


def _kind(job: Job, names: tuple[str, ...]) -> tuple:
    device, precision = job.facts["place"]
    return job.notebook, (device, precision, environment.name_of(device)), _values(job.facts["parameters"], names)


def _values(values: dict, names: tuple[str, ...]) -> tuple:
    return tuple(values.get(name) for name in names)
