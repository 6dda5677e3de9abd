"""Whether attacks give an undefended model their backdoor, and whether because of their idea."""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report.findings.words import (
    FAILS,
    HOLDS,
    IN_PART,
    MATTERS,
    PRESENT,
    UNKNOWN,
    UNMEASURED,
    count,
    judged,
    limit,
    numbers_of,
    over,
    percent,
    too_few,
)


def of_attacks(frame: pd.DataFrame) -> str:
    """Whether every attack gives an undefended model its backdoor.

    Args:
        frame: undefended runs with the columns `attack`, `seed`, `attack_success_rate`, `clean_accuracy`.
    """
    frame = numbers_of(frame, "attack_success_rate", "clean_accuracy")
    measured = frame.dropna(subset="attack_success_rate")
    if measured.empty:
        return f"{UNKNOWN} The attack success rate was not measured."
    works = measured["attack_success_rate"] >= PRESENT
    every = works.groupby(measured["attack"], sort=False).all()
    seeds = [int(number) for number in measured.groupby("attack")["seed"].nunique()]
    word = HOLDS if every.all() and len(measured) == len(frame) else IN_PART if works.any() else FAILS
    word = judged(word, min(seeds))
    worst = measured.loc[measured["attack_success_rate"].idxmin()]
    where = f"{ATTACKS[worst['attack']].title}, seed {worst['seed']}"
    accuracy = measured.groupby("attack", sort=False)["clean_accuracy"].mean().dropna()
    kept = f"Clean accuracy was {UNMEASURED}."
    if len(accuracy):
        low, high = ((ATTACKS[end].title, percent(accuracy[end])) for end in (accuracy.idxmin(), accuracy.idxmax()))
        kept = f"Mean clean accuracy is {low[1]} with {low[0]}"
        kept += f" to {high[1]} with {high[0]}." if low != high else "."
    missing = len(frame) - len(measured)
    unknown = f" Of {count(missing, 'run')} it was {UNMEASURED}." if missing else ""
    told = (
        f"{word} Attack success is at least {limit(PRESENT)} on every seed for {int(every.sum())} of"
        f" {count(len(every), 'attack')}; the lowest is {percent(worst['attack_success_rate'])} ({where})."
        f" {kept}{unknown}"
    )
    return " ".join(filter(None, (told, too_few(min(seeds)), over(min(seeds), max(seeds)))))


def of_twins(frame: pd.DataFrame) -> str:
    """Whether attacks work because of their idea: with it switched off, their success falls.

    Args:
        frame: undefended runs with the columns `attack`, `attack_settings` (empty for the attack itself), `seed`,
            `attack_success_rate`.
    """
    frame = numbers_of(frame, "attack_success_rate").dropna(subset="attack_success_rate")
    pairs = frame.assign(kind=(frame["attack_settings"].fillna("") != "").map({True: "off", False: "on"})).pivot_table(
        index=["attack", "seed"], columns="kind", values="attack_success_rate", sort=False
    )
    pairs = pairs.reindex(columns=["on", "off"]).dropna()
    if pairs.empty:
        return f"{UNKNOWN} No attack was measured both with its idea and without it."
    means = pairs.groupby(level="attack", sort=False).mean()
    fall = means["on"] - means["off"]
    matters = fall >= MATTERS
    seeds = int(pairs.groupby(level="attack").size().min())
    word = judged(HOLDS if matters.all() else IN_PART if matters.any() else FAILS, seeds)
    told = {
        name: f"{ATTACKS[name].title} {percent(row['on'])} to {percent(row['off'])}" for name, row in means.iterrows()
    }
    parts = [
        f"{word} With the idea switched off, attack success falls by at least {100 * MATTERS:.0f} points for"
        f" {int(matters.sum())} of {count(len(means), 'attack')}"
        + (f" ({', '.join(told[name] for name in means.index[matters])})." if matters.any() else ".")
    ]
    if not matters.all():
        others = means.index[~matters][fall[~matters].argsort()]
        parts.append(f"For the others it does not: {', '.join(told[name] for name in others)}.")
    return " ".join(filter(None, [*parts, too_few(seeds), over(seeds, len(pairs.index.unique("seed")))]))
