"""Which score isolation should rank on, whether it depends on luck, and what the loss of phase 1 adds."""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report.findings.words import (
    FAILS,
    HOLDS,
    IN_PART,
    PRECISE,
    RELIABLE,
    UNKNOWN,
    count,
    limit,
    over,
    percent,
)
from ablkit.report.page import listed

SCORES = {
    "loss": "loss (the paper)",
    "fresh_statistics": "fresh statistics",
    "averaged": "averaged weights",
    "median": "median over epochs",
    "last_three": "last three epochs",
    "class_first": "class first",
}
"""Isolation score -> its name."""
SETTLED = 3
"""Epoch from which on scores are compared: before it no model has learned a backdoor."""
_RUN = ["attack", "seed"]


def loss_title(name: str) -> str:
    """What a loss of phase 1 is called: `plain training`, `flooding, gamma 0.5`, `LGA per image, gamma 0.5`."""
    kind, _, rest = name.partition("-")
    gamma, _, per_sample = rest.partition("-")
    if kind == "plain":
        return "plain training"
    return f"{'LGA' if kind == 'lga' else kind}{' per image' * bool(per_sample)}, gamma {gamma}"


def settled(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows from epoch SETTLED on, or those of the last epoch where there is none."""
    return frame[frame["epoch"] >= min(SETTLED, frame["epoch"].max())]


def of_isolators(frame: pd.DataFrame) -> str:
    """Whether ranking by the loss isolates the poison after every epoch, and what the other scores and losses change.

    Args:
        frame: columns `attack`, `loss`, `seed`, `epoch`, `score`, `precision`; see `comparisons.isolators`. Scores are
            compared under the loss of its first row.
    """
    frame = settled(frame.assign(precision=frame["precision"].astype(float)).dropna(subset="precision"))
    if frame.empty or "loss" not in set(frame["score"]):
        return f"{UNKNOWN} No run has kept its scores."
    own = frame[frame["loss"] == frame["loss"].iloc[0]]
    wide = own.pivot_table(index=[*_RUN, "epoch"], columns="score", values="precision", sort=False)
    names = [name for name in SCORES if name in wide]
    always, luck = _always(wide), _luck(wide)
    word = HOLDS if always["loss"].all() else IN_PART if always["loss"].any() else FAILS
    epochs = wide.index.unique("epoch")
    first, last = epochs.min(), epochs.max()
    span = f"after epoch {last}" if first == last else f"after each epoch from {first} to {last}"
    told = (
        f"{word} Ranked by the loss, what is isolated is at least {limit(RELIABLE)} poisoned {span} in"
        f" {int(always['loss'].sum())} of {count(len(always), 'run')} ({loss_title(own['loss'].iloc[0])},"
        f" {count(own['attack'].nunique(), 'attack')})."
    )
    if first != last:
        told += f" In {int(luck['loss'].sum())} it is luck: that much after one epoch, less than {limit(PRECISE)} after"
        told += " another."
    told += _as_plain(frame)
    lucky = luck if first != last else None
    lines = [f"- {_line(name, wide, always, lucky)}" for name in names if name != "loss"]
    seeds = own.groupby("attack")["seed"].nunique()
    none = [
        f"{ATTACKS[name].title} ({count(int(seeds[name]), 'seed')})"
        for name, part in always.groupby(level="attack", sort=False)
        if not part.any(axis=None)
    ]
    if none:
        lines.append(f"- By no score, on no seed: {', '.join(none)}.")
    return "\n".join([f"{told} {over(int(seeds.min()), int(seeds.max()))}", "", *lines, *_of_losses(frame)])


def at_the_end(frame: pd.DataFrame, least: float) -> str:
    """With how many attacks each score isolates so precisely on every seed, after the last epoch; and who fails by all.

    Args:
        frame: see `of_isolators`, of one loss of phase 1.
        least: share of the isolated images that is poisoned.
    """
    last = frame[frame["epoch"] == frame["epoch"].max()]
    lowest = last.assign(precision=last["precision"].astype(float)).pivot_table(
        index="attack", columns="score", values="precision", aggfunc="min", sort=False
    )
    good = lowest >= least
    told = [f"{SCORES[name]} {int(good[name].sum())}" for name in SCORES if name in good]
    never = [
        f"{ATTACKS[name].title} ({_at_best(last, lowest.loc[name], name)})" for name in good.index[~good.any(axis=1)]
    ]
    return (
        f"After epoch {frame['epoch'].max()}, where ABL isolates, at least {limit(least)} of what is isolated is"
        f" poisoned on every seed with so many of {count(len(good), 'attack')}: {listed(told)}."
        + (f" By no score: {listed(never)}." if never else "")
    )


def _at_best(last: pd.DataFrame, lowest: pd.Series, attack: str) -> str:
    """Of an attack that no score isolates on every seed: how near the best one comes, and how well its poison ranks."""
    best = lowest.idxmax()
    none = f"{limit(0.0)} on the worst seed, by all"
    told = f"at best {percent(lowest[best])} on the worst seed, by {SCORES[best]}" if lowest[best] else none
    own = last[(last["attack"] == attack) & (last["score"] == "averaged")]
    if "auroc" not in own or own["auroc"].isna().all():
        return told
    return f"{told}; AUROC by {SCORES['averaged']} {own['auroc'].astype(float).mean():.2f}"


def _always(wide: pd.DataFrame) -> pd.DataFrame:
    """Of each run and score, whether what is isolated is reliably poisoned after every epoch."""
    return (wide >= RELIABLE).groupby(level=_RUN, sort=False).all()


def _luck(wide: pd.DataFrame) -> pd.DataFrame:
    """Of each run and score, whether it is reliable after one epoch and fails after another."""
    ends = wide.groupby(level=_RUN, sort=False)
    return (ends.max() >= RELIABLE) & (ends.min() < PRECISE)


def _line(name: str, wide: pd.DataFrame, always: pd.DataFrame, luck: pd.DataFrame | None) -> str:
    """What one score does, beside the loss; `luck` is None after a single epoch, which shows none."""
    good = wide >= RELIABLE
    gained, lost = (int((good[one] & ~good[other]).sum()) for one, other in ((name, "loss"), ("loss", name)))
    lucky = "" if luck is None else f", luck in {int(luck[name].sum())}"
    return (
        f"{SCORES[name]}: {int(always[name].sum())} of {count(len(always), 'run')}{lucky}."
        f" It is reliable after {gained} of {count(len(wide), 'epoch')} where the loss is not, and the other way round"
        f" after {lost}; {_at_worst(name, wide)}."
    )


def _at_worst(name: str, wide: pd.DataFrame) -> str:
    """The lowest precision of a score, and where: the epoch, or how many have it, beside those of the loss."""
    worst = wide[name].min()
    lowest = wide.index[wide[name] == worst]
    if len(lowest) == 1:
        attack, seed, epoch = lowest[0]
        return f"at worst {percent(worst)} ({ATTACKS[attack].title}, seed {seed}, epoch {epoch})"
    by_loss = wide.index[wide["loss"] <= worst]
    told = f"at worst {percent(worst)}, after {count(len(lowest), 'epoch')} ({_titles(lowest)})"
    return f"{told}; so low by the loss after {len(by_loss)}{f' ({_titles(by_loss)})' if len(by_loss) else ''}"


def _titles(index: pd.MultiIndex) -> str:
    """The attacks of rows of runs and epochs, in words."""
    return listed([ATTACKS[name].title for name in index.unique("attack")])


def _as_plain(frame: pd.DataFrame) -> str:
    """On how many runs the first loss isolates the very same as plain training, epoch by epoch; empty without those."""
    loss = frame["loss"].iloc[0]
    wide = frame.pivot_table(index=[*_RUN, "epoch", "score"], columns="loss", values="precision", sort=False)
    if loss == "plain" or "plain" not in wide or (both := wide[[loss, "plain"]].dropna()).empty:
        return ""
    same = (both[loss] == both["plain"]).groupby(level=_RUN, sort=False).all()
    return (
        f" {loss_title(loss)}, isolates the very same as plain training, by every score, on {int(same.sum())} of"
        f" {count(len(same), 'run')} ({_titles(both.index)})."
    )


def _of_losses(frame: pd.DataFrame) -> list[str]:
    """What each loss of phase 1 gives under the loss and under averaged weights, on what all of them were run on."""
    wide = frame.pivot_table(index=[*_RUN, "epoch"], columns=["score", "loss"], values="precision", sort=False)
    shown = [name for name in ("loss", "averaged") if name in wide]
    losses = list(dict.fromkeys(frame["loss"]))
    both = wide[shown].dropna()
    if len(losses) < 2 or both.empty:
        return []
    good = both >= RELIABLE
    runs = len(both.groupby(level=_RUN))
    head = (
        f"Losses of phase 1, on {count(runs, 'run')} of each: epochs after which at least {limit(RELIABLE)} is poisoned"
    )
    lines = ["", f"{head}, of {len(both)}:", ""]
    for loss in losses:
        found = [f"{int(good[score, loss].sum())} by {_BY[score]}" for score in shown]
        lines.append(f"- {loss_title(loss)}: {', '.join(found)}.")
    if "plain" in losses:
        best = {score: max((n for n in losses if n != "plain"), key=lambda n: good[score, n].mean()) for score in shown}
        gains = [
            f"{100 * (good[score, loss].mean() - good[score, 'plain'].mean()):+.0f} points by {_BY[score]}"
            f" ({loss_title(loss)})"
            for score, loss in best.items()
        ]
        lines.append(f"- The best of them against plain training: {', '.join(gains)}.")
    return lines


_BY = {"loss": "the loss", "averaged": "averaged weights"}
