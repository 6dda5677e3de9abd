"""What each stage of each method takes: a figure and a table for the notebook about cost and its page."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ablkit.defenses import METHODS
from ablkit.metrics import statistics
from ablkit.report.style import COLOURS

STAGES = {
    "isolate": "phase 1",
    "finetune": "fine-tuning",
    "unlearn": "unlearning",
    "retrain": "training without what was left out",
    "again": "the same once more, after the second look",
    "repaired": "the result, measured",
}
"""Stage -> its name; others are called as they are in the history."""


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each method and stage: epochs, seconds of training, of measuring, the mean over the runs that have it;
    its share of the seconds of all runs of the method, those without it too, and the memory of that run of them which
    took most.

    Args:
        frame: see `comparisons.costs`.
    """
    rows = []
    whole = total(frame)
    for method, own in frame[frame["method"].isin(list(whole))].groupby("method", sort=False):
        for stage, part in own.groupby("stage", sort=False):
            seconds = part["seconds"].mean()
            rows.append(
                {
                    "method": METHODS[method],
                    "stage": STAGES.get(stage, stage),
                    "epochs": f"{part['epochs'].mean():.0f}",
                    "seconds": f"{seconds:.1f}",
                    "of the method": f"{part['seconds'].sum() / whole[method].sum():.0%}",
                    "measuring, s": f"{part['measuring'].mean():.1f}",
                    "memory, MiB, highest run": f"{own['mib'].max():.0f}" if own["mib"].notna().any() else "",
                    "runs": len(part),
                }
            )
    return pd.DataFrame(rows)


def total(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Method -> the seconds of training of each of its runs that recorded them, by attack and seed."""
    sums = frame.astype({"seconds": float}).groupby(["method", "attack", "seed"], sort=False)["seconds"].sum()
    known = sums[sums > 0]
    return {method: known[method] for method in dict.fromkeys(known.index.get_level_values("method"))}


def ratios(frame: pd.DataFrame) -> dict[str, statistics.Summary]:
    """Method -> its seconds by those of no defence on the same attack and seed; without those that have no pair."""
    found, whole = {}, total(frame)
    for method, own in whole.items():
        pairs = (own / whole["none"]).dropna() if "none" in whole and method != "none" else pd.Series(dtype=float)
        if len(pairs):
            found[method] = statistics.summary(pairs)
    return found


def said(frame: pd.DataFrame) -> str:
    """What each method takes beside undefended training, the cheapest first."""
    found = ratios(frame)
    if not found:
        return "Not known yet: no method was run beside the undefended training of its attack and seed."
    parts = [
        f"{METHODS[name]} {own.mean:.2f} times (n = {own.n})"
        for name, own in sorted(found.items(), key=lambda item: item[1].mean)
    ]
    return f"Of the seconds of an undefended training on the same attack and seed: {', '.join(parts)}."


def drawn(frame: pd.DataFrame) -> Figure:
    """A line a method, the dearest at the top: seconds of training, a marker a run."""
    whole = total(frame)
    order = sorted(whole, key=lambda name: whole[name].mean())
    figure, place = plt.subplots(figsize=(6.4, 0.9 + 0.28 * len(order)))
    for line, name in enumerate(order):
        place.barh(line, whole[name].mean(), color="#c9ced6", height=0.5)
        place.scatter(whole[name], [line] * len(whole[name]), s=16, color=COLOURS["clean_accuracy"], zorder=3)
    place.set_yticks(range(len(order)), [METHODS[name] for name in order])
    place.set_xlim(left=0)
    place.set_xlabel("seconds of training, without measuring; bar: mean, a dot a run", fontsize=8)
    place.grid(axis="y", visible=False)
    return figure
