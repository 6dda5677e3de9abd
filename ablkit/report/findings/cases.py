"""Whether a backdoor is removed in every case of a notebook that varies one thing, and at what accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report.findings.words import (
    ANSWERED,
    DEAR,
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
from ablkit.runs.parameters import USUAL

_PAIR = ["attack", "case"]
REMOVED, LEFT, DESTROYED, MUTE = "removed", "left", "destroyed", "mute"
"""What a method does to a backdoor: it is gone on every seed; it is not; or it is, and a seed's model is of no use,
as it has lost too much or hardly names the target class."""


def of_cases(
    frame: pd.DataFrame,
    titles: Mapping[str, str],
    claimed: str,
    undefended: pd.DataFrame | None = None,
    *,
    is_of_abl: bool = False,
) -> str:
    """Whether a method removes the backdoor of each attack in each case, on every seed; a list of what else is known.

    What the undefended training does not learn is not counted, where that was run, unless the method leaves a backdoor
    there. Pairs of attack and case on few seeds have no part in the verdict, but for a backdoor that is present
    (`PRESENT`): it refutes the claim. The preset's own settings do not count where others vary them.

    Args:
        frame: columns `attack`, `case`, `seed`, `method`, `attack_success_rate`, `clean_accuracy`.
        titles: case -> what it is called.
        claimed: the method that the hypothesis is about.
        undefended: see `outcomes`.
        is_of_abl: undefended training is the same in all cases.
    """
    learned, missed = judged(frame, claimed)
    own = learned[learned["method"] == claimed]
    if own.empty:
        return f"{UNKNOWN} No run of {name_of(claimed)} was made on a backdoor that is learned."
    found = outcomes(learned, claimed, undefended)
    word = _word(found)
    several = [method for method, part in learned.groupby("method", sort=False) if part["case"].nunique() > 1]
    methods = [claimed, *(method for method in several if method not in (claimed, "none"))]
    first, *lines = (_of_method(learned, method, titles, undefended) for method in methods)
    lines += [_same(learned[learned["method"] == method], method, titles) for method in methods]
    lines.append(_undefended(learned[learned["method"].isin([*methods, "none"])], undefended if is_of_abl else None))
    if missed:
        lines.append(f"Not counted, as the undefended model learns no backdoor: {places(missed, titles)}.")
    if weak := _weak(learned, set(found.index)):
        lines.append(
            f"Counted, though undefended training learns it in less than {limit(PRESENT)}, as"
            f" {name_of(claimed)} leaves more than {limit(GONE)}: {places(weak, titles)}."
        )
    seeds = over(int(found["seeds"].min()), int(found["seeds"].max()))
    verdict = " ".join([word, first, *[TOO_FEW] * (word == UNKNOWN), seeds])
    listed_lines = [f"- {line}" for line in lines if line]
    return "\n".join([verdict, *([""] if listed_lines else []), *listed_lines])


def judged(frame: pd.DataFrame, claimed: str) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The measured runs that a verdict is about, and the attacks and cases whose backdoor nobody learns.

    The preset's own settings do not count where others vary them. Not learned is what undefended training learns in
    less than `PRESENT`, and of which the claimed method leaves nothing: a backdoor that stays is counted, however weak.
    """
    runs = frame.assign(attack_success_rate=frame["attack_success_rate"].astype(float))
    runs = runs.dropna(subset="attack_success_rate")
    varied = runs[~runs["case"].isin(USUAL)]
    runs = runs if varied.empty else varied
    undefended = runs[runs["method"] == "none"].groupby(_PAIR, sort=False)["attack_success_rate"].mean()
    left = runs[runs["method"] == claimed].groupby(_PAIR)["attack_success_rate"].max()
    missed = [pair for pair in undefended.index[undefended < PRESENT] if not left.get(pair, 0.0) > GONE]
    pairs = list(zip(runs["attack"], runs["case"], strict=True))
    return runs[[pair not in missed for pair in pairs]], missed


