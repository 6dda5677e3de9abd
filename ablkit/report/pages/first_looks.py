"""What `exclude` leaves out at the paper's scale, as far as is known: runs that did not end, and verdicts by losses."""

from __future__ import annotations

import pandas as pd

from ablkit.report import data
from ablkit.report.collect import Collection
from ablkit.report.figures import TITLES
from ablkit.report.findings.isolators import SCORES
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Heading, Table, Text, code, link, listed
from ablkit.report.text import number
from ablkit.report.verdicts import over_seeds

_SHARES = {
    "isolation_precision": "of the excluded, poisoned, %",
    "isolation_recall": "of the poison, excluded, %",
}
"""What is measured of verdicts by losses alone -> its title."""


def blocks(c: Collection) -> list[Block]:
    """Both, each where its numbers are committed."""
    return [*_unfinished(c), *_suspects(c)]


def _unfinished(c: Collection) -> list[Block]:
    """Runs of `exclude` that the clock stopped: what they left out, and how far they came."""
    table = data.table(c.folder / "gpu-unfinished.csv")
    rows = [
        (
            TITLES[run["attack"]] if run["poison_rate"] else "no poison",
            str(run["seed"]),
            f"{run['poisoned_images']:,}",
            f"{run['left_out_images']:,}",
            number(run["separation"], "{:.1f}"),
            str(run["epochs"]),
            *(f"{100 * run[name]:.1f}" for name in ("clean_accuracy", "attack_success_rate")),
        )
        for _, run in table.iterrows()
    ]
    if not rows:
        return []
    poisoned = table[table["poison_rate"] > 0]
    found, missed = (poisoned[poisoned["left_out_images"].gt(0) == is_found] for is_found in (True, False))
    unseen = listed([f"{TITLES[run['attack']]}, seed {run['seed']}" for _, run in missed.iterrows()])
    text = (
        f"**None of these {count(len(table), 'run')} is a result.** The end of the time stopped {code('exclude')} (rule"
        f" {listed(sorted(set(table['rule'].astype(str))))}) {table['epochs'].min()} to {table['epochs'].max()} epochs"
        f" into its training of 80, before its second look. In {len(found)} of {len(poisoned)} poisoned sets the first"
        f" look left out {found['left_out_images'].sum():,} images, where {found['poisoned_images'].sum():,} are"
        f" poisoned{f'; it saw nothing in {unseen}' if unseen else ''}. The lines that a run prints do not say which"
        f" images.{_same_losses(c, table)}"
    )
    columns = ("attack", "seed", "poisoned images", "left out after phase 1", "separation", "epochs of 80")
    columns += ("clean accuracy, %", "attack success, %")
    where = sorted(set(zip(table["hardware"], table["date"], strict=True)))
    note = (
        "The last two on 1,000 test images after the last whole epoch; until epoch 60 the learning rate is 0.1, and"
        f" accuracy swings. {'; '.join(map(', '.join, where))}."
        f" {link('gpu-unfinished.csv', 'data/gpu-unfinished.csv')} and"
        f" {link('gpu-unfinished-epochs.csv', 'data/gpu-unfinished-epochs.csv')}: what the runs of"
        f" {code(table['measured_by'].iloc[0])} printed."
    )
    return [
        Heading("What the first look leaves out: runs that did not end"),
        Text(text),
        Table(columns, rows, note=note),
    ]


def _same_losses(c: Collection, table: pd.DataFrame) -> str:
    """Whether BadNets and Blend of a seed, which poison the same images, trained on the same rest; or nothing."""
    epochs = data.table(c.folder / "gpu-unfinished-epochs.csv")
    if epochs.empty:
        return ""
    own = epochs.merge(table[["key", "attack", "seed"]][table["poison_rate"] > 0], on="key")
    losses = own.pivot(index=["seed", "epoch"], columns="attack", values="loss")
    if not {"badnets", "blend"} <= set(losses):
        return ""
    both = losses[["badnets", "blend"]].dropna()
    same = int((both["badnets"] == both["blend"]).sum())
    told = (
        f" BadNets and Blend poison the same images of a seed; without what was left out, the printed losses of the two"
        f" are the same after {same} of {count(len(both), 'epoch')} that both have"
    )
    alike = ", so the same images were left out of both" if same == len(both) else ""
    return f"{told}{alike}."


def _suspects(c: Collection) -> list[Block]:
    """For each attack and score: after how many epochs losses alone named a class, and how much of the poison."""
    table = data.table(c.folder / "suspects.csv", classes=str)
    table = table[table["key"].isin(c.runs["key"])] if len(table) else table
    rows = []
    for (attack, score), own in table.groupby(["attack", "score"], sort=False) if len(table) else ():
        judged = own[own["classes"].fillna("") != ""]
        wrong = judged[judged["classes"] != judged["target"].astype(str)]
        ended = judged[judged["epoch"] == own["epoch"].max()]
        # Epochs of one training are no independent numbers: each seed counts once.
        by_seed = judged.astype(dict.fromkeys(_SHARES, float)).groupby("seed")[list(_SHARES)].mean()
        shares = [over_seeds(by_seed[name]) for name in _SHARES]
        rows.append(
            (
                f"{TITLES[attack]}, {SCORES[score]}",
                f"{len(judged)} of {len(own)}",
                f"{len(ended)} of {own['seed'].nunique()}",
                str(len(wrong)),
                *shares,
            )
        )
    if not rows:
        return []
    columns = (
        "attack, score",
        "epochs with a verdict",
        "seeds with a verdict at the turning epoch",
        "verdicts on a clean class",
        *_SHARES.values(),
    )
    note = (
        "Shares: the mean over a seed's epochs with a verdict, then over seeds; below it the lowest and highest seed."
        " The scores that the ABL runs kept after each epoch, judged by their losses alone, as the first version of"
        f" {code('exclude')} did: one of the things that were tried and dropped. Features were not kept, so what a rule"
        f" that judges by them would say is not known. Numbers: {link('suspects.csv', 'data/suspects.csv')}, made by"
        f" {code('benchmarks/gpu/suspects.py')} of commit 50e1145."
    )
    return [Heading("What losses alone would have left out"), Table(columns, sorted(rows), note=note)]
