"""The pages: self-contained HTML without scripts, readable on a phone, in light and dark."""

from __future__ import annotations

import shlex
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbconvert import HTMLExporter

from ablkit.attacks import find
from ablkit.environment import hardware_line
from ablkit.figures import DATASET_TITLES, TITLES
from ablkit.files import read_json, write_text
from ablkit.jobs import Job
from ablkit.parameters import PRESETS, PoisonedSet, defaults
from ablkit.report.ledger import ledger, result_rows
from ablkit.report.plan import by_attack


def build(jobs: list[Job], to: Path, command: str, preset: str) -> Path:
    """Write a page for each finished run and the index; return the index's path.

    Args:
        command: what makes these pages, shown on the index.
    """
    with as_file(files("ablkit.report") / "templates") as templates:
        shell = Environment(loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined)
        style = (templates / "style.css").read_text(encoding="utf-8")
        exporter = HTMLExporter(
            extra_template_basedirs=[str(templates)], template_name="ablkit", exclude_anchor_links=True
        )
        exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
        for job in jobs:
            if job.state == "done":
                _write_page(job, to, shell, style, exporter)
        _write_index(jobs, to, shell, style, command, preset)
    return to / "index.html"


def name_of(job: Job) -> str:
    """The page's name: what tells the runs of a report apart."""
    p = job.parameters
    if not isinstance(p, PoisonedSet):
        return f"{job.notebook}-{p.dataset}"
    method = f"-{p.method}" if job.notebook == "run" else ""
    return f"{job.notebook}-{p.dataset}-{p.attack}{method}-seed{p.seed}"


def command_of(job: Job) -> str:
    """The shortest command that repeats a run."""
    values = job.parameters.model_dump()

    def changed(preset: str) -> dict:
        return {k: v for k, v in values.items() if v != defaults(job.notebook, preset)[k]}

    preset = min(PRESETS, key=lambda name: len(changed(name)))
    options = [] if preset == "quick" else ["--preset", preset]
    for name, value in changed(preset).items():
        options += ["-p", name, str(value)]
    return shlex.join(["ablkit", "run", job.notebook, *options])


def _write_page(job: Job, to: Path, shell: Environment, style: str, exporter: HTMLExporter) -> None:
    notebook = nbformat.read(job.folder / "notebook.ipynb", as_version=4)
    # What ran are the injected values; the cell of the defaults before them would mislead.
    notebook.cells = [cell for cell in notebook.cells if "parameters" not in cell.metadata.get("tags", [])]
    body, _ = exporter.from_notebook_node(notebook)
    name = name_of(job)
    figures = job.folder / "figures"
    tables = sorted(figures.glob("*.csv"))
    # As vectors only what is drawn from numbers: pictures of images stand in the page, and would be half of a report.
    numbers = [job.folder / "metrics.json", *tables, *(table.with_suffix(".svg") for table in tables)]
    for file in numbers:
        (to / "files" / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to / "files" / name / file.name)
    page = shell.get_template("page.html.j2").render(
        title=f"{job.title}, {job.subject}",
        notebook=job.notebook,
        subject=job.subject,
        style=style,
        body=body,
        command=command_of(job),
        files=[f"files/{name}/{file.name}" for file in numbers],
        seconds=job.metrics().get("seconds"),
        environment=_environment(job),
        parameters=job.parameters.model_dump(),
    )
    write_text(to / f"{name}.html", page)


def _environment(job: Job) -> dict:
    facts = read_json(job.folder / "env.json")
    if "peak_memory_bytes" in facts:
        facts["peak_memory"] = f"{facts.pop('peak_memory_bytes') / 2**20:.0f} MiB"
    return facts


def _write_index(jobs: list[Job], to: Path, shell: Environment, style: str, command: str, preset: str) -> None:
    done = [job for job in jobs if job.state == "done"]
    page = shell.get_template("index.html.j2").render(
        style=style,
        groups=[_group(own, preset) for own in by_attack(jobs).values()],
        jobs=[_line(job) for job in jobs],
        command=command,
        environment=_environment(done[0]) if done else {},
    )
    write_text(to / "index.html", page)


def _group(jobs: list[Job], preset: str) -> dict:
    """What the index says of one attack."""
    done = [job for job in jobs if job.state == "done"]
    columns, rows = result_rows(jobs)
    seeds = sorted({job.parameters.seed for job in jobs})
    parameters = jobs[0].parameters
    dataset = DATASET_TITLES.get(parameters.dataset, parameters.dataset)
    note = "Mean over the seeds, lowest and highest in brackets. * transcribed from memory, check against the PDF."
    group = {
        "title": f"{TITLES[parameters.attack]} on {dataset}, preset {preset}",
        "setting": _setting(jobs),
        "notice": " ".join(_warnings(preset, seeds, jobs)),
        "columns": columns,
        "rows": [{"title": r[0], "cells": r[1:-1], "n": r[-1], "paper": r[0].startswith("paper")} for r in rows],
        "note": note + (f" {hardware_line(read_json(done[0].folder / 'env.json'))}." if done else ""),
        "ledger": ledger(jobs, preset),
        "figure": "",
    }
    shown = next((job for job in done if job.title == "ABL"), None)
    if shown:
        group |= {
            "figure": f"files/{name_of(shown)}/training-curves.svg",
            "figure_seed": shown.parameters.seed,
            "figure_page": f"{name_of(shown)}.html",
        }
    return group


def _warnings(preset: str, seeds: list[int], jobs: list[Job]) -> list[str]:
    """What a reader must know before believing the table."""
    done = [len([j for j in jobs if j.title == title and j.state == "done"]) for title in ("undefended", "ABL")]
    warnings = ["Rows of one seed (n = 1) are a demonstration, not a measurement."] if 1 in done else []
    if min(done) < len(seeds):
        warnings.append("Not all runs are done; the missing ones stand below with their commands.")
    if preset == "quick" and 0 in seeds:
        warnings.append("Seed 0 took part in the choice of this preset's turning epoch; take its numbers as fitted.")
    return warnings


def _line(job: Job) -> dict:
    failed = job.state == "failed"
    seconds = job.metrics().get("seconds") if job.state == "done" else None
    return {
        "title": f"{job.notebook}: {job.title}, {job.subject}",
        "page": f"{name_of(job)}.html" if job.state == "done" else "",
        "minutes": "" if seconds is None else f"{seconds / 60:.1f}",
        "state": job.state,
        "message": read_json(job.folder / "failure.json")["message"]
        if failed
        else command_of(job)
        if job.state == "missing"
        else "",
    }


def _setting(jobs: list[Job]) -> str:
    abl = next(job.parameters for job in jobs if job.title == "ABL")
    attack = find(abl.attack)
    runs = (job.metrics() for job in jobs if job.state == "done" and job.notebook == "run")
    counts = next((f"{m['training_images']:,} training images, {m['poisoned_images']:,} of them" for m in runs), "")
    whole = "the training set" if attack.kind == "dirty label" else "the target class, which keeps its labels"
    return (
        f"{attack.title} ({attack.paper}; {attack.kind}, changes {attack.changes}). {counts} poisoned"
        f" ({abl.poison_rate:.0%} of {whole}), target class {abl.target}, {abl.model},"
        f" batch {abl.batch_size}; {abl.isolation_epochs} + {abl.finetune_epochs} + {abl.unlearn_epochs} epochs"
        f" ({abl.isolation_loss}, fine-tuning, unlearning), {abl.isolation_rate:.0%} isolated."
    )
