"""What the arms of the unlearning leave, row by row, for tables of notebooks and of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report.findings import ARM_TITLES
from ablkit.report.text import number
from ablkit.report.verdicts import in_words

SHARES = {
    "attack success": "attack_success_rate",
    "clean accuracy": "clean_accuracy",
    "other classes": "clean_accuracy_non_target",
    "target class": "target_class_accuracy",
    "isolated images with their label": "method_isolated_labels_kept",
}
"""Title -> metric, each a fraction of 1."""


class Row(NamedTuple):
    """The runs of one attack and arm, or the fine-tuned models that they start from."""

    attack: str
    title: str
    shares: dict[str, pd.Series]
    """Title -> its values, one a seed; missing where it was not measured."""
    epochs: str
    """Of the unlearning, mean over the seeds; empty for what it starts from."""
    n: int


def rows(frame: pd.DataFrame) -> Iterator[Row]:
    """Attack by attack the fine-tuned models, then the arms; that with group norm has fine-tuned models of its own.

    Args:
        frame: runs, see `comparisons.compare_arms`.
    """
    for attack, own in frame.groupby("attack", sort=False):
        usual = own[own["arm"] != "group_norm"].drop_duplicates("seed")
        if len(usual):
            yield _row(attack, "fine-tuned model", usual, "_finetuned")
        for arm in [name for name in ARM_TITLES if name in set(own["arm"])]:
            runs = own[own["arm"] == arm]
            if arm == "group_norm":
                yield _row(attack, "fine-tuned model with group norm", runs, "_finetuned")
            yield _row(attack, ARM_TITLES[arm], runs)


def _row(attack: str, title: str, runs: pd.DataFrame, suffix: str = "") -> Row:
    missing = pd.Series(float("nan"), runs.index)
    shares = {name: runs.get(metric + suffix, missing).astype(float) for name, metric in SHARES.items()}
    # ABL's own unlearning has all of its epochs, and no record of them.
    epochs = runs.get("method_epochs", missing).astype(float).fillna(runs["unlearn_epochs"])
    return Row(attack, title, shares, "" if suffix else number(float(epochs.mean()), "{:.0f}"), len(runs))


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The same as texts, for `tables.shown`: means in percent, with the lowest and highest seed."""
    return pd.DataFrame(
        {"attack": ATTACKS[row.attack].title, "arm": row.title}
        | {name: in_words(values) for name, values in row.shares.items()}
        | {"epochs": row.epochs, "n": row.n}
        for row in rows(frame)
    )
