"""The first page: what ABL does here, at what price, and where everything else is."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from ablkit.report import charts, costs
from ablkit.report.collect import Collection, Scale, provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.words import PRESENT, count
from ablkit.report.page import Block, Code, Facts, Figure, Heading, Page, Table, Text, code, link, listed, literal
from ablkit.report.pages import attack as attack_pages
from ablkit.report.pages import exclusion, glance, missing, settings
from ablkit.report.text import percent
from ablkit.report.verdicts import INTERVAL, RED, counted, over_seeds

NAME = "index.html"
_METRICS = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")
_GROUPS = ("attack success, %", "clean accuracy, %", "target class, %")
_QUESTIONS = (
    ("Can a model be trained clean on poisoned data?", "exclusion.html"),
    ("Can images that somebody else made be trusted?", "unknown-trust.html"),
    ("Does it reproduce Table 1?", "table1.html"),
    ("Which attack is handled worst?", "attacks.html"),
    ("Figure 1, the loss gap, for all attacks at a glance", "loss-gap.html"),
    ("Does isolation depend on luck?", "isolation.html"),
    ("Does it hold on other data sets?", "data-sets.html"),
    ("Does isolation work whatever the architecture?", "architectures.html"),
    ("Which settings matter?", "settings.html"),
    ("How much poison can there be?", "poison-rate.html"),
    ("Does the threshold of local gradient ascent matter?", "gamma.html"),
    ("How many images must be isolated?", "isolation-rate.html"),
    ("When should images be isolated?", "turning-epoch.html"),
    ("Do the repairs get what they need?", "repairs.html"),
    ("Why do published numbers of ABL differ?", "recipes.html"),
    ("What does an attacker gain who knows the defence?", "adaptive.html"),
    ("Is it the ascent that unlearns?", "what-unlearns.html"),
    ("What else could be done with the isolated images?", "unlearning.html"),
    ("How do other defences do on the same runs?", "defenses.html"),
    ("What happens at the paper's scale?", "paper-scale.html"),
    ("What does a run cost, and what would the paper's scale cost?", "cost.html"),
    ("How is every number defined, and what is not known?", "method.html"),
)
_UNKNOWN = "Not known yet:"
"""How the finding of a page begins whose runs were not made."""
_NOTE = f"The attack that ABL handles worst first. Mean over seeds. {INTERVAL} {RED}"


def page(c: Collection, pages: list[Page]) -> Page:
    """The index of the site.

    Args:
        pages: all others, whose findings answer the questions.
    """
    scale = c.main
    pairs = pd.DataFrame() if scale is None else paired(scale)
    if pairs.empty:
        finding = "No attack has both an undefended and an ABL run yet, so there is nothing to compare."
        return Page(NAME, "Anti-Backdoor Learning, re-run", finding, _rest(c, pages), "Index")
    own, scope = exclusion.in_short(c), _scope(scale)
    excluded = exclusion.measured_runs(c)
    first = glance.table(excluded) if len(excluded) else None
    blocks: list[Block] = [*([first] if first else []), Text(_warning(c, scale), "notice"), Facts(_facts(pairs))]
    blocks += [_figure(c, pairs), _table(pairs, excluded), *([Text(scope, "soft")] if own else [])]
    title = _headline(pairs) + exclusion.beside_abl(c)
    return Page(NAME, title, own or scope, [*blocks, *_rest(c, pages)], "Index")


def paired(scale: Scale) -> pd.DataFrame:
    """The ABL runs of a scale beside the undefended run of the same attack and seed, with `_undefended` behind.

    Runs that lack one of these numbers are left out. `is_learned`: whether undefended training learns the backdoor of
    the attack, in the mean over its seeds; where not, there is none that could be gone.
    """
    keys = ["attack", "seed"]
    names = [*_METRICS, "clean_accuracy_non_target"]
    measured = scale.of("abl").dropna(subset=list(_METRICS))
    both = measured.merge(scale.of("none")[keys + names], on=keys, suffixes=("", "_undefended"))
    before = both.groupby("attack")["attack_success_rate_undefended"].transform("mean")
    return both.assign(
        is_learned=before >= PRESENT,
        lost=both["clean_accuracy_undefended"] - both["clean_accuracy"],
        lost_target=both["target_class_accuracy_undefended"] - both["target_class_accuracy"],
    )


def order(pairs: pd.DataFrame) -> list[str]:
    """The attacks, the one that ABL handles worst first: by mean attack success rate, ties by the paper's order."""
    means = pairs.groupby("attack", sort=False)["attack_success_rate"].mean()
    return list(means.sort_values(ascending=False, kind="stable").index)


def gone_in_the_mean(pairs: pd.DataFrame) -> list[str]:
    """The attacks that are learned and whose mean attack success rate ABL brings to GONE or below."""
    means = pairs[pairs["is_learned"]].groupby("attack", sort=False)["attack_success_rate"].mean()
    return [name for name, value in means.items() if value <= GONE]


