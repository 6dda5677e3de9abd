"""What a page says where runs are missing: the command and what it would cost."""

from __future__ import annotations

import shlex

import pandas as pd

from ablkit.report import costs
from ablkit.report.collect import Collection
from ablkit.report.findings.words import count
from ablkit.report.identity import identity
from ablkit.report.page import Block, Cell, Heading, Table, Text, code, literal
from ablkit.report.repeat import command
from ablkit.runs.parameters import Comparison, changed, check


def blocks(c: Collection) -> list[Block]:
    """The runs that a report asked for and that are not there; nothing where all are."""
    if not c.wanted:
        return []
    rows = [
        (
            literal(f"{job.title}, {job.subject}"),
            Cell(job.state if job.state != "done" else "damaged", kind="bad text"),
            Cell(code(command(job.notebook, job.parameters.model_dump())), kind="text"),
            Cell(literal(why), kind="text"),
        )
        for job, why in c.wanted
    ]
    note = "The same report command goes on from here and runs only what is missing."
    return [Heading("Missing"), Table(("run", "state", "command", "what went wrong"), rows, note=note)]


def not_run(c: Collection, what: str, commands: list[str]) -> list[Block]:
    """A part of a page whose runs were never made: what it would show, and each command with what it would cost."""
    lines = "\n".join(f"- {cost(c, line)}" for line in commands)
    return [Text(f"**Not run:** {what}.\n\n{lines}", "notice")]


def cost(c: Collection, line: str) -> str:
    """A command, how many runs it makes, and how long one trains at the main scale where that is known."""
    return f"{code(line)}{_cost(c, line)}"


def _cost(c: Collection, line: str) -> str:
    _, kind, notebook, *options = shlex.split(line)
    if kind != "run" or c.main is None or c.main.preset != "quick":
        return ""
    given = dict(zip(options[1::3], options[2::3], strict=True))
    parameters = check(notebook, changed(notebook, "quick", given), strict=False)
    ones = parameters.runs() if isinstance(parameters, Comparison) else [parameters]
    whole = parameters.trainings() if isinstance(parameters, Comparison) else 1
    own = [c.main.of("abl", name) for name in dict.fromkeys(one.attack for one in ones)]
    known = costs.minutes(pd.concat(own)).dropna()
    longer = sum(map(costs.epochs_of, ones)) / len(ones) / costs.epochs_of(check("run", {}))
    each = f" of about {longer * known.median():.0f} minutes" if len(known) else ""
    shared = f" that share {count(whole, 'training')}" if whole < len(ones) else ""
    made = set(zip(c.identities, c.runs["seed"], strict=True))
    there = sum((identity(one.model_dump()), one.seed) in made for one in ones)
    there_too = f"; {there} of them are in these pages" if there else ""
    return f": {count(len(ones), 'run')}{shared}{each} ({c.main.place}, one thread){there_too}"
