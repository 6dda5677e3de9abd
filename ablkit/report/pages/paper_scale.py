"""The runs at the paper's scale: what ABL does there, and why where it fails."""

from __future__ import annotations

import pandas as pd

from ablkit.defenses import METHODS
from ablkit.report import charts, costs
from ablkit.report.collect import Collection, Scale, measured
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.exclusion import of_earlier_rule
from ablkit.report.findings.isolators import SCORES as NAMES
from ablkit.report.findings.words import DEAR, PRESENT, count
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code, link, listed
from ablkit.report.pages import first_looks, missing
from ablkit.report.text import percent
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
    blocks += [*first_looks.blocks(c), *_limits(c)]
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
