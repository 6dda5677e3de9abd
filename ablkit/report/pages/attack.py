"""One page an attack: its seeds side by side, their epochs, and the images that ABL isolated."""

from __future__ import annotations

import inspect

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.report import charts
from ablkit.report.collect import Collection, Scale, dataset_title, provenance, standard_rate
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE, of_gap, of_methods
from ablkit.report.findings.rule import of_earlier_rule
from ablkit.report.findings.words import PRESENT, UNKNOWN, count, limit, upper
from ablkit.report.findings.words import percent as in_short
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Picture, Table, Text, link, listed
from ablkit.report.pages import missing
from ablkit.report.pages.loss_gap import first_phases
from ablkit.report.repeat import command
from ablkit.report.text import percent
from ablkit.report.verdicts import LOW, in_words, percent_number

_METHODS = {"none": "undefended", "abl": "ABL", "exclude": "suspects excluded"}
"""The methods whose runs the page's tables show."""
_ROWS = {
    "attack_success_rate": "attack success, %",
    "clean_accuracy": "clean accuracy, %",
    "clean_accuracy_non_target": "other classes, %",
    "target_class_accuracy": "target class, %",
    "isolation_precision": "isolation precision, %",
}


def name_of(attack: str) -> str:
    """The file name of an attack's page."""
    return f"attack-{attack}.html"


def how(attack: str) -> str:
    """How an attack changes images, in one sentence: the first of its module."""
    module = inspect.getmodule(ATTACKS[attack].craft)
    return (module.__doc__ or "").partition("\n")[0].partition(": ")[2]


def too_weak(scale: Scale, attack: str) -> str:
    """Why the backdoor of an attack is too weak at a scale to judge a defence by; empty where it is not, or unknown.

    As in Table 1 it is by undefended training; without it by the ABL runs before their unlearning.
    """
    undefended = scale.of("none", attack)["attack_success_rate"].dropna()
    tuned = scale.of("abl", attack).get("attack_success_rate_finetuned", pd.Series(dtype=float)).dropna()
    found = undefended if len(undefended) else tuned
    if found.empty or found.mean() >= PRESENT:
        return ""
    when = f"{'undefended' if len(undefended) else 'before unlearning'} on {count(len(found), 'seed')}"
    rate, small = scale.of("abl", attack)["poison_rate"].max(), standard_rate("quick", attack)
    elsewhere = f", {limit(small)} at the small scale" if small != rate else ""
    return (
        f"{percent(found.mean())} attack success {when}, less than {limit(PRESENT)};"
        f" {limit(rate)} of the {ATTACKS[attack].rate_of} is poisoned{elsewhere}"
    )


def pages(c: Collection) -> list[Page]:
    """A page for every attack, also for one without a run."""
    return [_page(c, name) for name in ATTACKS]


def strip(c: Collection, attack: str, file: str, caption: str) -> Picture | None:
    """The first picture of that name among the runs of an attack, as it is by default; None where none has kept one.

    One of a run on the data set that the index shows comes first, of these one that is in the tables of the attack's
    page; of another run the caption says so.
    """
    from PIL import Image

    if not len(c.runs):
        return None
    tabled, runs = _tabled(c, attack), c.runs[c.runs["attack"] == attack]
    is_other = runs["dataset"] != (c.main.dataset if c.main else "")
    ranked = runs.assign(is_other=is_other, is_aside=~runs["key"].isin(tabled["key"]))
    for _, run in ranked.sort_values(["is_other", "is_aside"], kind="stable").iterrows():
        if not run["poison_rate"] or run["attack_settings"] or run["is_first_phase"]:
            continue
        path = run["folder"] / file
        if path.exists():
            with Image.open(path) as image:
                width = image.width
            what = f"{TITLES[attack]}, {dataset_title(run['dataset'])}, seed {run['seed']}, {run['place']}"
            share, isolated = run["isolation_precision"], run.get("isolated_images")
            aside = ""
            if file.startswith("isolated") and isolated == isolated:
                caption += f": lowest loss first, of {isolated:.0f} that are isolated {percent(share, 0)} are poisoned"
                aside = "" if run["key"] in set(tabled["key"]) else _aside(run, tabled)
            return Picture(f"data/{run['key']}/{file}", f"{caption}: {what}", f"**{what}.** {caption}.{aside}", width)
    return None


def _tabled(c: Collection, attack: str) -> pd.DataFrame:
    """The runs in the tables of an attack's page."""
    scales = [scale for scale in c.scales if attack in scale.attacks("abl")]
    return pd.concat([c.runs.iloc[:0], *(scale.of(method, attack) for scale in scales for method in _METHODS)])


def _aside(run: pd.Series, tabled: pd.DataFrame) -> str:
    """That a picture is of a run that no table shows, and what its twin in the tables isolates."""
    key = link(run["key"], f"data/{run['key']}/metrics.json")
    tuned, unlearned = (int(run[f"{name}_epochs"]) for name in ("finetune", "unlearn"))
    epochs = f"{count(tuned, 'epoch')} of fine-tuning and {unlearned} of unlearning"
    told = f" It is of run {key} ({run['place']}, {epochs}), which is in none of the tables."
    same = tabled[(tabled["method"] == "abl") & (tabled["seed"] == run["seed"])].dropna(subset="isolation_precision")
    shares = [f"{in_short(own['isolation_precision'])} are poisoned ({own['place']})" for _, own in same.iterrows()]
    return f"{told} In the table's run of that seed {listed(shares)}." if shares else told


