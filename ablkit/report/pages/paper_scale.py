"""The runs at the paper's scale: what ABL does there, and why where it fails."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ablkit.defenses import METHODS
from ablkit.report import charts, costs
from ablkit.report.collect import Collection, Scale, provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.isolators import SCORES as NAMES
from ablkit.report.findings.rule import of_earlier_rule
from ablkit.report.findings.words import PRESENT, count, is_useless, limit, over
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code, link, listed
from ablkit.report.pages import first_looks, missing
from ablkit.report.pages.attack import too_weak
from ablkit.report.text import percent
from ablkit.report.verdicts import INTERVAL, LOW, in_words, over_seeds, percent_number

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
    parts, weak = [], []
    for name, part in own.groupby("attack", sort=False):
        if why := too_weak(scale, name):
            weak.append(f"; {TITLES[name]} is not judged ({why})")
            continue
        gone = part["attack_success_rate"] <= GONE
        kept = ""
        if gone.any():
            accuracy, target = (part[metric][gone].mean() for metric in ("clean_accuracy", "target_class_accuracy"))
            kept = f"{percent(accuracy)} clean accuracy and {percent(target)} in the target class left there"
            lost = undefended.mean() - part["clean_accuracy"][gone]
            if useless := int(is_useless(lost, part["target_class_accuracy"][gone]).sum()):
                kept += f"; {useless} of {count(int(gone.sum()), 'such model')} of no use"
        kept = f" ({kept})" if kept else ""
        parts.append(f"{TITLES[name]} on {gone.sum()} of {count(len(part), 'seed')}{kept}")
    judged = f"ABL leaves at most {limit(GONE)} attack success of {listed(parts)}"
    judged = judged if parts else "ABL is judged on no attack"
    text = f"{judged}{''.join(weak)}{'; ' + bare if bare else ''}.{_excluded(scale)}"
    return f"{text} {_swings(epochs)}".rstrip()


def _swings(epochs: pd.DataFrame) -> str:
    """After how many epochs isolation would have failed, of each attack, by the loss and by averaged weights."""
    later = epochs[epochs["epoch"] > 1] if len(epochs) else epochs
    if later.empty:
        return ""
    told = []
    for attack, own in later.groupby("attack", sort=False):
        low = [int((own[score] < LOW).sum()) for score in (_RAW, _AVERAGED)]
        told.append(f"{TITLES[attack]} {low[0]} and {low[1]} of {len(own)}")
    seeds = over(*later.groupby("attack")["seed"].nunique().agg(["min", "max"]))
    return (
        f"From epoch 2 on, less than {limit(LOW)} of what would be isolated is poisoned after so many epochs, ranked by"
        f" the loss and by averaged weights: {listed(told)}. {seeds}"
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
        if method != "none" and too_weak(scale, attack):
            cells[0] = replace(cells[0], kind="soft")
        precision = own["isolation_precision"] if method == "abl" else []
        minutes = costs.minutes(own)
        first = ", first version" if method == "exclude" and _is_first_version(own).all() else ""
        rows.append(
            (
                f"{TITLES[attack]}, {METHODS[method]}{first}",
                percent_number(0.0 if method == "oracle" else _poisoned(own)),
                *cells,
                over_seeds(precision, digits=0),
                f"{minutes.median():.1f}",
                str(len(own)),
            )
        )
    columns = (
        "run",
        "poisoned, % of the set",
        "attack success, %",
        "other classes, %",
        "clean accuracy, %",
        "target class, %",
        "isolation precision, %",
        "minutes",
        "n",
    )
    alone = " A row with n = 1 is a demonstration, not a measurement." if any(row[-1] == "1" for row in rows) else ""
    beside = scale.place.partition(",")[0]
    note = f"{INTERVAL}{alone} Minutes of the process, other runs sharing the {beside}. {provenance(scale.runs)}"
    if any(too_weak(scale, name) for name in scale.attacks("abl")):
        note += f" Grey: not judged, as the backdoor has less than {limit(PRESENT)} attack success undefended."
    note += f" Verdicts: {link('Table 1', 'table1.html')}."
    if "exclude" in set(scale.runs["method"]):
        note += (
            f" {code('exclude')} is a method of this kit's own: it leaves out the images that show to be poisoned"
            f" and trains fresh weights on the rest. {of_earlier_rule(scale.runs)}".rstrip()
        )
    return Table(columns, rows, note=note)


def _poisoned(runs: pd.DataFrame) -> float:
    """Share of the training images that is poisoned."""
    return float((runs.get("poisoned_images", pd.Series(dtype=float)).astype(float) / runs["training_images"]).mean())


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
        for name in known:
            if why := too_weak(scale, name):
                tuned = scale.of("abl", name).get("attack_success_rate_finetuned", pd.Series(dtype=float))
                before = f" In the ABL runs it is {in_words(tuned)} before unlearning." if len(tuned.dropna()) else ""
                share = percent(_poisoned(scale.of("abl", name)))
                lines.append(
                    f"With {TITLES[name]} the attack is weak here, where {share} of the set is poisoned: {why}.{before}"
                )
    return [Heading("Limits"), Text("\n".join(f"- {line}" for line in lines))] if lines else []
