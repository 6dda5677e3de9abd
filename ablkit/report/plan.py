"""Which runs a report needs, and running those that are missing."""

from __future__ import annotations

from ablkit.defenses import METHODS
from ablkit.errors import UserError
from ablkit.runs.arguments import cores
from ablkit.runs.execute import mistakes_in_data
from ablkit.runs.job import Job
from ablkit.runs.notebooks import read
from ablkit.runs.parameters import changed, check
from ablkit.sweep.board import Board
from ablkit.sweep.local import attempt, run
from ablkit.sweep.slots import make

COMPARISONS = {
    "loss_gap": "loss gap",
    "attacks": "gallery and undefended models",
    "table1": "ABL beside repairs",
    "unlearning": "ways to use the isolated examples",
    "what_unlearns": "what of the unlearning does the work",
    "twins": "attacks with their idea off",
    "isolators": "scores that isolation may rank on",
    "exclusion": "training without suspects",
    "architectures": "phase 1 with several models",
    "poison_rate": "how much is poisoned",
    "gamma": "the threshold of LGA",
    "isolation_rate": "how many images are isolated",
    "turning_epoch": "when images are isolated",
    "repairs": "what repairs are given",
    "recipes": "the recipes of others",
    "cost": "seconds and memory of each stage",
    "adaptive": "attackers who know the defence",
}
"""Notebooks that compare runs -> what they compare."""
_METHODS = {"none": "undefended", "abl": "ABL"}


def jobs(
    preset: str,
    seeds: list[int],
    changes: dict,
    attacks: tuple[str, ...] = ("badnets",),
    comparisons: tuple[str, ...] = (),
) -> list[Job]:
    """The runs of a report: undefended and ABL for each attack and seed; all parameters are checked.

    In the small presets each attack comes with its own poisoning rate.

    Args:
        comparisons: those of COMPARISONS that are executed too, each over all attacks and seeds.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {' '.join(map(str, seeds))} name one twice; each counts once")
    sources = {name: read(name) for name in ("run", *comparisons)}

    def job(notebook: str, own: dict) -> Job:
        parameters = check(notebook, changed(notebook, preset, changes | own))
        return Job(notebook, COMPARISONS[notebook], parameters, sources[notebook])

    over = {"attack_names": " ".join(attacks), "seeds": " ".join(map(str, seeds))}
    every = check("table1", changed("table1", preset, changes | over | {"method_names": "none abl"}))
    needed = [Job("run", _METHODS[one.method], one, sources["run"]) for one in every.runs()]
    return [*needed, *(job(name, over) for name in comparisons)]


def runs_of(needed: list[Job]) -> list[Job]:
    """The runs of run.ipynb that a report is made of: its own, and those that its comparisons read, each once."""
    found = {job.parameters: job for job in needed if job.notebook == "run"}
    for comparison in needed:
        if comparison.notebook != "run":
            source = next(job.shared for job in found.values())
            for one in comparison.parameters.runs():
                found.setdefault(one, Job("run", METHODS[one.method], one, source))
    return list(found.values())


def run_missing(needed: list[Job]) -> dict[Job, str]:
    """Run what is not done yet, as many at a time as the cores allow; return the message of each run that failed.

    What another process has in hand is waited for. Raises UserError, before anything starts, for what the data tell is
    wrong.
    """
    if wrong := mistakes_in_data([job for job in needed if job.state != "done"]):
        raise UserError("\n".join(wrong))
    workers = max(1, cores() // max(job.parameters.threads for job in needed))
    failed = {}
    # Those that read other runs last, so that none of them fills a slot while it waits for its runs.
    for part in ([j for j in needed if j.notebook == "run"], [j for j in needed if j.notebook != "run"]):
        room = make(part, min(workers, max(1, len(part))))
        failed |= run(part, room, Board(part, len(room)), attempt)
    return failed
