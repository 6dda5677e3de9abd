"""What the data say to a hypothesis: `Holds.`, `Holds in part.`, `Fails.` or `Cannot be said.`, with the numbers.

Each function takes metrics or a frame and returns Markdown. A metric that is None or nan was not measured.
"""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.defenses import METHODS
from ablkit.report.findings.architectures import of_architectures
from ablkit.report.findings.arms import ARM_TITLES, of_arms
from ablkit.report.findings.cases import of_cases
from ablkit.report.findings.exclusion import of_exclusion
from ablkit.report.findings.isolators import of_isolators
from ablkit.report.findings.methods import of_methods
from ablkit.report.findings.words import (
    CHEAP,
    DEAR,
    FAILS,
    FASTER,
    GONE,
    HOLDS,
    IN_PART,
    MATTERS,
    MOST,
    PRECISE,
    PRESENT,
    RELIABLE,
    UNKNOWN,
    UNMEASURED,
    count,
    known,
    limit,
    name_of,
    over,
    percent,
    price,
    removed,
    upper,
)

__all__ = [
    "ARM_TITLES",
    "CHEAP",
    "DEAR",
    "FASTER",
    "GONE",
    "MATTERS",
    "MOST",
    "PRECISE",
    "PRESENT",
    "RELIABLE",
    "of_architectures",
    "of_arms",
    "of_attacks",
    "of_cases",
    "of_exclusion",
    "of_gap",
    "of_isolators",
    "of_methods",
    "of_run",
    "of_twins",
]


_PRICED = ("clean_accuracy", "target_class_accuracy")
"""Where a method costs something."""


def of_run(metrics: dict, method: str) -> str:
    """Whether one run has the backdoor that its method should remove (or, undefended, should have), and the price.

    ABL is held against its model before the unlearning, another defence against the model that it was given. Where no
    image is poisoned there is no backdoor to judge: the sentence says what a method takes from clean data.

    Args:
        metrics: what `summary.of_run` gives.
    """
    if metrics.get("poisoned_images") == 0:
        return _on_clean_data(metrics, method)
    title, success = name_of(method), known(metrics.get("attack_success_rate"))
    if success is None:
        return f"{UNKNOWN} The attack success rate was {UNMEASURED}. {over(1)}"
    accuracy, target = (known(metrics.get(name)) for name in ("clean_accuracy", "target_class_accuracy"))
    rate = f"attack success rate of {percent(success)}"
    have = f"Clean accuracy is {percent(accuracy)}, in the target class {percent(target)}."
    if method == "none":
        word = HOLDS if success >= PRESENT else IN_PART if success > GONE else FAILS
        return f"{word} The undefended model has an {rate}. {have} {over(1)}"
    if method == "oracle":
        word = HOLDS if success <= GONE else FAILS
        return f"{word} {upper(title)}, the model has an {rate}. {have} {over(1)}"
    suffix = "_finetuned" if known(metrics.get("attack_success_rate_finetuned")) is not None else "_before"
    before, *base = (known(metrics.get(name + suffix)) for name in ("attack_success_rate", *_PRICED))
    step = "ABL's unlearning" if method == "abl" and suffix == "_finetuned" else title
    if before is None or before < PRESENT:
        below = "" if before is None else f", below the {limit(PRESENT)} from which a backdoor counts as present"
        told = f"Before {step} the attack success rate was {percent(before)}{below}; after it, {percent(success)}."
        return f"{UNKNOWN} {told} {have} {over(1)}"
    told = f"{upper(step)} takes the attack success rate from {percent(before)} to {percent(success)}"
    if suffix == "_before":  # a model after a few epochs: its accuracy is nothing to be held against
        costs = [None, None]
        paid = f"{have} What that costs only an undefended run of the same seed can say."
        return f"{removed([success <= GONE], *costs)} {told}. {paid} {over(1)}"
    costs = [None if None in pair else pair[0] - pair[1] for pair in zip(base, (accuracy, target), strict=True)]
    return f"{removed([success <= GONE], *costs)} {told}; {price(costs[0], base[1], target)}. {over(1)}"


