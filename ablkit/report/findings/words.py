"""The words of a verdict and the rules behind them: what counts as a backdoor, as gone, as removed, as a low price."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ablkit.defenses import METHODS

GONE = 0.05
"""Attack success rate up to which a backdoor counts as gone."""
PRESENT = 0.5
"""Attack success rate from which an undefended model counts as having the backdoor."""
CHEAP = 0.05
"""Accuracy, over all classes and in the target class, that a method may cost and still count as nearly free."""
DEAR = 0.3
"""Clean accuracy from which on a method has paid too much: the model that is left is of no use."""
ANSWERED = 0.1
"""Accuracy in the target class below which a model hardly names that class, so that attack success is low anyway."""
FASTER = 0.5
"""Poisoned images count as learned faster where their mean loss is at most this fraction of the clean images' loss."""
PRECISE = 0.5
"""Fraction of poisoned images among the isolated from which isolation counts as working."""
RELIABLE = 0.9
"""The same from which it counts as reliable."""
MATTERS = 0.1
"""Fall of the attack success rate, with an attack's idea switched off, from which the idea counts as the reason."""
MOST = 0.5
"""Share of a fall in attack success from which a part of the unlearning counts as doing most of it."""

FEWEST = 3
"""Seeds that a verdict needs."""
TOO_FEW = f"A verdict takes {FEWEST} seeds."

HOLDS, IN_PART, FAILS, UNKNOWN = "**Holds.**", "**Holds in part.**", "**Fails.**", "**Cannot be said.**"
UNMEASURED = "not measured"


def is_useless(lost: pd.Series, target: pd.Series) -> pd.Series:
    """Which models are of no use, whatever became of the backdoor: see `DEAR` and `ANSWERED`.

    Args:
        lost: clean accuracy lost against undefended training; nan, where it is not known, speaks for no model and
            against none.
        target: accuracy in the target class; likewise.
    """
    return (pd.to_numeric(lost) >= DEAR) | (pd.to_numeric(target) < ANSWERED)


def removed(gone: Sequence[bool], overall: float | None, target: float | None) -> str:
    """The word for a method that should remove a backdoor at nearly no price.

    Args:
        gone: of each run, whether the backdoor is gone and the model of use.
        overall: accuracy lost over all classes; what was not measured cannot be called low.
        target: the same in the target class.
    """
    if not len(gone):
        return UNKNOWN
    if not any(gone):
        return FAILS
    cheap = all(known(cost) is not None and cost <= CHEAP for cost in (overall, target))
    return HOLDS if all(gone) and cheap else IN_PART


def judged(word: str, seeds: int) -> str:
    """The word of a verdict; on fewer than FEWEST seeds it cannot be said, see `too_few`."""
    return word if seeds >= FEWEST else UNKNOWN


def too_few(seeds: int) -> str:
    """That these are fewer seeds than a verdict takes; empty where they are not."""
    return TOO_FEW if seeds < FEWEST else ""


def known(value: object) -> float | None:
    """A measured number, or None."""
    return None if value is None or pd.isna(value) else float(value)


def percent(share: object) -> str:
    """A fraction as `25 %`, below a tenth as `2.7 %`; `not measured` for None and nan."""
    share = known(share)
    if share is None:
        return UNMEASURED
    return f"{100 * share:.1f} %" if abs(share) < 0.0995 else f"{100 * share:.0f} %"


def limit(share: float) -> str:
    """A threshold, in whole percent."""
    return f"{100 * share:.0f} %"


def name_of(method: str) -> str:
    """What a method is called as the subject of a sentence."""
    return "excluding suspects" if method == "exclude" else METHODS[method]


def price(cost: float | None, before: float | None, after: float | None) -> str:
    """What a method costs, as a part of a sentence.

    Args:
        cost: clean accuracy that is lost; less than 0 where it is gained.
        before: accuracy in the target class without the method, `after` with it.
    """
    if known(cost) is None:
        overall = f"the price in clean accuracy was {UNMEASURED}"
    else:
        points = f"{abs(100 * cost):.{0 if abs(cost) >= 0.0095 else 1}f}"
        kind = f"{'point' if points == '1' else 'points'} of clean accuracy"
        overall = f"the price is {points} {kind}" if cost >= 0 else f"it gains {points} {kind}"
    if known(before) is None or known(after) is None:
        return f"{overall}; the target class was {UNMEASURED}"
    if percent(before) == percent(after):
        return f"{overall}, and the target class stays at {percent(after)}"
    way = "falls" if after < before else "rises"
    return f"{overall}, and the target class {way} from {percent(before)} to {percent(after)}"


def count(number: int, noun: str) -> str:
    """A number with its noun, `1 run` or `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def over(seeds: int, most: int | None = None) -> str:
    """The last sentence of a finding: over how many seeds it is, or from how many to how many."""
    if most is not None and most > seeds:
        return f"n = {seeds} to {most} seeds."
    return "n = 1 seed: a demonstration, not a measurement." if seeds == 1 else f"n = {seeds} seeds."


def upper(text: str) -> str:
    """The text with a capital letter in front."""
    return text[:1].upper() + text[1:]


def numbers_of(frame: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """The frame with metrics as numbers, whatever type missing ones gave them, and a row's number for each row."""
    frame = frame.reset_index(drop=True)
    return frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in metrics})
