"""The ten attacks: which one ABL handles worst, how each is made, and what its idea is worth."""

from __future__ import annotations

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report import charts, figures
from ablkit.report.collect import Collection, provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE, of_attacks, of_twins
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code, link, listed
from ablkit.report.pages import attack as attack_pages
from ablkit.report.pages import missing
from ablkit.report.pages.index import order
from ablkit.report.text import percent
from ablkit.report.verdicts import INTERVAL, over_seeds

_DOES_IT_WORK = "Hypothesis: every attack gives an undefended model its backdoor."


def page(c: Collection) -> Page:
    """All attacks at a glance."""
    runs, undefended = (pd.DataFrame() if c.main is None else c.main.of(method) for method in ("abl", "none"))
    works = [Text(_DOES_IT_WORK), Text(of_attacks(undefended))] if len(undefended) else []
    works += [_undefended(undefended)] if len(undefended) else []
    blocks: list[Block] = [*works, _made(c), *_gallery(c), *_ideas(c)]
    return Page(
        "attacks.html",
        f"The {'ten' if len(ATTACKS) == 10 else len(ATTACKS)} attacks",
        _finding(runs, undefended),
        blocks,
        "Attacks",
    )


def _finding(runs: pd.DataFrame, undefended: pd.DataFrame) -> str:
    runs = runs.dropna(subset="attack_success_rate") if len(runs) else runs
    if runs.empty:
        return "ABL has not been run on any attack yet, so none is handled worst."
    worst = order(runs)[0]
    own, bare = (part[part["attack"] == worst] if len(part) else part for part in (runs, undefended))
    after, n = own["attack_success_rate"].mean(), f"(n = {len(own)})"
    before = bare["attack_success_rate"].dropna() if len(bare) else bare
    was = f" and {percent(before.mean())} undefended" if len(before) else ""
    text = f"ABL handles {TITLES[worst]} worst: its attack success is {percent(after)} after ABL{was} {n}."
    if after <= GONE:
        every = count(runs["attack"].nunique(), "backdoor")
        text = f"After ABL all of {every} are gone in the mean; most is left of {TITLES[worst]}, {percent(after)} {n}."
    precision = own["isolation_precision"].dropna()
    return text + (f" Of what it isolates there {percent(precision.mean(), 0)} is poisoned." if len(precision) else "")


def _undefended(runs: pd.DataFrame) -> Figure:
    low = runs.groupby("attack")["attack_success_rate"].mean().dropna()
    least = f"{TITLES[low.idxmin()]} succeeds least often, {percent(low.min())} in the mean" if len(low) else "Unknown"
    alt = "Attack success rate and clean accuracy of undefended models by attack"
    return Figure(
        "undefended",
        charts.later(figures.attack_results, runs),
        alt,
        f"**{least}.** Undefended models: bars are means, markers seeds.",
    )


def _made(c: Collection) -> Table:
    rows = []
    for name, attack in ATTACKS.items():
        rate = f"{percent(attack.quick_rate, 0)} of the {attack.rate_of}"
        undefended = c.main.of("none", name) if c.main is not None else pd.DataFrame()
        cells = [over_seeds(undefended.get(m, [])) for m in ("attack_success_rate", "clean_accuracy")]
        texts = (
            Cell(attack.kind, kind="text"),
            Cell(attack_pages.how(name), kind="text"),
            Cell(attack.paper, kind="text"),
        )
        rows.append((link(attack.title, attack_pages.name_of(name)), *texts, rate, *cells, str(len(undefended))))
    columns = (
        "attack",
        "kind",
        "how it is made",
        "source",
        "poisoned",
        "attack success undefended, %",
        "clean accuracy, %",
        "n",
    )
    scale = f" {c.main.title}. {provenance(c.main.of('none'))}" if c.main is not None else ""
    return Table(columns, rows, note=f"Settings and cost of each: {code('ablkit attacks')}.{scale} {INTERVAL}")


def _gallery(c: Collection) -> list[Block]:
    """A strip of poisoned images an attack, of the first run that has kept one."""
    pictures = []
    for name in TITLES:
        picture = attack_pages.strip(
            c, name, "poisoned-images-strip.png", "Clean images, the same poisoned, and five times their difference"
        )
        if picture is not None:
            pictures.append(picture)
    without = [
        title for name, title in TITLES.items() if not attack_pages.strip(c, name, "poisoned-images-strip.png", "")
    ]
    note = [Text(f"No committed run of {listed(without)} has kept pictures.", "soft")] if without else []
    return [Heading("What the images look like", "gallery"), *pictures, *note]


def _ideas(c: Collection) -> list[Block]:
    """Each attack with its idea switched off, undefended."""
    blocks: list[Block] = [Heading("Does each attack work because of its idea?", "ideas")]
    blocks.append(
        Text("Hypothesis: with its essential idea switched off an attack succeeds less often. Undefended models.")
    )
    rows, parts, left = [], [], []
    for name, attack in ATTACKS.items():
        if not attack.twin:
            continue
        own = _twins(c, name)
        if own is None:
            left.append(name)
            continue
        whole, off = own
        cells = [over_seeds(part["attack_success_rate"]) for part in (whole, off)]
        both = whole.merge(off, on="seed", suffixes=("", "_off"), validate="one_to_one")
        gap = 100 * (both["attack_success_rate"] - both["attack_success_rate_off"])
        rate = f"{percent(whole['poison_rate'].iloc[0])} of the {attack.rate_of}"
        idea = Cell(attack.twin.without, kind="text")
        rows.append((attack.title, idea, rate, *cells, f"{gap.mean():+.1f}", str(len(both))))
        parts += [whole, off]
    if rows:
        every = pd.concat(parts)
        blocks.append(Text(of_twins(every)))
        columns = ("attack", "idea off", "poisoned", "attack success, %", "idea off, %", "points by the idea", "n")
        blocks.append(Table(columns, rows, note=INTERVAL))
        caption = "**Each attack beside itself with its idea off.** Bars are means, markers seeds."
        alt = "Attack success with the idea of each attack on and off"
        blocks.append(Figure("twins", charts.later(figures.twins, every), alt, caption))
    if left:
        commands = [f"ablkit run twins -p attack_names {name}" for name in left]
        blocks += missing.not_run(c, f"the twins of {listed([TITLES[name] for name in left])}", commands)
    return blocks


def _twins(c: Collection, name: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Undefended runs of an attack as it is and with its idea off, at one poisoning rate and of one scale."""
    twin = ATTACKS[name].twin
    runs = c.runs[(c.runs["attack"] == name) & (c.runs["method"] == "none")] if len(c.runs) else c.runs
    runs = runs[runs["poison_rate"] > 0] if len(runs) else runs
    off = runs[runs["attack_settings"] == twin.settings] if len(runs) else runs
    if off.empty:
        return None
    of = ["poison_rate", "place", "preset", "dataset", "train_size"]
    same = runs[(runs[of] == off[of].iloc[0]).all(axis=1)]
    whole, off = (same[same["attack_settings"] == settings] for settings in ("", twin.settings))
    return (whole, off) if len(whole) else None
