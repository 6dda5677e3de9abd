"""The runs at the paper's scale: what ABL does there, and why where it fails."""

from __future__ import annotations

import pandas as pd

from ablkit.defenses import METHODS
from ablkit.report import charts, costs, data
from ablkit.report.collect import Collection, Scale, measured
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.exclusion import of_earlier_rule
from ablkit.report.findings.isolators import SCORES as NAMES
from ablkit.report.findings.words import DEAR, PRESENT, count
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code, link, listed
from ablkit.report.pages import missing
from ablkit.report.text import number, percent
from ablkit.report.verdicts import INTERVAL, LOW, over_seeds

_RAW, _AVERAGED = NAMES["loss"], NAMES["averaged"]
SCORES = {"": _RAW, "_fresh_statistics": NAMES["fresh_statistics"], "_averaged": _AVERAGED}
"""Suffix of the metrics of an isolation score -> its name."""
_METRICS = ("attack_success_rate", "clean_accuracy_non_target", "clean_accuracy", "target_class_accuracy")


def page(c: Collection) -> Page:
    """All runs at the paper's scale."""
    title, name = "At the paper's scale", "paper-scale.html"
    if not c.full:
        blocks = missing.not_run(c, "anything at the paper's scale", ["ablkit sweep notebooks/sweeps/paper_gpu.yaml"])
        return Page(name, title, "No run has the paper's size yet.", blocks, "Paper's scale")
    blocks: list[Block] = []
    for scale in c.full:
        epochs = _epochs(c, scale)
        blocks += [Heading(scale.title), _table(scale), *_isolation(scale, epochs)]
    blocks += [*_unfinished(c), *_suspects(c), *_limits(c)]
    findings = [_finding(scale, _epochs(c, scale)) for scale in c.full]
    return Page(name, title, " ".join(findings), blocks, "Paper's scale")


def _finding(scale: Scale, epochs: pd.DataFrame) -> str:
    """What ABL does at this scale, and what its isolation does, each with its numbers."""
    own = scale.of("abl").dropna(subset=["attack_success_rate", "clean_accuracy"])
    undefended = scale.of("none")["clean_accuracy"].dropna()
    bare = f"undefended training has {percent(undefended.mean())} clean accuracy" if len(undefended) else ""
    if own.empty:
        return f"No ABL run has the paper's size yet{'; ' + bare if bare else ''}."
    parts = []
    for name, part in own.groupby("attack", sort=False):
        gone = part["attack_success_rate"] <= GONE
        told = [f"{percent(part['clean_accuracy'][gone].mean())} clean accuracy left there"] if gone.any() else []
        if gone.any() and undefended.mean() - part["clean_accuracy"][gone].mean() >= DEAR:
            told[0] += ", too little to count"
        if (before := part.get("attack_success_rate_finetuned", pd.Series(dtype=float)).mean()) < PRESENT:
            told.append(f"{percent(before)} attack success before unlearning")
        kept = f" ({'; '.join(told)})" if told else ""
        parts.append(f"{TITLES[name]} on {gone.sum()} of {count(len(part), 'seed')}{kept}")
    text = f"ABL removes the backdoor of {listed(parts)}{'; ' + bare if bare else ''}.{_excluded(scale)}"
    later = epochs[epochs["epoch"] > 1] if len(epochs) else epochs
    if later.empty:
        return text
    worst = max(dict.fromkeys(later["attack"]), key=lambda name: later.loc[later["attack"] == name, _RAW].std())
    swings = later[later["attack"] == worst]
    low = [int((swings[score] < LOW).sum()) for score in (_RAW, _AVERAGED)]
    seeds = count(swings["seed"].nunique(), "seed")
    return (
        f"{text} With {TITLES[worst]} less than {percent(LOW, 0)} of what would be isolated is poisoned after {low[0]}"
        f" of {len(swings)} epochs ({seeds}), and after {low[1]} of them where averaged weights rank the images."
    )


def _excluded(scale: Scale) -> str:
    """What training without the suspects leaves at this scale; its first version is named as such."""
    told, runs = [], scale.of("exclude")
    for is_first, own in runs.groupby(_is_first_version(runs), sort=False):
        left = [
            f"{percent(part.mean())} on {TITLES[name]}" for name, part in own.groupby("attack")["attack_success_rate"]
        ]
        which = ", in a first version that judged by the losses alone," if is_first else ""
        told.append(f" Training without the suspects{which} leaves {listed(left)} ({count(len(own), 'run')}).")
    return "".join(told)


def _is_first_version(runs: pd.DataFrame) -> pd.Series:
    """Which runs of `exclude` measured no separation of groups."""
    known = runs.get("method_largest_separation")
    return pd.Series(True, runs.index) if known is None else known.isna()