def price(pairs: pd.DataFrame, column: str = "lost") -> str:
    """What ABL costs in points, lowest and highest mean over the attacks."""
    means = 100 * pairs.groupby("attack")[column].mean()
    low, high = f"{means.min():.0f}", f"{means.max():.0f}"
    return low if low == high else f"{low} to {high}"


def _cost(pairs: pd.DataFrame) -> str:
    """`for 7 to 29 points of accuracy`, or what else happens to it."""
    means = 100 * pairs.groupby("attack")["lost"].mean()
    return f"for {price(pairs)} points of accuracy" if means.max() >= 0.5 else "at no price in accuracy"


def _headline(pairs: pd.DataFrame) -> str:
    learned, gone = pairs[pairs["is_learned"]], gone_in_the_mean(pairs)
    number = learned["attack"].nunique()
    if number == 1:
        name = TITLES[learned["attack"].iloc[0]]
        outcome = f"the {name} backdoor is gone" if gone else f"the {name} backdoor stays"
    elif number:
        outcome = f"{len(gone)} of {number} backdoors are gone in the mean, {len(_always(pairs))} on every seed"
    else:
        outcome = "no backdoor is learned that it could remove"
    return f"Anti-Backdoor Learning, re-run: {outcome}, {_cost(pairs)}"


def _always(pairs: pd.DataFrame) -> list[str]:
    """The attacks whose backdoor is gone after ABL on every seed."""
    learned = pairs[pairs["is_learned"]]
    return [name for name, own in learned.groupby("attack", sort=False) if (own["attack_success_rate"] <= GONE).all()]


def _scope(scale: Scale) -> str:
    own = scale.runs[scale.runs["method"].isin(["none", "abl"])]
    counts = own[own["method"] == "abl"].groupby("attack")["seed"].nunique()
    seeds = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    return (
        f"Undefended and with ABL: {scale.title}, {literal(own['model'].iloc[0])},"
        f" {seeds} {'seed' if seeds == '1' else 'seeds'} an attack, {len(own)} runs. {provenance(own)}"
    )


def _warning(c: Collection, scale: Scale) -> str:
    if scale.is_full:
        return "These runs have the paper's size: " + link("verdicts", "table1.html") + "."
    hours = costs.cpu_hours(c)
    cost = (
        ""
        if hours is None
        else f" To train one ABL run of the paper's size would take {hours:.1f} hours on one core like theirs."
    )
    full = ""
    for other in c.full:
        names = listed([TITLES[name] for name in other.attacks("abl")])
        if not names:
            continue
        there = link("see there", "paper-scale.html")
        full = f" At the paper's size there are {count(len(other.runs), 'run')} on {names}: {there}."
    share = scale.images / 50_000
    small = f": they have {percent(share, 0)} of the paper's images" if scale.dataset == "cifar10" else ""
    small = ": they follow another recipe than the paper's" if scale.is_peers else small
    return f"**These runs confirm or refute nothing in Table 1**{small}.{cost}{full}"


def _facts(pairs: pd.DataFrame) -> list[tuple[str, str]]:
    learned, gone = pairs[pairs["is_learned"]], gone_in_the_mean(pairs)
    number, weak = learned["attack"].nunique(), [name for name in order(pairs[~pairs["is_learned"]])]
    worst = [name for name in order(learned) if name not in gone]
    low = [name for name, own in pairs.groupby("attack", sort=False) if own["target_class_accuracy"].mean() < 0.3]
    left = [f"{percent(pairs.loc[pairs['attack'] == name, 'attack_success_rate'].mean(), 0)}" for name in worst]
    entries = [
        (
            f"{len(gone)} of {number}",
            f"attacks at most {percent(GONE, 0)} successful after ABL, in the mean over"
            f" seeds; {len(_always(pairs))} of them on every seed",
        )
    ]
    if weak:
        why = f"not judged: undefended training has less than {percent(PRESENT, 0)} attack success"
        entries.append((listed([TITLES[name] for name in weak]), why))
    if worst:
        entries.append((listed([TITLES[name] for name in worst]), f"missed: {listed(left)} success left"))
    fallen = f"; below 30 % for {listed([TITLES[name] for name in low])}" if low else ""
    most = f"{100 * pairs.groupby('attack')['lost_target'].mean().max():.0f}"
    most = f"loses up to {most} points" if float(most) > 0 else "loses nothing"
    entries.append(
        (
            f"{price(pairs)} points",
            f"of clean accuracy lost to ABL, against undefended training. The target class {most}{fallen}",
        )
    )
    if settings.decides(learned):
        told = f"with the default settings: after ABL the backdoor is gone {settings.outcome(learned)}"
        entries.append(("Isolation decides", f"{told} ({link('settings', 'settings.html')})"))
    return entries