def outcomes(runs: pd.DataFrame, method: str, undefended: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each attack and case that a method was run on: how many `seeds`, what is `left`, and the `outcome`.

    `left` is the highest attack success of a seed, `lowest` the lowest clean accuracy of one, `target` the lowest in
    the target class, where it was measured, and `mean` is of the attack success.

    Args:
        undefended: by attack, the mean `attack_success_rate` and `clean_accuracy` of undefended training as in the
            preset. A model is destroyed that is worse by `DEAR` than undefended training of its seed in the same case;
            where that was not run, than its mean there, or else than this.
    """
    own = runs[runs["method"] == method]
    target = own.get("target_class_accuracy", pd.Series(float("nan"), own.index)).astype(float)
    own = own.assign(lost=_before(own, runs, undefended) - own["clean_accuracy"].astype(float), target=target)
    rate = "attack_success_rate"
    found = own.groupby(_PAIR, sort=False).agg(
        seeds=("seed", "nunique"),
        left=(rate, "max"),
        mean=(rate, "mean"),
        lowest=("clean_accuracy", "min"),
        lost=("lost", "max"),
        target=("target", "min"),
    )
    outcome = pd.Series(REMOVED, found.index)
    outcome[found["target"] < ANSWERED] = MUTE
    outcome[found["lost"] >= DEAR] = DESTROYED
    outcome[found["left"] > GONE] = LEFT
    return found.assign(outcome=outcome)


def _before(own: pd.DataFrame, runs: pd.DataFrame, undefended: pd.DataFrame | None) -> pd.Series:
    """The clean accuracy of undefended training for each run; see `outcomes`. Where nothing is known it is nan."""
    base = runs[runs["method"] == "none"].assign(clean_accuracy=lambda frame: frame["clean_accuracy"].astype(float))
    before = pd.Series(float("nan"), own.index)
    for names in ([*_PAIR, "seed"], _PAIR):
        known = base.groupby(names)["clean_accuracy"].mean().to_dict()
        before = before.fillna(
            pd.Series([known.get(key) for key in own[names].itertuples(index=False, name=None)], own.index, float)
        )
    usual = {} if undefended is None else undefended["clean_accuracy"].to_dict()
    return before.fillna(own["attack"].map(usual).astype(float))


def _word(found: pd.DataFrame) -> str:
    """The verdict on the pairs with seeds enough; of those with fewer a backdoor that is present counts."""
    enough = found["seeds"] >= FEWEST
    judged = found[enough | (found["left"] >= PRESENT)]
    if judged.empty:
        return UNKNOWN
    removed = found.loc[judged.index if enough.any() else found.index, "outcome"] == REMOVED
    return HOLDS if removed.all() else IN_PART if removed.any() else FAILS


def _weak(learned: pd.DataFrame, pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """The attacks and cases among `pairs` whose backdoor undefended training learns in part only."""
    undefended = learned[learned["method"] == "none"].groupby(_PAIR, sort=False)["attack_success_rate"].mean()
    return [pair for pair in undefended.index[undefended < PRESENT] if pair in pairs]


def _of_method(runs: pd.DataFrame, method: str, titles: Mapping[str, str], undefended: pd.DataFrame | None) -> str:
    """In how many pairs a method removes the backdoor, first of those on seeds enough, and what it leaves."""
    found, own = outcomes(runs, method, undefended), runs[runs["method"] == method]
    first, few = _by_seeds(found)
    told = [removes(found, method)]
    told += _failures(first, titles)
    least, most = first["mean"].idxmin(), first["mean"].idxmax()
    if not (first["outcome"] == REMOVED).any() and percent(first["mean"][least]) != percent(first["mean"][most]):
        told.append(f"Least is left with {places([least], titles)}, {percent(first['mean'][least])} in the mean.")
    if len(few):
        told.append(
            f"On fewer than {FEWEST} seeds, which prove little, it does so in {(few['outcome'] == REMOVED).sum()} of"
            f" {len(few)} more."
        )
        told += _failures(few, titles)
    clean = _without_poison(own)
    if whole := [pair for pair in found.index[found["outcome"] == LEFT] if pair in clean]:
        told.append(
            f"With {places(whole, titles)} no poisoned image was left in the training: what is left there is no"
            " backdoor, but what a clean model takes for the target."
        )
    return " ".join([*told, _accuracy(own, titles)])


def _accuracy(own: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """How far the mean accuracies of the pairs reach, and where the target class is lowest."""
    means = own.groupby(_PAIR)[["clean_accuracy", "target_class_accuracy"]].mean().astype(float)
    low, high = (percent(end) for end in (means["clean_accuracy"].min(), means["clean_accuracy"].max()))
    target = means["target_class_accuracy"].dropna()
    if target.empty:
        return f"Mean clean accuracy is {low if low == high else f'{low} to {high}'}."
    lowest = target.idxmin()
    return (
        f"Mean clean accuracy is {low if low == high else f'{low} to {high}'}, in the target class at least"
        f" {percent(target[lowest])} ({places([lowest], titles)})."
    )


def removes(found: pd.DataFrame, method: str) -> str:
    """In how many pairs on seeds enough a method removes the backdoor, or of all where none has seeds enough.

    Args:
        found: its `outcomes`.
    """
    first, _ = _by_seeds(found)
    every = " on every seed" if first["seeds"].min() > 1 else ""
    return (
        f"{upper(name_of(method))} removes the backdoor, to at most {limit(GONE)} attack success{every}, in"
        f" {(first['outcome'] == REMOVED).sum()} of {count(len(first), 'pair')} of attack and case."
    )


def _by_seeds(found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The outcomes on seeds enough and the others; all and none where none has seeds enough."""
    enough = found["seeds"] >= FEWEST
    return (found[enough], found[~enough]) if enough.any() else (found, found[:0])


def _failures(found: pd.DataFrame, titles: Mapping[str, str]) -> list[str]:
    """What is left, and which models are destroyed, in a sentence each."""
    told = []
    for outcome, column, text in (
        (LEFT, "left", "It leaves up to {} with {}"),
        (DESTROYED, "lowest", "It destroys the model, to a clean accuracy of {} with {}"),
        (MUTE, "target", "The model hardly names the target class, with an accuracy there of {} with {}"),
    ):
        parts = [
            (_numbers(part[column].droplevel("attack"), titles), ATTACKS[attack].title)
            for attack, part in found[found["outcome"] == outcome].groupby(level="attack", sort=False)
        ]
        if parts:
            told.append("; ".join([text.format(*parts[0]), *(f"{numbers} with {name}" for numbers, name in parts[1:])]))
    return [f"{sentence}." for sentence in told]


def _numbers(values: pd.Series, titles: Mapping[str, str]) -> str:
    """`28 % (at 0.1 %) and 5.9 % (at 0.5 %, 1 %)`, or `47 % (cover images)` where a case is no number."""
    by_number: dict[str, list[str]] = {}
    for case, value in values.items():
        by_number.setdefault(percent(value), []).append(titles[case])
    is_number = all(titles[case].removesuffix(" %").replace(".", "").isdigit() for case in values.index)
    return listed([f"{number} ({'at ' * is_number}{', '.join(own)})" for number, own in by_number.items()])


def _undefended(runs: pd.DataFrame, same: pd.DataFrame | None) -> str:
    """What undefended training learns where no case changes it, or in how many pairs it was not run."""
    pairs = set(runs[runs["method"] != "none"].groupby(_PAIR).groups)
    names = list(dict.fromkeys(runs["attack"]))
    if same is not None and set(names) <= set(same.index):
        means = [f"{percent(same.at[name, 'attack_success_rate'])} ({ATTACKS[name].title})" for name in names]
        return f"Undefended training, the same in all cases, has {listed(means)}."
    alone = pairs - set(runs[runs["method"] == "none"].groupby(_PAIR).groups)
    if not alone:
        return ""
    return (
        f"In {len(alone)} of the {count(len(pairs), 'pair')} undefended training was not run, so that the backdoor"
        " may be weak there."
    )


def _same(own: pd.DataFrame, method: str, titles: Mapping[str, str]) -> str:
    """The cases of an attack in which a method has the same numbers on every of several seeds; empty without any."""
    names, told = ["seed", "attack_success_rate", "clean_accuracy"], []
    for attack, part in own.groupby("attack", sort=False):
        found: dict[tuple, list[str]] = {}
        for case, runs in part.groupby("case", sort=False):
            if runs["seed"].nunique() > 1:
                numbers = runs[names].astype(float).sort_values(names).to_numpy().ravel().tolist()
                found.setdefault(tuple(numbers), []).append(titles[str(case)])
        if alike := [" = ".join(cases) for cases in found.values() if len(cases) > 1]:
            told.append(f"{ATTACKS[attack].title} ({', '.join(alike)})")
    if not told:
        return ""
    same = "has the same numbers on every seed, so that what is varied changes nothing there, with"
    return f"{upper(name_of(method))} {same} {', '.join(told)}."


def _without_poison(own: pd.DataFrame) -> set[tuple[str, str]]:
    """The attacks and cases of which all poison is excluded on every seed."""
    if "exclusion_recall" not in own:
        return set()
    lowest = own["exclusion_recall"].astype(float).groupby([own[name] for name in _PAIR]).min()
    return set(lowest.index[lowest == 1])


def places(pairs: list[tuple[str, str]], titles: Mapping[str, str]) -> str:
    """`BadNets (0.5 %, 1 %), Blend (1 %)`."""
    found: dict[str, list[str]] = {}
    for attack, case in pairs:
        found.setdefault(attack, []).append(titles.get(case, case))
    return ", ".join(f"{ATTACKS[attack].title} ({', '.join(cases)})" for attack, cases in found.items())