def _on_clean_data(metrics: dict, method: str) -> str:
    """What one run on a training set without poison has, and how many images its method took for poisoned."""
    whole = metrics.get("training_images")
    kinds = (("isolated_images", "isolated"), ("method_excluded_images", "excluded"))
    counted = {word: known(metrics.get(name)) for name, word in kinds}
    if method == "exclude":  # its isolated images are only followed, and stay in the training
        counted["isolated"] = None
    told = [
        f"{number:.0f} of {whole} clean images ({percent(number / whole)}) {'was' if number == 1 else 'were'} {word}."
        for word, number in counted.items()
        if number is not None
    ]
    success, accuracy, target = (known(metrics.get(name)) for name in ("attack_success_rate", *_PRICED))
    told.append(f"Clean accuracy is {percent(accuracy)}, in the target class {percent(target)}.")
    base = [known(metrics.get(f"{name}_finetuned")) for name in _PRICED]
    if None not in (*base, accuracy, target):
        step = "ABL's unlearning" if method == "abl" else name_of(method)
        told.append(f"{upper(step)}: {price(base[0] - accuracy, base[1], target)}.")
    taken = f"the model takes {percent(success)} of triggered images for the target"
    judged = f"{UNKNOWN} No image is poisoned, so there is no backdoor to judge: {taken}."
    return " ".join([judged, *told, over(1)])


def of_gap(frame: pd.DataFrame) -> str:
    """Whether poisoned images are learned faster, at the turning epoch, so that the lowest losses are theirs.

    Args:
        frame: columns `method`, `epoch`, `clean_loss`, `poisoned_loss`, `isolation_precision`, and perhaps `attack` and
            `seed`; see `comparisons.loss_gaps`.
    """
    losses = ["clean_loss", "poisoned_loss", "isolation_precision"]
    frame = _numbers(frame, *losses)
    frame = frame.assign(seed=frame.get("seed", 0), attack=frame.get("attack", ""))
    ends = frame.sort_values("epoch").groupby(["attack", "method", "seed"], sort=False).tail(1).dropna(subset=losses)
    if ends.empty:
        return f"{UNKNOWN} The losses were not measured."
    faster = ends["poisoned_loss"] <= FASTER * ends["clean_loss"]
    precise = ends["isolation_precision"] >= PRECISE
    both = faster & precise
    word = HOLDS if both.all() else FAILS if not (faster | precise).any() else IN_PART
    ratio = ends["poisoned_loss"] / ends["clean_loss"]
    nearest = ends.loc[ratio.idxmax()] if ratio.notna().all() else ends.iloc[0]
    several = ends["attack"].nunique() > 1
    where = f", {ATTACKS[nearest['attack']].title}" if several else ""
    among = f"{where}, of {len(ends)} the one whose losses lie nearest" if len(ends) > 1 else ""
    shares = " to ".join(dict.fromkeys(percent(getattr(ends["isolation_precision"], end)()) for end in ("min", "max")))
    counted = f" Both is so in {int(both.sum())} of {count(len(ends), 'first phase')}." if several else ""
    told = (
        f"{word} At the turning epoch (epoch {nearest['epoch']}) poisoned images have a mean loss of"
        f" {_loss(nearest['poisoned_loss'])} and clean ones of {_loss(nearest['clean_loss'])}"
        f" ({_first_phase(nearest['method'])}{among}); {shares} of the isolated images are poisoned.{counted}"
    )
    return " ".join(filter(None, (told, _ascent(frame), over(ends["seed"].nunique()))))


def _first_phase(method: str) -> str:
    return {"none": "plain training", "abl": "local gradient ascent"}.get(method, METHODS[method])