def _table(scale: Scale) -> Table:
    rows = []
    for (attack, method), own in scale.runs.groupby(["attack", "method"], sort=False):
        missed = method != "none" and own["attack_success_rate"].mean() > GONE
        cells = [over_seeds(own[m], bad=missed and m == "attack_success_rate") for m in _METRICS]
        precision = own["isolation_precision"] if method == "abl" else []
        minutes = costs.minutes(own)
        first = ", first version" if method == "exclude" and _is_first_version(own).all() else ""
        rows.append(
            (
                f"{TITLES[attack]}, {METHODS[method]}{first}",
                *cells,
                over_seeds(precision, digits=0),
                f"{minutes.median():.1f}",
                str(len(own)),
            )
        )
    columns = (
        "run",
        "attack success, %",
        "other classes, %",
        "clean accuracy, %",
        "target class, %",
        "isolation precision, %",
        "minutes",
        "n",
    )
    alone = " A row with n = 1 is a demonstration, not a measurement." if any(row[-1] == "1" for row in rows) else ""
    note = f"{INTERVAL}{alone} Minutes of a run's process, beside all others. {measured(scale.runs)}"
    note += f" Verdicts: {link('Table 1', 'table1.html')}."
    if "exclude" in set(scale.runs["method"]):
        note += (
            f" {code('exclude')} is a method of this kit's own: it leaves out the images that show to be poisoned"
            f" and trains fresh weights on the rest. {of_earlier_rule(scale.runs)}".rstrip()
        )
    return Table(columns, rows, note=note)


def _epochs(c: Collection, scale: Scale) -> pd.DataFrame:
    """Isolation precision after each epoch of phase 1: attack, seed, epoch, and a column for each score."""
    parts = [pd.DataFrame()]
    for _, run in scale.of("abl").iterrows():
        history = c.history(run)
        first = history[history["stage"] == "isolate"]
        if all(f"isolation_precision{suffix}" in first for suffix in SCORES):
            found = {name: first[f"isolation_precision{suffix}"] for suffix, name in SCORES.items()}
            parts.append(first[["epoch"]].assign(attack=run["attack"], seed=run["seed"], **found))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def _isolation(scale: Scale, epochs: pd.DataFrame) -> list[Block]:
    """Isolation precision by epoch for each score, where the runs kept them."""
    if epochs.empty:
        return []
    rows = []
    later, last = epochs[epochs["epoch"] > 1], epochs[epochs["epoch"] == epochs["epoch"].max()]
    for attack in dict.fromkeys(epochs["attack"]):
        for name in SCORES.values():
            values = later.loc[later["attack"] == attack, name]
            cells = (over_seeds(last.loc[last["attack"] == attack, name]), Cell(f"{100 * values.mean():.1f}"))
            low = f"{int((values < LOW).sum())} of {len(values)}"
            rows.append((f"{TITLES[attack]}, {name}", *cells, f"{100 * values.min():.1f}", low))
    columns = ("attack, score", "at the turning epoch, %", "mean from epoch 2 on, %", "lowest, %", "epochs below 50 %")
    caption = (
        "**The same trainings, ranked three ways.** Share of poisoned images among the 1 % that would be isolated"
        " after each epoch of phase 1; a line a seed. Above: the loss under the last weights, as in the paper. Middle:"
        " the same weights with batch norm statistics computed afresh. Below: averaged weights, statistics afresh."
    )
    drawn = charts.later(charts.isolation_scores, epochs, list(SCORES.values()))
    alt = "Isolation precision after each epoch, for three scores, by attack"
    name = f"isolation-scores-{scale.preset}"
    return [
        Heading("What ABL isolates"),
        Figure(name, drawn, alt, caption),
        Table(columns, rows),
    ]


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
        f"**None of these {count(len(table), 'run')} is a result.** The end of the time stopped today's"
        f" {code('exclude')} {table['epochs'].min()} to {table['epochs'].max()} epochs into its training of 80, before"
        f" its second look. In {len(found)} of {len(poisoned)} poisoned sets the first look left out"
        f" {found['left_out_images'].sum():,} images, where {found['poisoned_images'].sum():,} are poisoned"
        f"{f'; it saw nothing in {unseen}' if unseen else ''}. The lines that a run prints do not say which images."
        f"{_same_losses(c, table)}"
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
    return [Heading("What today's rule leaves out: runs that did not end"), Text(text), Table(columns, rows, note=note)]


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
        shares = [over_seeds(judged[name].astype(float)) for name in ("isolation_precision", "isolation_recall")]
        rows.append(
            (
                f"{TITLES[attack]}, {SCORES['_' + score]}",
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
        "of the excluded, poisoned, %",
        "of the poison, excluded, %",
    )
    note = (
        "The scores that the ABL runs kept after each epoch, judged by their losses alone, as the first version of"
        f" {code('exclude')} did: one of the things that were tried and dropped. Features were not kept, so what"
        f" today's rule would say is not known. Numbers: {link('suspects.csv', 'data/suspects.csv')}, made by"
        f" {code('benchmarks/gpu/suspects.py')} of commit 50e1145."
    )
    return [Heading("What losses alone would have left out"), Table(columns, sorted(rows), note=note)]


def _limits(c: Collection) -> list[Block]:
    lines = []
    for scale in c.full:
        known = scale.attacks("abl")
        left = [TITLES[name] for name in TITLES if name not in known]
        if left:
            lines.append(f"{len(known)} of {len(TITLES)} attacks; not run: {listed(left)}.")
        weak = scale.of("abl")
        if "attack_success_rate_finetuned" in weak:
            means = weak.groupby("attack", sort=False)["attack_success_rate_finetuned"].mean()
            lines += [
                f"With {TITLES[name]} the attack is weak here: {percent(value)} success before unlearning."
                for name, value in means.items()
                if value < PRESENT
            ]
    return [Heading("Limits"), Text("\n".join(f"- {line}" for line in lines))] if lines else []
