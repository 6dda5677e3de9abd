"""How the rule of training without the suspects came about: what it was changed on, and what is left elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablkit.exclusion.rule import RULE
from ablkit.report.findings.exclusion import removed
from ablkit.report.findings.words import count
from ablkit.report.page import listed

CHOSEN_WITH = ("badnets", "blend", "sig", "cba")
"""The attacks that settings were chosen with, on seeds that are not reported."""
CHANGES = RULE
"""How often the rule was changed after runs on reported seeds had been seen: once for each number after the first, and
once within rule 7, before any run that is shown: six clusters beside three were dropped."""
SEEN, UNSEEN, UNSEEN_BY = (0, 1, 2), (3, 4), 7
"""Reported seeds that the rule was changed on, and those on whose poisoned sets the method had not been run before that
rule. A later rule has seen them all."""
LESS_STRICT = 7
"""An earlier rule that asked for less: a run by it that suspected nobody stands."""
VERDICT = ("method_suspected_classes", "method_excluded_images", "method_largest_separation")
VERDICT += ("exclusion_precision", "exclusion_recall")
"""The numbers that are the same where two rules judge a run alike."""
FIRST_CHOOSING = 100
"""Seeds from here on are for choosing settings."""


def is_earlier(runs: pd.DataFrame, column: str = "method_rule", excluded: str = "method_excluded_images") -> pd.Series:
    """Which runs of `exclude` an earlier rule made that may judge otherwise; see `exclusion.rule`.

    Args:
        runs: with `is_judged_alike`, where today's rule judged some of them again; see `benchmarks.judged_again`.
        column: the number of the rule.
        excluded: how many images were excluded.
    """
    by, number = (pd.Series(runs.get(name, np.nan), runs.index, float) for name in (column, excluded))
    stands = pd.Series(runs.get("is_judged_alike", False), runs.index, bool) | ((by == LESS_STRICT) & (number == 0))
    return (by != RULE) & ~stands


def of_earlier_rule(runs: pd.DataFrame) -> str:
    """A sentence on how many runs of `exclude` an earlier rule made; empty where none.

    Args:
        runs: of any method, with the column `method`.
    """
    own = runs[runs["method"] == "exclude"]
    number = int(is_earlier(own).sum())
    are = "is" if number == 1 else "are"
    return (
        f"{number} of {count(len(own), 'run')} without suspects {are} of an earlier rule than today's."
        if number
        else ""
    )


def of_its_making(runs: pd.DataFrame, *, short: bool = False) -> str:
    """Which rule made these runs, what is left on seeds that it had not met, and what today's says of them.

    Args:
        runs: what `beside` gives.
        short: without how today's rule is known to say the same.
    """
    rules = sorted({int(number) for number in _rules(runs).dropna()})
    told = [f"The rule was changed {CHANGES} times after reported runs had been seen."]
    if rules:
        many = "s" * (len(rules) > 1)
        told.append(f"These runs are by rule{many} {listed([str(number) for number in rules])}.")
    told += [on_unseen(runs), _today(runs, short=short)]
    if set(runs["attack"]) <= set(CHOSEN_WITH):
        told.append("Settings were chosen with these attacks, on other seeds.")
    return " ".join(filter(None, told))


def on_unseen(runs: pd.DataFrame) -> str:
    """What is left on seeds that a rule met here for the first time, or that there is no such run.

    Args:
        runs: what `beside` gives.
    """
    by = _rules(runs)
    met = runs["seed"].isin(SEEN) | (runs["seed"].isin(UNSEEN) & (by > UNSEEN_BY))
    own = runs[~met & (runs["seed"] < FIRST_CHOOSING) & (by >= UNSEEN_BY)]
    if own.empty:
        return "None of these runs is of a seed that its rule had not met."
    seeds = sorted(set(own["seed"]))
    known = int(own["attack_success_rate_none"].notna().sum()) if "attack_success_rate_none" in own else 0
    alone = f"; undefended training was run on {known} of these {len(own)} sets" if known < len(own) else ""
    rules = listed([str(int(number)) for number in sorted(set(by[own.index]))])
    return (
        f"Rule {rules} met the poisoned sets of seed{'s' * (len(seeds) > 1)} {listed([str(seed) for seed in seeds])}"
        f" here for the first time: there the backdoor is gone {removed(own, '')}{alone}."
    )


def _today(runs: pd.DataFrame, *, short: bool) -> str:
    """What today's rule says of runs by the rules before; empty where all are its own."""
    earlier, before = is_earlier(runs), _rules(runs) != RULE
    again = before & pd.Series(runs.get("is_judged_alike", False), runs.index, bool)
    same, tried, other = int((before & ~earlier).sum()), int(again.sum()), int(earlier.sum())
    how = [f"{tried} judged again"] * bool(tried)
    how += [f"{same - tried} without a suspect stand, as it asks for more"] * (same > tried)
    aside = "" if short else f" ({'; '.join(how)})"
    told = [f"says the same of {same}{aside}"] * bool(same) + [f"was not tried on {other}"] * bool(other)
    return f"Of {count(len(runs), 'run')} today's rule {RULE} {' and '.join(told)}." if told else ""


def _rules(runs: pd.DataFrame) -> pd.Series:
    """The number of the rule that made each run; nan where it is not recorded."""
    return pd.Series(runs.get("method_rule", np.nan), runs.index, float)
