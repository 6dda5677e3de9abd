"""The paper's published numbers, each with how sure we are of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pandas as pd

_SAME = ("pixel_noise", "gradient_noise", "label_shuffling", "label_uniform", "label_smoothing", "self_learning")
_WAYS = {
    **{name: name for name in _SAME},
    "finetune_all": "finetune_all_layers",
    "finetune_last": "finetune_last_layers",
    "pretrained": "finetune_imagenet_model",
    "retrain": "retrain_from_scratch",
    "gradient_ascent": "abl",
}
"""Method -> its name in the table of ways to unlearn."""


@dataclass(frozen=True)
class PaperValue:
    """One published number as a fraction, with its provenance."""

    value: float
    mark: str
    source: str

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} %{'' if self.mark == 'verified' else '*'}"


@cache
def values() -> pd.DataFrame:
    """All published numbers (percent): item, dataset, attack, method, metric, value, mark, source."""
    with (files("ablkit.metrics") / "paper_values.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def lookup(
    metric: str, *, attack: str, method: str, dataset: str = "cifar10", item: str = "table1"
) -> PaperValue | None:
    """The paper's number for one cell of one table, or None where it has none or we do not know it.

    The ways to use the isolated examples are looked up in the table of their own, under the paper's names for them.
    """
    table = values()
    if method in _WAYS:
        item, method = "unlearning_methods", _WAYS[method]
    wanted = {"item": item, "dataset": dataset, "attack": attack, "method": method, "metric": metric}
    for column, value in wanted.items():
        table = table[table[column] == value]
    if table.empty:
        return None
    row = table.iloc[0]
    return PaperValue(float(row["value"]) / 100, str(row["mark"]), str(row["source"]))


@cache
def context() -> pd.DataFrame:
    """ABL in other reproductions, each with its own recipe (percent): source, setting, attack, clean accuracy, attack
    success rate. Context, never a target."""
    with (files("ablkit.metrics") / "context.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
