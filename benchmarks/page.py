"""The benchmark of training as a page: what it prints, how that scales, how near it is to the limits, a profile."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ablkit.files import write_json, write_text
from ablkit.report import figures, shell
from ablkit.runs import environment
from ablkit.training import hardware
from benchmarks import limits, profiling, scaling, training
from benchmarks.measuring import cifar_images

_PROFILED = 640


def write(to: Path, device: str = "auto", precision: str = "auto") -> Path:
    """Measure everything and write `index.html`, `bench.json`, `profile.txt` and two figures into a folder.

    Returns the page's path. It takes some minutes, in which nothing else should run.
    """
    to.mkdir(parents=True, exist_ok=True)
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
    for name, figure in (("phases", _phases(phases)), ("growth", _growth(growth))):
        figure.savefig(to / f"{name}.svg")
        plt.close(figure)
    page = shell.render(
        "bench.html.j2",
        phases=phases,
        growth=growth,
        limits=reached,
        peak=f"{peak / 2**20:.0f} MiB",
        profile=profile,
        hardware=environment.hardware_line(facts),
        recipe=f"{recipe.model}, batch {recipe.batch_size}",
        rounds=training.ROUNDS,
        environment=facts,
    )
    write_text(to / "index.html", page)
    return to / "index.html"


def _phases(phases: dict[str, dict[str, float]]) -> Figure:
    rows = [
        {"phase": name.replace("_", " "), "pipeline": pipeline, "images/s": line[key]}
        for name, line in phases.items()
        for pipeline, key in (("this kit", "images_per_second"), ("conventional", "conventional"))
    ]
    figure, axes = plt.subplots(figsize=(7.2, 2.8))
    colours = [figures.SERIES["clean_accuracy"][1], "#8c8c8c"]
    sns.barplot(pd.DataFrame(rows), x="phase", y="images/s", hue="pipeline", palette=colours, ax=axes)
    for place, line in enumerate(phases.values()):
        axes.annotate(f"{line['ratio']:.1f} x", (place, line["images_per_second"]), ha="right", va="bottom")
    axes.set(xlabel="", ylabel="images per second")
    axes.legend(title="")
    return figure


def _growth(growth: dict[str, dict[int, float]]) -> Figure:
    titles = {"images": "training images", "batch": "batch size", "width": "width of the network"}
    titles |= {"runs": "runs, a process each (sum)"}
    figure, axes = plt.subplots(1, len(growth), figsize=(2.5 * len(growth), 2.6))
    for place, (name, rates) in zip(axes, growth.items(), strict=True):
        place.plot(range(len(rates)), list(rates.values()), marker="o", color=figures.SERIES["clean_accuracy"][1])
        place.set_xticks(range(len(rates)), [f"{x:,}" for x in rates], fontsize=8)
        place.set(xlabel=titles[name], ylim=(0, 1.15 * max(rates.values())))
    axes[0].set_ylabel("images per second")
    return figure
