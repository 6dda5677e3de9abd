"""Which runs a report needs, and running those that are missing."""

from __future__ import annotations

from ablkit.errors import UserError
from ablkit.runs.execute import mistakes_in_data
from ablkit.runs.job import Job
from ablkit.runs.notebooks import read
from ablkit.runs.parameters import changed, check
from ablkit.sweep.board import Board
from ablkit.sweep.local import attempt, run
from ablkit.sweep.slots import cores, make

COMPARISONS = {
    "defenses": "ABL beside repairs",
    "unlearning": "ways to use the isolated examples",
    "twins": "attacks with their idea off",
}
"""Notebooks that compare runs -> what they compare."""


def jobs(
    preset: str,
    seeds: list[int],
    changes: dict,
    attacks: tuple[str, ...] = ("badnets",),
    comparisons: tuple[str, ...] = (),
) -> list[Job]:
    """The runs of a report: undefended, ABL and the loss gap for each attack and seed; all parameters are checked.

    In the small presets each attack comes with its own poisoning rate. Several are also compared in `attacks.ipynb`.

    Args:
        comparisons: those of COMPARISONS that join it, each over all attacks and seeds.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {' '.join(map(str, seeds))} name one twice; each counts once")
    titles = {"attacks": "gallery and undefended models"} if len(attacks) > 1 else {}
    titles |= {name: COMPARISONS[name] for name in comparisons}
    sources = {name: read(name) for name in ("run", "loss_gap", *titles)}

    def job(notebook: str, title: str, own: dict) -> Job:
        parameters = check(notebook, changed(notebook, preset, changes | own))
        return Job(notebook, title, parameters, sources[notebook])

    needed = []
    for attack in attacks:
        for seed in seeds:
            gap = job("loss_gap", "loss gap", {"attack": attack, "seed": seed})
            both = zip(("undefended", "ABL"), gap.parameters.runs(), strict=True)
            needed += [*(Job("run", title, one, sources["run"]) for title, one in both), gap]
    over = {"attack_names": " ".join(attacks), "seeds": " ".join(map(str, seeds))}
    return needed + [job(notebook, title, over) for notebook, title in titles.items()]


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
