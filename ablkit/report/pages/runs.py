"""Every committed run: its numbers, minutes, commit and the command that makes it again."""

from __future__ import annotations

import pandas as pd

from ablkit.defenses import METHODS
from ablkit.report import costs
from ablkit.report.collect import Collection, dataset_title, hardware_of, standard_rate
from ablkit.report.figures import TITLES
from ablkit.report.findings.words import count
from ablkit.report.identity import NO_RESULT
from ablkit.report.page import Block, Cell, Heading, Page, Table, Text, code, link, listed, literal
from ablkit.report.repeat import command
from ablkit.report.text import number
from ablkit.report.verdicts import percent_number
from ablkit.runs.parameters import defaults, nearest

_MOST_NAMED = 3
"""Parameters in the name of a run."""

_METRICS = {
    "attack_success_rate": "attack success, %",
    "clean_accuracy": "clean, %",
    "target_class_accuracy": "target class, %",
    "isolation_precision": "isolation, %",
}


def page(c: Collection) -> Page:
    """The list of all runs."""
    blocks: list[Block] = []
    if len(c.runs):
        most = c.runs["dataset"].mode()[0]  # comes first
        ordered = c.runs.sort_values("dataset", key=lambda own: own != most, kind="stable")
        for (dataset, place), own in ordered.groupby(["dataset", "place"], sort=False):
            blocks += [Heading(f"{dataset_title(dataset)}, {place}"), Text(_made(own), "soft"), _table(own)]
        blocks += _repeated(c)
    title = f"All runs: {len(c.runs)}"
    return Page("runs.html", title, _finding(c), blocks, f"Runs ({len(c.runs)})")


def _made(own: pd.DataFrame) -> str:
    dates = sorted(literal(str(started)[:10]) for started in own["env_started"])
    precisions = sorted({str(name) for name in own.get("env_precision", []) if isinstance(name, str)})
    same = f" {code(f'-p precision {precisions[0]}')} computes so on every machine." if len(precisions) == 1 else ""
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"Made {when} with {hardware_of(own)}.{same}"


def _finding(c: Collection) -> str:
    if not len(c.runs):
        return "No run has been taken in yet."
    repeated = [run["repeats"] for _, run in c.runs.iterrows() if len(run["repeats"]) > 1]
    same = sum(not any(other["differs"] for other in repeats) for repeats in repeated)
    made = sum(len(repeats) for repeats in c.runs["repeats"])
    told = (
        f" {len(repeated)} of them were made more than once: {same} are identical apart from times." if repeated else ""
    )
    return f"{count(len(c.runs), 'run')} with numbers and commands, made {count(made, 'time')} in all.{told}"


def _table(own: pd.DataFrame) -> Table:
    minutes = costs.minutes(own)
    rows = []
    for index, run in own.iterrows():
        settings = listed(_others(run))
        alone = run["is_first_phase"]
        attack = TITLES[run["attack"]] if run["poison_rate"] > 0 else "No poison"
        what = f"{attack}, {METHODS[run['method']]}{', phase 1 alone' * alone}, seed {run['seed']}"
        values = {name: run[name] for name in defaults("run")}
        links = link(run["key"], f"data/{run['key']}/params.json")
        if (run["folder"] / "history.csv").exists():
            links += " " + link("epochs", f"data/{run['key']}/history.csv")
        ranks = run["method"] not in ("none", "exclude", "oracle")  # else nothing is made of what would be isolated
        # What phase 1 alone leaves is no outcome of ABL.
        shown = {name for name in _METRICS if (ranks if name == "isolation_precision" else not alone)}
        cells = [percent_number(run[name]) if name in shown else "" for name in _METRICS]
        rows.append(
            (
                what + (f" ({literal(settings)})" if settings else ""),
                Cell(links, kind="text"),
                *cells,
                number(minutes[index], "{:.1f}"),
                Cell(literal(run.get("env_commit")), kind="text"),
                Cell(code(command("run", values)), kind="text"),
            )
        )
    return Table(("run", "numbers", *_METRICS.values(), "minutes", "commit", "command"), rows)


def _others(run: pd.Series) -> list[str]:
    """In what else a run differs from the nearest preset, in a few words: its settings first, then parameters."""
    values = {name: run[name] for name in defaults("run")}
    preset, own = nearest("run", values)
    usual = ("attack", "method", "seed", "dataset", "target", "train_size", *NO_RESULT)
    if run["is_first_phase"]:
        usual += ("finetune_epochs", "unlearn_epochs")
    if run["poison_rate"] in (0, standard_rate(preset, run["attack"])):
        usual += ("poison_rate",)
    texts = [str(own.pop(name)) for name in ("attack_settings", "method_settings") if name in own]
    texts += [f"{name}={value}" for name, value in own.items() if name not in usual]
    return texts[:_MOST_NAMED] + [f"{len(texts) - _MOST_NAMED} more"] * (len(texts) > _MOST_NAMED)


def _repeated(c: Collection) -> list[Block]:
    lines = []
    for _, run in c.runs.iterrows():
        others = run["repeats"]
        if len(others) < 2:
            continue
        commits = list(dict.fromkeys(str(other["commit"]) for other in others))
        differing = sorted({name for other in others for name in other["differs"]})
        outcome = f"differs in {listed(differing)}" if differing else "identical apart from times"
        keys = listed([link(other["key"], f"data/{other['key']}/metrics.json") for other in others])
        what = f"{TITLES[run['attack']]}, {METHODS[run['method']]}, seed {run['seed']}"
        lines.append(f"- {what}: made {len(others)} times, at {listed(commits)}: {outcome} ({keys})")
    return [Heading("Runs that were made more than once", "repeated"), Text("\n".join(lines))] if lines else []