def _table(pairs: pd.DataFrame, excluded: pd.DataFrame) -> Table:
    """A row an attack: undefended, with ABL, and without the suspects where any run was made so."""
    rows, others = [], [excluded] if len(excluded) else []
    for name in order(pairs):
        own = pairs[pairs["attack"] == name]
        cells = []
        for metric in _METRICS:
            cells.append(over_seeds(own[f"{metric}_undefended"]))
            for part in (own, *(other[other["attack"] == name] for other in others)):
                missed = metric == "attack_success_rate" and part[metric].mean() > GONE
                cells.append(over_seeds(part[metric], bad=missed))
        number = counted(len(own), *(int((other["attack"] == name).sum()) for other in others))
        rows.append((link(TITLES[name], attack_pages.name_of(name)), *cells, number))
    methods = ("undefended", "ABL", *["excluded"] * len(others))
    columns = ("attack", *methods * len(_GROUPS), "n")
    groups = (("", 1), *((title, len(methods)) for title in _GROUPS), ("", 1))
    note = f"{_NOTE} {link('All numbers as CSV', 'data/runs.csv')}."
    note += f" Beside the paper's numbers: {link('Table 1', 'table1.html')}. Other pages compare on the seeds that all"
    note += " methods there have, so that their means differ a little."
    return Table(columns, rows, groups, note)


def _figure(c: Collection, pairs: pd.DataFrame) -> Figure:
    """Undefended and ABL, and training without the suspects too, once it was tried on all of these attacks."""
    if own := exclusion.figure(c, "overview", order(pairs)):
        return replace(own, caption=f"{own.caption} {ways_to_pay(pairs)}")
    names = {name: TITLES[name] for name in order(pairs)}
    columns = {f"{metric}_undefended": metric for metric in _METRICS}
    before = pairs[["attack", *columns]].rename(columns=columns).assign(is_defended=False)
    rows = pd.concat([before, pairs[["attack", *_METRICS]].assign(is_defended=True)])
    drawn = charts.later(charts.before_and_after, rows.assign(name=rows["attack"].map(names)), list(names.values()))
    return Figure(
        "overview",
        drawn,
        "Attack success, clean accuracy and target class, before and after ABL",
        f"**{ways_to_pay(pairs)}** Open: undefended; filled: ABL; a dot is a seed.",
    )


def ways_to_pay(pairs: pd.DataFrame) -> str:
    """Which attacks cost the target class more than the other classes, and which the other way round, with points."""
    other = pairs["clean_accuracy_non_target_undefended"] - pairs["clean_accuracy_non_target"]
    means = pairs.assign(other=other).groupby("attack", sort=False)[["lost_target", "other"]].mean()
    halves = []
    for part, what, metric in (
        (means[means["lost_target"] >= means["other"]], "the target class more than the other classes", "lost_target"),
        (means[means["lost_target"] < means["other"]], "the other classes more", "other"),
    ):
        if len(part):
            points = sorted({f"{100 * value:.0f}" for value in (part[metric].min(), part[metric].max())}, key=float)
            halves.append(f"{what} with {listed([TITLES[n] for n in part.index])} ({' to '.join(points)} points)")
    return f"ABL costs {', and '.join(halves)}."


def _rest(c: Collection, pages: list[Page]) -> list[Block]:
    """The questions of the other pages, each with the first sentence of the answer; and how to repeat it."""
    found = {page.name: page for page in pages}
    answered, asked = [], []
    for question, target in _QUESTIONS:
        answer = re.split(r"(?<=[.]) (?=[A-Z])|\n", found[target].finding)[0]
        (asked if answer.startswith(_UNKNOWN) else answered).append(f"- **{link(question, target)}** {answer}")
    return [
        *([Heading("Questions, and where they are answered"), Text("\n".join(answered))] if answered else []),
        *([Heading("Asked, and not measured yet"), Text("\n".join(asked))] if asked else []),
        *missing.blocks(c),
        Heading("Make these pages again"),
        Code("ablkit report --from data"),
        Text(
            "In the folder that these pages lie in. Every page is made of"
            f" {link('these numbers', 'data/runs.csv')}, byte for byte, without a run; {code('--add KEY')} takes a"
            " finished run in."
        ),
    ]


def lines(c: Collection) -> list[str]:
    """What the main scale has measured, a line an attack, for a terminal."""
    if c.main is None:
        return ["no run is done yet"]
    pairs = paired(c.main)
    found = [c.main.title]
    for name in order(pairs):
        own = pairs[pairs["attack"] == name]
        parts = [f"n = {len(own)}"]
        for metric in _METRICS:
            before, after = percent(own[f"{metric}_undefended"].mean()), percent(own[metric].mean())
            parts.append(f"{metric.replace('_', ' ')} {before} -> {after}")
        found.append(f"  {TITLES[name]:<9}{', '.join(parts)}")
    return found
