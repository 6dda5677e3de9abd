"""What a page says where runs are missing: the command and what it would cost."""

from __future__ import annotations

from ablkit.report import costs
from ablkit.report.collect import Collection
from ablkit.report.page import Block, Cell, Heading, Table, Text, code, literal
from ablkit.report.repeat import command


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
    """A part of a page whose runs were never made: what it would show, the commands, and what one run costs."""
    known = costs.minutes(c.main.of("abl")).dropna() if c.main is not None else []
    cost = f" One run takes about {known.median():.0f} minutes ({c.main.place}, one thread)." if len(known) else ""
    lines = "\n".join(f"- {code(line)}" for line in commands)
    return [Text(f"**Not run:** {what}.{cost}\n\n{lines}", "notice")]
