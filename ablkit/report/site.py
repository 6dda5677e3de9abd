"""The pages: self-contained HTML without scripts, readable on a phone, in light and dark."""

from __future__ import annotations

import re
import shlex
import shutil
from hashlib import sha256
from pathlib import Path

from markupsafe import Markup
from nbconvert import HTMLExporter

from ablkit.attacks import find
from ablkit.errors import UserError
from ablkit.files import write_bytes, write_json, write_text
from ablkit.report import results, sanitise, shell
from ablkit.report.figures import DATASET_TITLES, TITLES
from ablkit.report.ledger import by_attack, ledger, result_rows
from ablkit.report.results import Result
from ablkit.report.text import label, number
from ablkit.runs.environment import hardware_line
from ablkit.runs.job import Job
from ablkit.runs.parameters import PRESETS, LossGap, OneRun, defaults

_LONGEST_NAME, _LONGEST_LINE = 80, 400


def build(jobs: list[Job], to: Path, command: str, preset: str) -> tuple[Path, list[Result]]:
    """Write a page for each finished run, and the index; return the index's path and what is known of each run.

    A run whose folder is damaged gets no page: the index and a printed line say why.

    Args:
        command: what makes these pages, shown on the index.
    """
    with shell.templates() as templates:
        exporter = sanitise.exporter(templates)
        found = [_with_page(results.read(job), to, exporter) for job in jobs]
    _write_index(found, to, command, preset)
    return to / "index.html", found


def name_of(job: Job) -> str:
    """The page's name: what tells the runs of a report apart."""
    p = job.parameters
    if not isinstance(p, OneRun | LossGap):
        return f"{job.notebook}-{_file_name(p.dataset)}"
    method = f"-{p.method}" if job.notebook == "run" else ""
    return f"{job.notebook}-{_file_name(p.dataset)}-{p.attack}{method}-seed{p.seed}"


