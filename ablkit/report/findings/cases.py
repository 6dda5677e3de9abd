"""Whether a backdoor is removed in every case of a notebook that varies one thing, and at what accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report.findings.words import (
    FAILS,
    FEWEST,
    GONE,
    HOLDS,
    IN_PART,
    PRESENT,
    TOO_FEW,
    UNKNOWN,
    count,
    limit,
    name_of,
    over,
    percent,
    upper,
)
from ablkit.report.page import listed
from ablkit.runs.parameters import AS_IT_IS

_PAIR = ["attack", "case"]
_LISTED = 3
"""Pairs of which each number is told."""


def of_cases(
    frame: pd.DataFrame, titles: Mapping[str, str], claimed: str, learned_by: Mapping[str, float] | None = None
) -> str:
    """Whether a method removes the backdoor of each attack in each case, on every seed; the others beside it.

    What the undefended training does not learn is not counted, where that was run, unless the method leaves a backdoor
    there. Few seeds give no verdict, unless a backdoor stays: one that is present (`PRESENT`) refutes the claim. The
    attack as it is does not count where others vary it.

    Args:
        frame: columns `attack`, `case`, `seed`, `method`, `attack_success_rate`, `clean_accuracy`.
        titles: case -> what it is called.
        claimed: the method that the hypothesis is about.
        learned_by: attack -> the attack success of undefended training, where no case changes anything of that.
    """
    runs = frame.assign(attack_success_rate=frame["attack_success_rate"].astype(float))
    runs = runs.dropna(subset="attack_success_rate")
    varied = runs[runs["case"] != AS_IT_IS]
    runs = runs if varied.empty else varied
    learned, missed = _learned(runs, claimed)
    own = learned[learned["method"] == claimed]
    if own.empty:
        return f"{UNKNOWN} No run of {name_of(claimed)} was made on a backdoor that is learned."
    gone = _gone(own)
    word = HOLDS if gone.all() else IN_PART if gone.any() else FAILS
    seeds = own.groupby(_PAIR)["seed"].nunique()
    too_few = seeds.min() < FEWEST and (own["attack_success_rate"] < PRESENT).all()
    if too_few:
        word = UNKNOWN
    varied = [method for method, part in learned.groupby("method", sort=False) if part["case"].nunique() > 1]
    methods = [claimed, *(method for method in varied if method not in (claimed, "none"))]
    told = [_of_method(learned[learned["method"] == method], method, titles) for method in methods]
    pairs = set(own.groupby(_PAIR).groups)
    told += [_same(own, titles)] * bool(_same(own, titles))
    if learned_by and set(own["attack"]) <= set(learned_by):
        means = [f"{percent(learned_by[name])} ({ATTACKS[name].title})" for name in dict.fromkeys(own["attack"])]
        told.append(f"Undefended training, the same in all cases, has {listed(means)}.")
    elif alone := pairs - set(runs[runs["method"] == "none"].groupby(_PAIR).groups):
        told.append(
            f"In {len(alone)} of the {count(len(pairs), 'pair')} undefended training was not run, so that the backdoor"
            " may be weak there."
        )
    if missed:
        told.append(f"Not counted, as the undefended model learns no backdoor: {_places(missed, titles)}.")
    if weak := _weak(learned, pairs):
        told.append(
            f"Counted, though undefended training learns it in less than {limit(PRESENT)}, as"
            f" {name_of(claimed)} leaves more than {limit(GONE)}: {_places(weak, titles)}."
        )
    few = int((seeds < FEWEST).sum())
    if few and not too_few:
        told.append(f"On fewer than {FEWEST} seeds, so that they prove little, are {few} of the {len(seeds)} pairs.")
    told += [TOO_FEW] * bool(too_few)
    return " ".join([word, *told, over(int(seeds.min()), int(seeds.max()))])


def _learned(runs: pd.DataFrame, claimed: str) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The runs on backdoors that are learned, and the attacks and cases of the others.

    Not learned is what undefended training learns in less than `PRESENT`, and of which the claimed method leaves
    nothing: a backdoor that stays is counted, however weak.
    """
    undefended = runs[runs["method"] == "none"].groupby(_PAIR, sort=False)["attack_success_rate"].mean()
    left = runs[runs["method"] == claimed].groupby(_PAIR)["attack_success_rate"].max()
    missed = [pair for pair in undefended.index[undefended < PRESENT] if not left.get(pair, 0.0) > GONE]
    pairs = list(zip(runs["attack"], runs["case"], strict=True))
    return runs[[pair not in missed for pair in pairs]], missed