def _ascent(frame: pd.DataFrame) -> str:
    """Whether the isolation loss of ABL makes any difference to plain training; empty where one of them is missing."""
    both = frame.pivot_table(index=["attack", "seed", "epoch"], columns="method", values="clean_loss")
    if not {"none", "abl"} <= set(both):
        return ""
    if (both["abl"] - both["none"]).abs().max() < 1e-9:
        return "Local gradient ascent changes nothing here: both first phases are the same."
    last = both.dropna(subset=["none", "abl"]).groupby(level=["attack", "seed"]).tail(1)
    if last.empty:
        return ""
    ends = f"{_loss(last['abl'].mean())} with local gradient ascent, {_loss(last['none'].mean())} without"
    return f"Clean images end at a mean loss of {ends}."


def _loss(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.1g}"


def of_attacks(frame: pd.DataFrame) -> str:
    """Whether every attack gives an undefended model its backdoor.

    Args:
        frame: undefended runs with the columns `attack`, `seed`, `attack_success_rate`, `clean_accuracy`.
    """
    frame = _numbers(frame, "attack_success_rate", "clean_accuracy")
    measured = frame.dropna(subset="attack_success_rate")
    if measured.empty:
        return f"{UNKNOWN} The attack success rate was not measured."
    works = measured["attack_success_rate"] >= PRESENT
    every = works.groupby(measured["attack"], sort=False).all()
    word = HOLDS if every.all() and len(measured) == len(frame) else IN_PART if works.any() else FAILS
    worst = measured.loc[measured["attack_success_rate"].idxmin()]
    where = f"{ATTACKS[worst['attack']].title}, seed {worst['seed']}"
    accuracy = measured.groupby("attack", sort=False)["clean_accuracy"].mean().dropna()
    kept = f"Clean accuracy was {UNMEASURED}."
    if len(accuracy):
        low, high = ((ATTACKS[end].title, percent(accuracy[end])) for end in (accuracy.idxmin(), accuracy.idxmax()))
        kept = f"Mean clean accuracy is {low[1]} with {low[0]}"
        kept += f" to {high[1]} with {high[0]}." if len(accuracy) > 1 else "."
    seeds = measured.groupby("attack")["seed"].nunique()
    missing = len(frame) - len(measured)
    unknown = f" Of {count(missing, 'run')} it was {UNMEASURED}." if missing else ""
    return (
        f"{word} Attack success is at least {limit(PRESENT)} on every seed for {int(every.sum())} of"
        f" {count(len(every), 'attack')}; the lowest is {percent(worst['attack_success_rate'])} ({where})."
        f" {kept}{unknown} {over(int(seeds.min()), int(seeds.max()))}"
    )


def of_twins(frame: pd.DataFrame) -> str:
    """Whether attacks work because of their idea: with it switched off, their success falls.

    Args:
        frame: undefended runs with the columns `attack`, `attack_settings` (empty for the attack itself), `seed`,
            `attack_success_rate`.
    """
    frame = _numbers(frame, "attack_success_rate").dropna(subset="attack_success_rate")
    pairs = frame.assign(kind=(frame["attack_settings"].fillna("") != "").map({True: "off", False: "on"})).pivot_table(
        index=["attack", "seed"], columns="kind", values="attack_success_rate", sort=False
    )
    pairs = pairs.reindex(columns=["on", "off"]).dropna()
    if pairs.empty:
        return f"{UNKNOWN} No attack was measured both with its idea and without it."
    means = pairs.groupby(level="attack", sort=False).mean()
    fall = means["on"] - means["off"]
    matters = fall >= MATTERS
    word = HOLDS if matters.all() else IN_PART if matters.any() else FAILS
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
    return " ".join([*parts, over(len(pairs.index.unique("seed")))])


def _numbers(frame: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    """The frame with metrics as numbers, whatever type missing ones gave them, and a row's number for each row."""
    frame = frame.reset_index(drop=True)
    return frame.assign(**{name: pd.to_numeric(frame[name], errors="coerce") for name in metrics})
