"""Which score isolation should rank on, whether it depends on luck, and what the loss of phase 1 adds."""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.metrics.summary import ISOLATION
from ablkit.report.findings.words import (
    FAILS,
    HOLDS,
    IN_PART,
    PRECISE,
    RELIABLE,
    UNKNOWN,
    count,
    judged,
    limit,
    over,
    percent,
    too_few,
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
_NOTHING = f"{UNKNOWN} No run has kept its scores."


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
    verdict = in_short(frame)
    if verdict == _NOTHING:
        return verdict
    scores, losses = of_scores(frame), of_losses(frame)
    lines = [
        f"- {SCORES[name]}: reliable after {row['epochs']} of {count(row['of_epochs'], 'epoch')}, and after each in"
        f" {row['runs']} of {count(row['of_runs'], 'run')}; luck in {row['luck']}."
        for name, row in scores.iterrows()
    ]
    lines += [
        f"- {loss_title(loss)}: reliable after {row['loss']} of {count(row['of_epochs'], 'epoch')} by the loss, after"
        f" {row['averaged']} by averaged weights."
        for loss, row in losses.iterrows()
    ]
    return "\n".join([verdict, "", *lines])


def in_short(frame: pd.DataFrame) -> str:
    """The verdict on ranking by the loss, in some sentences."""
    frame = _measured(frame)
    if frame.empty or "loss" not in set(frame["score"]):
        return _NOTHING
    own = frame[frame["loss"] == frame["loss"].iloc[0]]
    wide = _wide(own)
    always, luck = _always(wide), _luck(wide)
    seeds = own.groupby("attack")["seed"].nunique().astype(object)  # whole numbers of Python
    word = HOLDS if always["loss"].all() else IN_PART if always["loss"].any() else FAILS
    word = judged(word, seeds.min())
    epochs = wide.index.unique("epoch")
    first, last = epochs.min(), epochs.max()
    span = f"after epoch {last}" if first == last else f"after each epoch from {first} to {last}"
    told = [
        f"{word} Ranked by the loss, what is isolated is at least {limit(RELIABLE)} poisoned {span} in"
        f" {int(always['loss'].sum())} of {count(len(always), 'run')} ({loss_title(own['loss'].iloc[0])},"
        f" {count(own['attack'].nunique(), 'attack')})."
    ]
    if first != last:
        told.append(
            f"In {int(luck['loss'].sum())} it is luck: that much after one epoch, less than {limit(PRECISE)} after"
            " another."
        )
    never = [name for name, part in always.groupby(level="attack", sort=False) if not part.any(axis=None)]
    names = listed([f"{ATTACKS[name].title} ({count(seeds[name], 'seed')})" for name in never])
    told += [_as_plain(frame), f"No score is reliable on any seed with {names}." * bool(never)]
    return " ".join(filter(None, [*told, too_few(seeds.min()), over(seeds.min(), seeds.max())]))


def of_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a score: after how many `epochs` it is reliable, after each in how many `runs`, and in how many by `luck`.

    Args:
        frame: see `of_isolators`.
    """
    frame = _measured(frame)
    wide = _wide(frame[frame["loss"] == frame["loss"].iloc[0]])
    wide = wide[[name for name in SCORES if name in wide]]
    always = _always(wide)
    counts = {"epochs": (wide >= RELIABLE).sum(), "runs": always.sum(), "luck": _luck(wide).sum()}
    return pd.DataFrame(counts).assign(of_epochs=len(wide), of_runs=len(always)).astype(object)  # whole numbers


def of_losses(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a loss of phase 1: after how many epochs it is reliable by the `loss` and by `averaged` weights.

    Counted on what all losses were run on; empty for a single loss.

    Args:
        frame: see `of_isolators`.
    """
    frame = on_all_losses(_measured(frame))
    frame = frame[frame["score"].isin(["loss", "averaged"])]
    good = (frame["precision"] >= RELIABLE).groupby([frame["loss"], frame["score"]], sort=False).sum().unstack("score")
    if len(good) < 2:
        return pd.DataFrame()
    return good.reindex(columns=["loss", "averaged"]).assign(of_epochs=len(frame) // good.size).astype(object)


def on_all_losses(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the attacks and seeds that every loss of phase 1 was run on, and of the epochs that all have."""
    losses = frame.groupby([*_RUN, "epoch"])["loss"].transform("nunique")
    return frame[losses == frame["loss"].nunique()]


def _measured(frame: pd.DataFrame) -> pd.DataFrame:
    return settled(frame.assign(precision=frame["precision"].astype(float)).dropna(subset="precision"))


def _wide(own: pd.DataFrame) -> pd.DataFrame:
    """Precision by run and epoch, a column a score."""
    return own.pivot_table(index=[*_RUN, "epoch"], columns="score", values="precision", sort=False)


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
        + (f" No score reaches that with {listed(never)}." if never else "")
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


def _titles(index: pd.MultiIndex) -> str:
    """The attacks of rows of runs and epochs, in words."""
    return listed([ATTACKS[name].title for name in index.unique("attack")])


def _as_plain(frame: pd.DataFrame) -> str:
    """On how many runs the first loss isolates as plain training does, epoch by epoch; empty without those."""
    loss = frame["loss"].iloc[0]
    rows = frame.melt([*_RUN, "epoch", "score", "loss"], list(ISOLATION), "metric")
    wide = rows.pivot_table(index=[*_RUN, "epoch", "score", "metric"], columns="loss", values="value", sort=False)
    if loss == "plain" or "plain" not in wide or (both := wide[[loss, "plain"]].dropna()).empty:
        return ""
    same = (both[loss] == both["plain"]).groupby(level=_RUN, sort=False).all()
    return (
        f"{loss_title(loss)}, has the same precision and AUROC as plain training, by every score after every epoch, on"
        f" {int(same.sum())} of {count(len(same), 'run')} ({_titles(both.index)})."
    )