def _weak(learned: pd.DataFrame, pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The attacks and cases among `pairs` whose backdoor undefended training learns in part only."""
    undefended = learned[learned["method"] == "none"].groupby(_PAIR, sort=False)["attack_success_rate"].mean()
    return [pair for pair in undefended.index[undefended < PRESENT] if pair in pairs]


def _gone(own: pd.DataFrame) -> pd.Series:
    """Of each attack and case, whether the backdoor is gone on every seed."""
    return (own["attack_success_rate"] <= GONE).groupby([own[name] for name in _PAIR], sort=False).all()


def _of_method(own: pd.DataFrame, method: str, titles: Mapping[str, str]) -> str:
    gone = _gone(own)
    left = [pair for pair, is_gone in gone.items() if not is_gone]
    worst = own["attack_success_rate"].groupby([own[name] for name in _PAIR], sort=False).max()
    accuracy = own["clean_accuracy"].astype(float).groupby([own[name] for name in _PAIR]).mean()
    every = " on every seed" if own.groupby(_PAIR)["seed"].nunique().min() > 1 else ""
    told = (
        f"{upper(name_of(method))} leaves at most {limit(GONE)} attack success{every} in {int(gone.sum())} of"
        f" {count(len(gone), 'pair')} of attack and case"
    )
    if left:
        most = [percent(value) for value in worst[left]]
        few = listed(most) if len(most) <= _LISTED else f"up to {percent(worst[left].max())}"
        told += f"; not with {_places(left, titles)}, where it leaves {few}"
    if whole := [pair for pair in left if pair in _without_poison(own)]:
        told += (
            f". With {_places(whole, titles)} no poisoned image was left in the training: what is left there is no"
            " backdoor, but what a clean model takes for the target"
        )
    low, high = percent(accuracy.min()), percent(accuracy.max())
    return f"{told}. Mean clean accuracy is {low if low == high else f'{low} to {high}'}."


def _same(own: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """The cases of an attack whose runs have the same numbers on every of several seeds; empty where none have."""
    names, told = ["seed", "attack_success_rate", "clean_accuracy"], []
    for attack, part in own.groupby("attack", sort=False):
        found: dict[tuple, list[str]] = {}
        for case, runs in part.groupby("case", sort=False):
            if runs["seed"].nunique() == 1:
                continue
            numbers = runs[names].astype(float).sort_values(names).to_numpy().ravel().tolist()
            found.setdefault(tuple(numbers), []).append(str(case))
        told += [(attack, case) for alike in found.values() if len(alike) > 1 for case in alike]
    if not told:
        return ""
    return f"The same numbers on every seed, so that what is varied changes nothing there: {_places(told, titles)}."


def _without_poison(own: pd.DataFrame) -> set[tuple[str, str]]:
    """The attacks and cases of which all poison is excluded on every seed."""
    if "exclusion_recall" not in own:
        return set()
    lowest = own["exclusion_recall"].astype(float).groupby([own[name] for name in _PAIR]).min()
    return set(lowest.index[lowest == 1])


def _places(pairs: list[tuple[str, str]], titles: Mapping[str, str]) -> str:
    """`BadNets (0.5 %, 1 %), Blend (1 %)`."""
    found: dict[str, list[str]] = {}
    for attack, case in pairs:
        found.setdefault(attack, []).append(titles.get(case, case))
    return ", ".join(f"{ATTACKS[attack].title} ({', '.join(cases)})" for attack, cases in found.items())
