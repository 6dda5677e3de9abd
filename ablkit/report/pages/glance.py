"""At a glance: what is left of the backdoors and of the accuracy, trained on the same poisoned sets in three ways."""

from __future__ import annotations

import pandas as pd

from ablkit.metrics.statistics import ENOUGH
from ablkit.report.collect import provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.beside import MEASURED, complete
from ablkit.report.findings.words import DEAR, count, is_useless, limit
from ablkit.report.page import Cell, Table, link, listed
from ablkit.report.text import MISSING
from ablkit.report.verdicts import INTERVAL, over_seeds

_TRAINED = {"_none": "undefended", "_abl": "with ABL", "": "without the suspects", "_oracle": "on clean data"}
"""The suffixes of `findings.beside.beside`."""
_COLUMNS = ("trained", "backdoor gone, runs", "on every seed, attacks", "gone, model of use, runs")
_COLUMNS += ("attack success, %", "clean accuracy, %", "target class, %")


def table(own: pd.DataFrame) -> Table | None:
    """A row each way of training, over the attacks and seeds that all ways have; None where there are none.

    Args:
        own: what `findings.beside.beside` gives.
    """
    needed = [f"{metric}{suffix}" for metric in MEASURED for suffix in ("_none", "_abl", "")]
    runs = complete(own.dropna(subset=[*needed, "clean_accuracy_oracle"]), "clean_accuracy_abl")
    if runs.empty:
        return None
    return Table(_COLUMNS, [_row(runs, suffix) for suffix in _TRAINED], note=_note(runs))


def _row(runs: pd.DataFrame, suffix: str) -> tuple[Cell | str, ...]:
    """The numbers of one way of training, each the mean over attacks, by seed."""
    by_seed = runs.groupby("seed")[[f"{metric}{suffix}" for metric in MEASURED]].mean()
    if suffix == "_oracle":
        gone: tuple[Cell | str, ...] = (Cell(MISSING, kind="soft"),) * 3
    else:
        is_gone = runs[f"attack_success_rate{suffix}"] <= GONE
        always = is_gone.groupby(runs["attack"]).all()
        lost = runs["clean_accuracy_none"] - runs[f"clean_accuracy{suffix}"]
        of_use = is_gone & ~is_useless(lost, runs[f"target_class_accuracy{suffix}"])
        gone = tuple(f"{found.sum()} of {len(found)}" for found in (is_gone, always, of_use))
    return (_TRAINED[suffix], *gone, *(over_seeds(by_seed[name]) for name in by_seed))


def _note(runs: pd.DataFrame) -> str:
    seeds = listed([str(seed) for seed in sorted(set(runs["seed"]))])
    poisoned = f"The same {count(len(runs), 'poisoned set')} in each row but the last:"
    told = f"{poisoned} {count(runs['attack'].nunique(), 'attack')}, seeds {seeds}."
    interval = INTERVAL if runs["seed"].nunique() >= ENOUGH else "In brackets or below: the lowest and highest seed."
    told += f" Gone: at most {limit(GONE)} attack success. {link('Of use', 'method.html#terms')}: less than"
    told += f" {100 * DEAR:.0f} points of accuracy lost, and the target class still named. Mean over attacks and seeds."
    told += f" {interval}"
    clean = listed([TITLES[name] for name in dict.fromkeys(runs.dropna(subset="attack_success_rate_oracle")["attack"])])
    told += f" On clean data the trigger was tried with {clean}." * bool(clean)
    return f"{told} Without the suspects: {provenance(runs)}" if "env_started" in runs else told
