"""What methods leave of a backdoor and what they cost, each run held against the undefended run of its seed."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.defenses import METHODS
from ablkit.report.findings.words import (
    FAILS,
    FEWEST,
    GONE,
    HOLDS,
    IN_PART,
    PRESENT,
    UNKNOWN,
    UNMEASURED,
    count,
    is_useless,
    known,
    limit,
    name_of,
    over,
    percent,
    price,
    removed,
    upper,
)

_BASES = ("none", "oracle")
"""What other methods are held against: no defences themselves."""
_MEASURED = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")


@dataclass(frozen=True)
class _Left:
    """What one method leaves and costs."""

    method: str
    runs: pd.DataFrame
    """Those whose attack success rate was measured and where the attack works undefended, so far as that is known."""
    passed_over: int
    """Runs where the attack does not work undefended, so that there is nothing to remove."""
    pairs: int
    """Runs with an undefended one of their seed."""

    @property
    def gone(self) -> pd.Series:
        return self.runs["attack_success_rate"] <= GONE

    @property
    def removed(self) -> list[bool]:
        """Of each run, whether the backdoor is gone and the model of use."""
        lost = self.runs["clean_accuracy_undefended"] - self.runs["clean_accuracy"]
        return list(self.gone & ~is_useless(lost, self.runs["target_class_accuracy"]))

    def lost(self, metric: str) -> float | None:
        """Mean fall of an accuracy."""
        return known((self.runs[f"{metric}_undefended"] - self.runs[metric]).mean())

    @property
    def costs(self) -> list[float | None]:
        return [self.lost("clean_accuracy"), self.lost("target_class_accuracy")]

    @property
    def word(self) -> str:
        is_rare = self.runs["seed"].nunique() < FEWEST and not (self.runs["attack_success_rate"] >= PRESENT).any()
        is_perhaps_never_there = all(self.gone) and not self.pairs
        return UNKNOWN if is_rare or is_perhaps_never_there else removed(self.removed, *self.costs)

    def is_as_good_as(self, other: _Left) -> bool:
        """Whether it removes the backdoor on every run at a price that is no higher."""
        costs = zip(self.costs, other.costs, strict=True)
        return self.is_always and all(None not in pair and pair[0] <= pair[1] for pair in costs)

    @property
    def is_always(self) -> bool:
        """Whether it removes the backdoor on every run, of one at least."""
        return bool(self.removed) and all(self.removed)


def _left(frame: pd.DataFrame, method: str) -> _Left:
    base = frame[frame["method"] == "none"].set_index(["attack", "seed"])[list(_MEASURED)]
    base = base[~base.index.duplicated()]
    own = frame[frame["method"] == method].join(base.add_suffix("_undefended"), on=["attack", "seed"])
    before = own["attack_success_rate_undefended"]
    nothing = before < PRESENT
    own, before = own[~nothing], before[~nothing]
    own = own.dropna(subset="attack_success_rate")
    return _Left(method, own, int(nothing.sum()), int(before.loc[own.index].notna().sum()))


def of_methods(frame: pd.DataFrame, claimed: str | None = None) -> str:
    """What each method leaves of the backdoor and costs; with several methods a list follows the verdict.

    Args:
        frame: runs with the columns `attack`, `seed`, `method`, `attack_success_rate`, `clean_accuracy`,
            `target_class_accuracy`.
        claimed: the method that is said to remove the backdoor at nearly no price, and at a lower one than the others;
            without it all are judged.
    """
    frame = frame.reset_index(drop=True)
    frame = frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in _MEASURED})
    found = [_left(frame, name) for name in dict.fromkeys(frame["method"]) if name not in _BASES]
    if not found:
        return f"{UNKNOWN} There is no run of a defence."
    one = next((left for left in found if left.method == claimed), found[0] if len(found) == 1 else None)
    others = [left for left in found if left is not one]
    told = _told(one, others) if one else _of_all(found)
    seeds = over(max(left.runs["seed"].nunique() if len(left.runs) else 0 for left in found) or frame["seed"].nunique())
    lines = [f"- {_sentence(left, whole=False)}." for left in others]
    if others and "oracle" in set(frame["method"]):
        lines.append(f"- {_ceiling(_left(frame, 'oracle'))}")
    return "\n".join([f"{told} {seeds}", *([""] if lines else []), *lines])


def _told(one: _Left, others: list[_Left]) -> str:
    """The verdict on one method, and whether others do as well."""
    word, text = one.word, f"{upper(_sentence(one))}."
    if not others or word == UNKNOWN:
        return f"{word} {text}"
    text = f"{text}{_beside(one, others)}"
    every = [left for left in others if left.is_always]
    rivals = [name_of(left.method) for left in every if left.is_as_good_as(one)]
    if rivals and word != FAILS:
        return f"{IN_PART} {text} Removed on every run, at no higher price: {', '.join(rivals)}."
    if every:
        return f"{word} {text} Others that remove it on every run: {', '.join(name_of(left.method) for left in every)}."
    none = "No other method here removes" if one.is_always else "No method here removes"
    return f"{word} {text} {none} it on every run."


def _beside(one: _Left, others: list[_Left]) -> str:
    """Than how many of the others a method leaves less of the backdoor, and costs less; empty where it is not known."""
    others = [left for left in others if len(left.runs) and left.costs[0] is not None]
    if one.costs[0] is None or not others:
        return ""
    mean = one.runs["attack_success_rate"].mean()
    less = sum(mean < left.runs["attack_success_rate"].mean() for left in others)
    cheaper = sum(one.costs[0] < left.costs[0] for left in others)
    return (
        f" It leaves less of the backdoor than {less} of {count(len(others), 'other method')}, and costs less clean"
        f" accuracy than {cheaper} of {len(others)}."
    )


def _of_all(found: list[_Left]) -> str:
    words = [left.word for left in found]
    word = next((w for w in (HOLDS, FAILS, UNKNOWN) if set(words) == {w}), IN_PART)
    every = [name_of(left.method) for left in found if left.is_always]
    removes = "removes the backdoor on every run"
    if not every:
        return f"{word} No method here {removes}."
    return f"{word} Of {count(len(found), 'method')}, each of these {removes}: {', '.join(every)}."


def _sentence(left: _Left, *, whole: bool = True) -> str:
    """A method, what it leaves, the worst run, and the price, without a full stop.

    Args:
        whole: a whole sentence, else the entry of a list.
    """
    title, rates = name_of(left.method), left.runs["attack_success_rate"]
    passed = f"the attack does not work undefended on {count(left.passed_over, 'run')}" if left.passed_over else ""
    if rates.empty:
        return f"{title}: {passed or f'its attack success rate was {UNMEASURED}'}, so there is nothing to judge"
    attacks = list(dict.fromkeys(left.runs["attack"]))
    unit = "seed" if len(attacks) == 1 else "run"
    worst = left.runs.loc[rates.idxmax()]
    where = f"seed {worst['seed']}"
    where = f"on {where}" if len(attacks) == 1 else f"with {ATTACKS[worst['attack']].title}, {where}"
    spread = f"mean {percent(rates.mean())}, at worst {percent(rates.max())} {where}"
    spread = percent(rates.max()) if len(rates) == 1 else spread
    named = ATTACKS[attacks[0]].title if len(attacks) == 1 else f"{len(attacks)} attacks"
    told = f"{title} brings {named} to" if whole else f"{title}:"
    told = f"{told} at most {limit(GONE)} attack success on {sum(left.gone)} of {count(len(rates), unit)} ({spread})"
    if useless := sum(left.gone) - sum(left.removed):
        told += f", {useless} of them with a model of no use"
    if not left.pairs:
        told += f"; without an undefended run of the same seed the price was {UNMEASURED}"
        return f"{told}; {passed}" if passed else told
    both = left.runs.dropna(subset=["target_class_accuracy", "target_class_accuracy_undefended"])
    ends = (both[name].mean() for name in ("target_class_accuracy_undefended", "target_class_accuracy"))
    told = f"{told}; {price(left.costs[0], *ends)}"
    if left.pairs < len(rates):
        told += f" (held against an undefended run on {left.pairs} of {len(rates)})"
    return f"{told}; {passed}" if passed else told


def _ceiling(oracle: _Left) -> str:
    gained = oracle.lost("clean_accuracy")
    compared = UNMEASURED if gained is None else f"{-100 * gained:+.1f} points of clean accuracy"
    rates = oracle.runs["attack_success_rate"]
    return f"{METHODS['oracle']}, the ceiling: {percent(rates.mean())} attack success, {compared}."
