"""Training without the suspects beside its controls: the second half of the page on clean models."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ablkit.metrics.statistics import ENOUGH
from ablkit.report.figures import TITLES
from ablkit.report.findings.beside import MEASURED, NEAR, complete, paired
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Cell, Heading, Table, Text, listed
from ablkit.report.text import MISSING, percent
from ablkit.report.verdicts import INTERVAL, over_seeds

_OTHERS = {
    "abl": "ABL",
    "retrain": "without the images that ABL isolates",
    "random": "without as many drawn by chance",
    "oracle": "trained on clean data",
}
_CONTROLS = (
    "Isolated: the images that ABL isolates. By chance: as many images of the same classes as are suspected, drawn."
)


def blocks(own: pd.DataFrame) -> list[Block]:
    """What leaving other images out does, the distance from the ceiling by attack, and all differences over seeds.

    Args:
        own: what `findings.beside.beside` gives.
    """
    rows = []
    for name, part in own.groupby("attack", sort=False):
        cells = [over_seeds(part[f"attack_success_rate{suffix}"]) for suffix in ("", "_retrain", "_random", "_oracle")]
        for metric in NEAR:
            for method in ("", "abl"):
                lost = part[f"{metric}_oracle"] - part[f"{metric}_{method}" if method else metric]
                cells.append(over_seeds(lost))
        cells += [over_seeds(part.get(f"exclusion_{what}", [])) for what in ("precision", "recall")]
        cells.append(_classes(part))
        rows.append((TITLES[name], *cells))
    columns = ("attack", "suspects", "isolated", "by chance", "clean data", *("suspects", "ABL") * 2)
    columns += ("precision, %", "recall, %", "classes")
    groups = (("", 1), ("attack success, %: excluded are", 4), ("clean accuracy lost", 2), ("target class lost", 2))
    groups += (("suspects", 3),)
    note = (
        f"{_CONTROLS} Clean data: how often a model trained on clean data takes the same images for the target. Lost:"
        " points below a model trained on clean data of the same seed, mean over the seeds that have both."
        " Precision: share of the suspects that are poisoned. Recall: share of the poisoned images among them."
        " Classes: how many are suspected, lowest and highest seed; each attack has one target."
    )
    by_seed = [_difference(own, name, fewest) for name in _OTHERS for fewest in _numbers_of_seeds(own, name)]
    columns_by_seed = ("held against", "attacks", "seeds", "attack success", "clean accuracy", "target class")
    groups_by_seed = (("", 3), ("excluded minus the other, points", 3))
    differ = (
        "Below 0: the model without the suspects has less. A seed is the mean over the same attacks as another, so that"
        " the most attacks and seeds are taken of which every pair was run, and of as many the most seeds. The attack"
        f" success of training on clean data is known where the column above has it. {INTERVAL}"
    )
    return [
        Heading("Controls, paired by seed"),
        Text(_beside_how_many(own)),
        Table(columns, rows, groups, note),
        Table(columns_by_seed, by_seed, groups_by_seed, differ),
    ]


def _classes(part: pd.DataFrame) -> str:
    """How many classes the runs suspect."""
    known = part.get("method_suspected_classes", pd.Series(dtype=float)).dropna()
    return " to ".join(dict.fromkeys(f"{ends:.0f}" for ends in (known.min(), known.max()))) if len(known) else MISSING


def _beside_how_many(own: pd.DataFrame) -> str:
    """How many of the runs have each control beside them, so that none is taken for run that was not."""
    with_it = [
        f"{what} {int(own[f'{metric}_{name}'].notna().sum())}"
        for what, metric, name in (
            ("ABL", "attack_success_rate", "abl"),
            ("without the isolated", "attack_success_rate", "retrain"),
            ("by chance", "attack_success_rate", "random"),
            ("the accuracy of clean data", "clean_accuracy", "oracle"),
            ("its attack success", "attack_success_rate", "oracle"),
        )
    ]
    target = own["target_class_accuracy_oracle"]
    spread = f", with {percent(target.min())} to {percent(target.max())} in the target class" if target.any() else ""
    return (
        f"Of {count(len(own), 'run')} so many have each control beside them: {listed(with_it)}. Models trained on clean"
        f" data are one a seed, the same for all attacks{spread}: a seed whose clean model is a good one is hard to"
        " match."
    )


def _numbers_of_seeds(own: pd.DataFrame, name: str) -> tuple[int, ...]:
    """How many seeds a row takes at least: a second one has enough for an interval, if but few attacks have them."""
    usual, several = (complete(own, f"clean_accuracy_{name}", fewest) for fewest in (1, ENOUGH))
    return (1, ENOUGH) if usual["seed"].nunique() < ENOUGH <= several["seed"].nunique() else (1,)


def _difference(own: pd.DataFrame, name: str, fewest: int = 1) -> tuple[str | Cell, ...]:
    """How far the model without the suspects lies above another, in the mean over at least so many seeds."""
    both = complete(own, f"clean_accuracy_{name}", fewest)
    whole = own[own[f"clean_accuracy_{name}"].notna()]
    counts = [(both[what].nunique(), whole[what].nunique()) for what in ("attack", "seed")]
    number = [f"{some} of {every}" if every else "0" for some, every in counts]
    cells = [over_seeds(paired(own, metric, name, fewest)) for metric in MEASURED]
    fewer = complete(own, f"{MEASURED[0]}_{name}", fewest)
    if len(fewer) < len(both) and len(fewer):
        on = f"{count(fewer['attack'].nunique(), 'attack')}, {count(fewer['seed'].nunique(), 'seed')}"
        cells[0] = replace(cells[0], small=f"{cells[0].small}; {on}".removeprefix("; "))
    alone = f", {listed([TITLES[attack] for attack in both['attack'].unique()])} alone" * (fewest > 1)
    return (f"{_OTHERS[name]}{alone}", *number, *cells)
