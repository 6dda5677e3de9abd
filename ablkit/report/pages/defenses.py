"""ABL beside defences that need clean data, and the ceiling: the same poisoned sets, seed by seed."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ablkit.defenses import DEFENSES, METHODS
from ablkit.metrics import paper, statistics
from ablkit.metrics.summary import with_effectiveness
from ablkit.report import charts, figures, findings
from ablkit.report.collect import Collection, provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.rule import of_earlier_rule
from ablkit.report.findings.words import PRESENT
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code, link, listed
from ablkit.report.pages import exclusion, missing
from ablkit.report.text import number, percent
from ablkit.report.verdicts import INTERVAL, RED, in_words, over_seeds

_COLUMNS = ("method", "attack success, %", "paper", "clean accuracy, %", "other classes, %", "target class, %")
_METRICS = ("clean_accuracy", "clean_accuracy_non_target", "target_class_accuracy")


def page(c: Collection) -> Page:
    """The repairs."""
    names = ["abl", "exclude", *(n for n, d in DEFENSES.items() if d.needs == "clean data"), "oracle"]
    text = (
        "Hypothesis (paper, Table 1): ABL, which needs no clean data, leaves less of the backdoor than repairs with"
        " 5 % clean data, and costs less accuracy."
    )
    made = of_methods(
        c, "defenses.html", "Other defences beside ABL", "Defences", names, text, "table1", "abl", "repairs"
    )
    return replace(made, blocks=[*made.blocks, *curve(c)])


def of_methods(
    c: Collection,
    name: str,
    title: str,
    short: str,
    methods: list[str],
    text: str,
    notebook: str,
    claimed: str,
    what: str,
) -> Page:
    """A page of methods on the attacks of the main scale that more than ABL was tried on.

    Args:
        methods: beside the undefended training, in the order of the table.
        notebook: whose command makes the runs.
        claimed: the method that the hypothesis is about.
        what: all but ABL, training without the suspects and the ceiling, in a word.
    """
    blocks: list[Block] = [Text(text)]
    run = f"ablkit run {notebook} -p attack_names badnets"
    others = [m for m in methods if m not in ("abl", "oracle", "exclude")]
    known = [] if c.main is None else [a for a in c.main.attacks("none") if any(len(c.main.of(m, a)) for m in others)]
    # The page is about its hypothesis: of that an attack without the claimed method, or a seed of all, says nothing.
    known = [a for a in known if len(c.main.of(claimed, a)) and len(_compared(c, a, methods))]
    if not known:
        blocks += missing.not_run(c, f"{listed([METHODS[m] for m in others])} on any attack", [run])
        return Page(name, title, "None of these methods was run yet.", blocks, short)
    first_line, shown = [], []
    for attack in known:
        own = _compared(c, attack, methods)
        shown.append(own)
        first_line.append(_finding(own, attack, others, what))
        judged = own[own["method"].isin(["none", claimed, "exclude", "oracle", *others])]
        verdict, *_ = findings.of_methods(judged, claimed).split("\n")  # what follows is in the table
        blocks += [
            Heading(TITLES[attack], attack),
            Text(f"{verdict}{_far_from_published(own, attack, others)}"),
            *_of_attack(own, attack, methods, f"{short.lower()}-{attack}"),
        ]
    left = [TITLES[attack] for attack in c.main.attacks("none") if attack not in known]
    if left:
        commands = [f"ablkit run {notebook} -p attack_names {a}" for a in c.main.attacks("none") if a not in known][:3]
        blocks += [Heading("Other attacks"), *missing.not_run(c, f"these methods on {listed(left)}", commands)]
    elsewhere = _elsewhere(c) if "exclude" in methods else pd.DataFrame()
    elsewhere = elsewhere[elsewhere["attack"].isin(known)] if len(elsewhere) else elsewhere
    aside = f" Suspects excluded: {listed(sorted(set(elsewhere['place'])))}." if len(elsewhere) else ""
    aside += f" {of_earlier_rule(elsewhere)}" if len(elsewhere) else ""
    closing = f"{c.main.title}.{aside} {provenance(pd.concat(shown))} {INTERVAL} {RED}"
    blocks.append(Text(f"{closing} Its notebook: {code(notebook + '.ipynb')}.", "soft"))
    return Page(name, title, " ".join(first_line), blocks, short)


def _compared(c: Collection, attack: str, methods: list[str]) -> pd.DataFrame:
    """The runs of the methods and undefended ones, on the seeds that all of those methods have which were run.

    Training without the suspects is of any kind of CPU, as on its own page.
    """
    runs, excluded = c.main.runs, _elsewhere(c)
    if len(excluded):
        runs = pd.concat([runs[runs["method"] != "exclude"], excluded])
    runs = runs[(runs["attack"] == attack) & runs["method"].isin(["none", *methods])]
    seeds = [set(own["seed"]) for _, own in runs.groupby("method")]
    return with_effectiveness(runs[runs["seed"].isin(set.intersection(*seeds))])


def _elsewhere(c: Collection) -> pd.DataFrame:
    """The runs without suspects on any CPU, where the main scale is one of those that they may stand beside."""
    runs = exclusion.runs_of(c)
    is_own = (runs["method"] == "exclude") & (runs["method_settings"] == "")
    return runs[is_own & (c.main.place in set(runs["place"]))] if len(runs) else runs


def _finding(own: pd.DataFrame, attack: str, others: list[str], what: str) -> str:
    """What the other methods leave, which are called `what` together, beside ABL."""
    means = own.groupby("method")["attack_success_rate"].mean()
    run = [m for m in others if m in means.index]
    best = min(run, key=lambda m: means[m])
    gone = [METHODS[m] for m in run if means[m] <= GONE]
    n = own["seed"].nunique()
    if means["none"] < PRESENT:
        return (
            f"On {TITLES[attack]} (n = {n}) no method is judged, as undefended training has {percent(means['none'])}"
            " attack success."
        )
    text = (
        f"On {TITLES[attack]} (n = {n}) the backdoor is gone in the mean with {len(gone)} of {len(run)} {what}; best is"
        f" {METHODS[best]}, which leaves {percent(means[best])}"
    )
    if "abl" in means.index:
        accuracy = own.groupby("method")["clean_accuracy"].mean()
        text += (
            f" at {percent(accuracy[best])} clean accuracy. ABL leaves {percent(means['abl'])} at"
            f" {percent(accuracy['abl'])}, undefended training {percent(means['none'])} at {percent(accuracy['none'])}"
        )
    return text + "."


def _far_from_published(own: pd.DataFrame, attack: str, others: list[str]) -> str:
    """With which methods the backdoor is gone in the paper and not here; empty without any."""
    means, far = own.groupby("method")["attack_success_rate"].mean(), []
    for method in others:
        published = paper.lookup("attack_success_rate", attack=attack, method=method)
        if published is not None and published.value <= GONE < means.get(method, 0.0):
            far.append(METHODS[method])
    if not far:
        return ""
    does = "does" if len(far) == 1 else "do"
    settings = link("Are our settings why?", "repairs.html")
    return f"\n\n{listed(far)} {does} far worse here than in the paper. {settings}"


def _of_attack(own: pd.DataFrame, attack: str, methods: list[str], name: str) -> list[Block]:
    rows = []
    for method in ["none", *methods]:
        runs = own[own["method"] == method]
        if runs.empty:
            rows.append((METHODS[method], Cell("not run", kind="soft"), *[Cell("", kind="soft")] * 6))
            continue
        published = paper.lookup("attack_success_rate", attack=attack, method=method)
        missed = method not in ("none", "oracle") and runs["attack_success_rate"].mean() > GONE
        stands = Cell("-" if published is None else str(published).replace("*", "\\*"), kind="soft")
        cells = [over_seeds(runs["attack_success_rate"], bad=missed), stands, *(over_seeds(runs[m]) for m in _METRICS)]
        rating = runs["defense_effectiveness"].dropna()
        effect = number(float(rating.mean()) if len(rating) else None, "{:.2f}")
        rows.append((METHODS[method], *cells, effect, str(len(runs))))
    shown = own.sort_values("method", key=lambda names: names.map(["none", *methods].index), kind="stable")
    caption = f"**{_paired(own, methods)}** Bars are means, markers seeds."
    chart = charts.later(figures.methods, shown)
    alt = f"Attack success, clean accuracy and target class by method, {TITLES[attack]}"
    note = (
        "DER: defence effectiveness, 1 is a backdoor gone at no cost, 0.5 no effect. The paper's numbers are of its"
        " own scale."
    )
    return [Table((*_COLUMNS, "DER", "n"), rows, note=note), Figure(name, chart, alt, caption)]


def _paired(own: pd.DataFrame, methods: list[str]) -> str:
    """How far each of two methods that remove most lies from the model trained on clean data, seed by seed."""
    against = "oracle" if "oracle" in set(own["method"]) else "none"
    title = "a model trained on clean data" if against == "oracle" else "undefended training"
    means = own[own["method"].isin(methods)].groupby("method")["attack_success_rate"].mean().sort_values(kind="stable")
    best = [m for m in means.index if m != "oracle"][:2]
    texts = []
    for method in best:
        gap = statistics.difference(own, "clean_accuracy", "method", method, against)
        interval = f", {100 * gap.low:.1f} to {100 * gap.high:.1f}" if gap.low is not None else ""
        texts.append(f"{METHODS[method]} {100 * gap.mean:+.1f}{interval}")
    return (
        f"Clean accuracy beside {title}, paired by seed (n = {own['seed'].nunique()}), in points: {'; '.join(texts)}."
    )


def curve(c: Collection) -> list[Block]:
    """Mode connectivity repair along its curve, where runs kept it."""
    parts = []
    for _, run in (c.main.of("mcr") if c.main is not None else pd.DataFrame()).iterrows():
        points = c.history(run)
        points = points[points["stage"].astype(str).str.startswith("t=")]
        if len(points):
            t = points["stage"].str.removeprefix("t=").astype(float)
            parts.append(points.assign(t=t, attack=run["attack"], seed=run["seed"]))
    if not parts:
        return []
    rows = pd.concat(parts)
    told = [_at_two_points(own, attack) for attack, own in rows.groupby("attack", sort=False)]
    text = f"**MCR at the paper's point of its curve, t = 0.1, leaves {'; '.join(told)}.** A line a run."
    drawn = charts.later(figures.connectivity, rows)
    return [
        Heading("Along the curve of MCR"),
        Figure("mcr-curve", drawn, "Accuracy and attack success along the curve", text),
    ]


def _at_two_points(rows: pd.DataFrame, attack: str) -> str:
    """What is left of one attack's backdoor at t = 0.1, and in the middle of the curve."""
    first, middle = (rows[rows["t"].round(2) == t] for t in (0.1, 0.5))
    return (
        f"{in_words(first['attack_success_rate'])} attack success of {TITLES[attack]}; in the middle, t = 0.5,"
        f" {in_words(middle['attack_success_rate'])}, at {in_words(middle['clean_accuracy'])} clean accuracy"
    )
