"""Whether isolation works whatever the architecture, and whether the backdoor was there to be isolated."""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report.findings.words import (
    FAILS,
    GONE,
    HOLDS,
    IN_PART,
    PRESENT,
    RELIABLE,
    UNKNOWN,
    count,
    judged,
    limit,
    name_of,
    over,
    percent,
    too_few,
)

TITLES = {
    "resnet-18": "ResNet-18",
    "resnet-34": "ResNet-34",
    "preact-resnet-18": "PreActResNet-18",
    "vgg-16-bn": "VGG-16-BN",
    "mobilenet-v3-small": "MobileNetV3-small",
    "mobilenet-v3-large": "MobileNetV3-large",
}


def model_title(name: str) -> str:
    """What a model is called: `ResNet-18`, `WRN-16-1`."""
    return TITLES.get(name, name.upper())


def ends(epochs: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of each run of phase 1 of which it is known what would be isolated."""
    known = epochs.dropna(subset="isolation_precision")
    return known.sort_values("epoch", kind="stable").groupby(["model", "attack", "seed"], sort=False).tail(1)


def of_architectures(epochs: pd.DataFrame, whole: pd.DataFrame | None = None) -> str:
    """Whether what is isolated is reliably poisoned with every model, and what each leaves where it is trained whole.

    Args:
        epochs: columns `model`, `attack`, `seed`, `epoch` and those of `summary.FIRST_PHASE`.
        whole: trainings to the end: `model`, `attack`, `method`, `seed`, `attack_success_rate`, `clean_accuracy`.
    """
    last = ends(epochs)
    if last.empty:
        return f"{UNKNOWN} No run has an epoch of phase 1 with poison to isolate."
    good = last["isolation_precision"] >= RELIABLE
    learned = last["attack_success_rate"] >= PRESENT
    seeds = last["seed"].nunique()
    word = judged(HOLDS if good.all() else IN_PART if good.any() else FAILS, seeds)
    told = (
        f"{word} After phase 1 at least {limit(RELIABLE)} of the isolated images are poisoned in {good.sum()} of"
        f" {count(len(last), 'run')} ({count(last['model'].nunique(), 'model')},"
        f" {count(last['attack'].nunique(), 'attack')})."
    )
    if not good.all():
        told += f" Where they are not, the backdoor was learned in {(~good & learned).sum()} of {(~good).sum()}."
    lines = [f"- {_line(name, last[last['model'] == name])}" for name in dict.fromkeys(last["model"])]
    if whole is not None and len(whole):
        lines += [f"- {_outcome(*key, own)}" for key, own in whole.groupby(["model", "method"], sort=False)]
    return "\n".join([" ".join(filter(None, (told, too_few(seeds), over(seeds)))), "", *lines])


def _line(name: str, own: pd.DataFrame) -> str:
    """What one model isolates and has learned."""
    parts = []
    for attack, part in own.groupby("attack", sort=False):
        averaged = part["isolation_precision_averaged"]
        other = f", {percent(averaged.mean())} by averaged weights" if averaged.notna().any() else ""
        parts.append(
            f"{ATTACKS[attack].title} {percent(part['isolation_precision'].mean())} (lowest"
            f" {percent(part['isolation_precision'].min())}{other}; attack success"
            f" {percent(part['attack_success_rate'].mean())})"
        )
    return f"{model_title(name)}, mean precision: {'; '.join(parts)}."


def _outcome(name: str, method: str, own: pd.DataFrame) -> str:
    """What one method leaves with one model."""
    gone = own["attack_success_rate"] <= GONE
    return (
        f"{model_title(name)}, {name_of(method)}, trained to the end: at most {limit(GONE)} attack success on"
        f" {gone.sum()} of {count(len(own), 'run')}, mean {percent(own['attack_success_rate'].mean())}; clean accuracy"
        f" {percent(own['clean_accuracy'].mean())}."
    )
