"""All that the page of speed shows: each phase, how that scales, how near it is to the limits, and a profile."""

from __future__ import annotations

from pathlib import Path

from ablkit.files import write_json, write_text
from ablkit.runs import environment
from ablkit.training import hardware
from benchmarks import limits, profiling, scaling, training
from benchmarks.measuring import cifar_images

_PROFILED = 640


def write(to: Path, device: str = "auto", precision: str = "auto") -> Path:
    """Measure everything and write `bench.json` and `profile.txt` into a folder; return the first one's path.

    It takes some minutes, in which nothing else should run. `ablkit report --from` makes the page of it.
    """
    place, recipe = hardware.choose(device, precision), training.RECIPE
    phases = training.bench(device, precision)
    growth = scaling.growth(device, precision, recipe)
    reached = limits.shares(place, recipe, phases["phase1"]["images_per_second"])
    profile = profiling.table(place, training.phase1(place, recipe), *cifar_images(_PROFILED))
    facts = environment.describe(device, precision)
    peak = environment.peak_memory_bytes(place.device.type)
    numbers = {**phases, "growth": growth, "limits": reached, "peak_memory_bytes": peak, "environment": facts}
    write_json(to / "bench.json", {**numbers, "rounds": training.ROUNDS})
    write_text(to / "profile.txt", profile + "\n")
    return to / "bench.json"