def _page(c: Collection, name: str) -> Page:
    attack = ATTACKS[name]
    origin = (
        f"{attack.paper}. {attack.kind.capitalize()}, changes {attack.changes}; the small presets poison"
        f" {percent(attack.quick_rate, 0)} of the {attack.rate_of}."
    )
    blocks: list[Block] = [Text(f"{upper(how(name))} {origin} {link('All attacks', 'attacks.html')}.", "soft")]
    scales = [scale for scale in c.scales if name in scale.attacks("abl")]
    for scale in scales:
        learned = of_gap(first_phases(c, scale, name))
        weak = too_weak(scale, name)
        verdict = (
            f"{UNKNOWN} The backdoor is too weak to judge by: {weak}."
            if weak
            else of_methods(pd.concat([scale.of(method, name) for method in ("none", "abl")]), "abl")
        )
        blocks += [
            Heading(scale.title),
            Text(f"Is the backdoor gone at a low price? {verdict}"),
            _seeds(scale, name),
            *_epochs(c, scale, name),
            Text(f"Are its poisoned images learned faster than clean ones? {learned}"),
        ]
    picture = strip(
        c, name, "isolated-images.png", "The first of the images that ABL isolated; poisoned ones are framed"
    )
    blocks.append(Heading("The images that ABL isolated", "isolated"))
    blocks.append(picture or Text("No committed run of this attack has kept pictures of what it isolated.", "soft"))
    shown = strip(c, name, "poisoned-images-strip.png", "Clean images, the same poisoned, five times their difference")
    if shown is not None:
        blocks += [Heading("The poisoned images"), shown]
    if scales:
        made = pd.concat([scale.runs[scale.runs["attack"] == name] for scale in scales])
        blocks.append(Text(provenance(made), "soft"))
    else:
        blocks += missing.not_run(c, f"ABL on {attack.title}", [_command(name, m) for m in ("none", "abl")])
    return Page(name_of(name), f"{attack.title}: every seed", _finding(c, name, scales), blocks)


def _command(name: str, method: str) -> str:
    rate = ATTACKS[name].quick_rate
    return command("run", {"preset": "quick", "attack": name, "method": method, "poison_rate": rate})


def _finding(c: Collection, name: str, scales: list[Scale]) -> str:
    if not scales:
        others = int((c.runs["attack"] == name).sum()) if len(c.runs) else 0
        more = f"; {count(others, 'other run')} of it: {link('all runs', 'runs.html')}" if others else ""
        return f"No ABL run on {TITLES[name]} has the settings of a preset yet{more}."
    parts = []
    for scale in scales:
        own = scale.of("abl", name).dropna(subset="attack_success_rate")
        before = scale.of("none", name)["attack_success_rate"].dropna()
        gone = int((own["attack_success_rate"] <= GONE).sum())
        was = f", from {in_words(before)}" if len(before) else ""
        low = [str(seed) for seed in own.loc[own["isolation_precision"] < LOW, "seed"]]
        why = (
            f" On {'seed' if len(low) == 1 else 'seeds'} {listed(low)} less than half of what is isolated is poisoned."
            if low
            else ""
        )
        if weak := too_weak(scale, name):
            parts.append(
                f"{TITLES[name]} is not judged where its backdoor is too weak ({scale.title}): {weak}. ABL leaves"
                f" {in_words(own['attack_success_rate'])}.{why}"
            )
            continue
        parts.append(
            f"ABL brings {TITLES[name]} to {in_words(own['attack_success_rate'])} attack success{was}; the backdoor is"
            f" gone on {gone} of {count(len(own), 'seed')} ({scale.title}).{why}"
        )
    return " ".join(parts)


def _seeds(scale: Scale, name: str) -> Table:
    rows = []
    for method, title in _METHODS.items():
        for _, run in scale.of(method, name).iterrows():
            cells = []
            for metric in _ROWS:
                missed = metric == "attack_success_rate" and method != "none" and run[metric] > GONE
                shown = percent_number(run.get(metric))
                hidden = metric == "isolation_precision" and method != "abl"
                cells.append(Cell("" if hidden else shown, kind="bad" if missed else ""))
            key = link(run["key"], f"data/{run['key']}/metrics.json")
            again = len(run["repeats"])
            rows.append((f"{title}, seed {run['seed']}", *cells, str(again), Cell(key, kind="text")))
    columns = ("run", *_ROWS.values(), "times made", "numbers")
    return Table(columns, rows, note=of_earlier_rule(scale.of("exclude", name)))


def _epochs(c: Collection, scale: Scale, name: str) -> list[Block]:
    parts = []
    for _, run in scale.of("abl", name).iterrows():
        own = c.history(run)
        if len(own):
            parts.append(own.assign(name=f"seed {run['seed']}", number=range(1, len(own) + 1)))
    if not parts:
        return []
    rows = pd.concat(parts)
    drawn = charts.later(charts.epochs, rows, list(dict.fromkeys(rows["name"])))
    peak = rows.loc[rows["stage"] == "isolate"].groupby("name")["isolation_precision"].agg(["min", "max"])
    spread = (peak["max"] - peak["min"]).max()
    caption = (
        f"**Isolation precision moves by up to {percent(spread, 0)[:-1].strip()} points within phase 1 of one"
        " training.** Every epoch of every seed; vertical lines: fine-tuning and unlearning begin."
    )
    place = f"{'cpu' if scale.place.startswith('CPU') else 'gpu'}-{scale.place.split()[-1]}"
    aside = "" if scale.dataset == "cifar10" else f"-{scale.dataset}-{scale.runs['train_size'].iloc[0]}"
    file = f"epochs-{name}-{scale.preset}-{place}{aside}"
    return [Figure(file, drawn, f"Accuracy and attack success by epoch, {TITLES[name]}", caption)]