def _file_name(dataset: str) -> str:
    """The name of a data set where it is good for addresses and files, else one of its own made of it."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", dataset)[:_LONGEST_NAME]
    return plain if plain == dataset else f"{plain}-{sha256(dataset.encode(errors='replace')).hexdigest()[:8]}"


def command_of(job: Job) -> str:
    """The shortest command that repeats a run."""
    values = job.parameters.model_dump()

    def changed(preset: str) -> dict:
        return {k: v for k, v in values.items() if v != defaults(job.notebook, preset)[k]}

    preset = values.get("preset") or min(PRESETS, key=lambda name: len(changed(name)))
    options = [] if preset == "quick" else ["--preset", preset]
    for name, value in changed(preset).items():
        options += ["-p", name, str(value)]
    return shlex.join(["ablkit", "run", job.notebook, *options])


def _with_page(result: Result, to: Path, exporter: HTMLExporter) -> Result:
    """Write the page of a run that is done; the same result, or a damaged one where its folder gives no page."""
    if result.state == "done":
        try:
            body = sanitise.body(results.notebook(result.job.folder), exporter)
            files, left_out = results.figures(result.job.folder)
        except UserError as error:
            result = result.damaged(error)
        except Exception as error:  # a damaged notebook makes nbconvert raise anything
            result = result.damaged(f"notebook.ipynb cannot be shown ({type(error).__name__})")
        else:
            _write_page(result, to, body, files)
            if left_out:
                print(f"{_place(result)}: left out of the pages: {label('; '.join(left_out), _LONGEST_LINE)}")
    if result.state == "damaged":
        reason = label(result.message, _LONGEST_LINE)
        print(f"{_place(result)} is damaged and gets no page: {reason}; delete {result.job.folder} and run it again")
        # What an earlier report wrote would pass for a page of this one.
        (to / f"{name_of(result.job)}.html").unlink(missing_ok=True)
        shutil.rmtree(to / "files" / name_of(result.job), ignore_errors=True)
    return result


def _place(result: Result) -> str:
    return f"{result.job.notebook}/{result.job.folder.name}"


def _write_page(result: Result, to: Path, body: str, files: dict[str, bytes]) -> None:
    """The page of a run.

    Args:
        body: of its notebook, sanitised.
        files: name -> content, for the pages to link to.
    """
    job, name = result.job, name_of(result.job)
    shutil.rmtree(to / "files" / name, ignore_errors=True)
    write_json(to / "files" / name / "metrics.json", result.metrics)
    for file, content in files.items():
        write_bytes(to / "files" / name / file, content)
    page = shell.render(
        "page.html.j2",
        title=f"{job.title}, {job.subject}",
        notebook=job.notebook,
        subject=job.subject,
        body=Markup(body),
        command=command_of(job),
        files=[f"files/{name}/{file}" for file in ("metrics.json", *files)],
        seconds=result.metrics.get("seconds"),
        environment=result.environment,
        parameters=job.parameters.model_dump(),
    )
    write_text(to / f"{name}.html", page)


def _write_index(found: list[Result], to: Path, command: str, preset: str) -> None:
    page = shell.render(
        "index.html.j2",
        groups=[_group(own, to, preset) for own in by_attack(found).values()],
        jobs=[_line(result) for result in found],
        command=command,
        environment=next((result.environment for result in found if result.state == "done"), {}),
    )
    write_text(to / "index.html", page)


def _group(found: list[Result], to: Path, preset: str) -> dict:
    """What the index says of one attack."""
    done = [result for result in found if result.state == "done"]
    columns, rows = result_rows(found)
    seeds = sorted({result.job.parameters.seed for result in found})
    parameters = found[0].job.parameters
    dataset = DATASET_TITLES.get(parameters.dataset, label(parameters.dataset, _LONGEST_NAME))
    note = "Mean over the seeds, lowest and highest in brackets. * transcribed from memory, check against the PDF."
    group = {
        "title": f"{TITLES[parameters.attack]} on {dataset}, preset {preset}",
        "setting": _setting(found),
        "notice": " ".join(_warnings(preset, seeds, found)),
        "columns": columns,
        "rows": [{"title": r[0], "cells": r[1:-1], "n": r[-1], "paper": r[0].startswith("paper")} for r in rows],
        "note": note + (f" {hardware_line(done[0].environment)}." if done else ""),
        "ledger": ledger(found, preset),
        "figure": "",
    }
    shown = next((result.job for result in done if result.job.title == "ABL"), None)
    figure = f"files/{name_of(shown)}/training-curves.svg" if shown else ""
    if shown and (to / figure).is_file():
        group |= {
            "figure": figure,
            "figure_seed": shown.parameters.seed,
            "figure_page": f"{name_of(shown)}.html",
        }
    return group


def _warnings(preset: str, seeds: list[int], found: list[Result]) -> list[str]:
    """What a reader must know before believing the table."""
    titles = [result.job.title for result in found if result.state == "done"]
    done = [titles.count("undefended"), titles.count("ABL")]
    warnings = ["Rows of one seed (n = 1) are a demonstration, not a measurement."] if 1 in done else []
    if min(done) < len(seeds):
        warnings.append("Not all runs are done; the others stand below with their commands or what went wrong.")
    if preset == "quick" and 0 in seeds:
        warnings.append("Seed 0 took part in the choice of this preset's turning epoch; take its numbers as fitted.")
    return warnings


def _line(result: Result) -> dict:
    job, seconds = result.job, result.metrics.get("seconds")
    return {
        "title": f"{job.notebook}: {job.title}, {job.subject}",
        "page": f"{name_of(job)}.html" if result.state == "done" else "",
        "minutes": "" if seconds is None else f"{seconds / 60:.1f}",
        "state": result.state,
        "message": command_of(job) if result.state in ("missing", "unfinished") else result.message,
    }


def _setting(found: list[Result]) -> str:
    abl = next(result.job.parameters for result in found if result.job.title == "ABL")
    attack = find(abl.attack)
    counts = next((_counts(result.metrics) for result in found if result.job.notebook == "run" and result.metrics), "")
    whole = "the training set" if attack.kind == "dirty label" else "the target class, which keeps its labels"
    return (
        f"{attack.title} ({attack.paper}; {attack.kind}, changes {attack.changes}). {counts} poisoned"
        f" ({abl.poison_rate:.0%} of {whole}), target class {abl.target}, {abl.model},"
        f" batch {abl.batch_size}; {abl.isolation_epochs} + {abl.finetune_epochs} + {abl.unlearn_epochs} epochs"
        f" ({abl.isolation_loss}, fine-tuning, unlearning), {abl.isolation_rate:.0%} isolated."
    )


def _counts(metrics: dict) -> str:
    total, poisoned = (number(metrics.get(name), "{:,}") for name in ("training_images", "poisoned_images"))
    return f"{total} training images, {poisoned} of them"
