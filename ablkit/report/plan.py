"""Which runs a report needs, and running those that are missing."""

from __future__ import annotations

from pathlib import Path

from ablkit.attacks import find
from ablkit.errors import UserError
from ablkit.report.results import Result
from ablkit.runs import arguments
from ablkit.runs.execute import mistakes_in_data
from ablkit.runs.job import Job
from ablkit.runs.notebooks import read
from ablkit.runs.parameters import LossGap, OneRun, changed, check
from ablkit.sweep.board import Board
from ablkit.sweep.local import run
from ablkit.sweep.slots import cores, make

COMPARISONS = {
    "defenses": "ABL beside repairs",
    "unlearning": "ways to use the isolated examples",
    "twins": "attacks without their essential part",
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
        failed |= run(part, room, Board(part, len(room)))
    return failed


def by_attack(results: list[Result]) -> dict[str, list[Result]]:
    """Attack -> its runs; those that compare attacks are left out."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if isinstance(result.job.parameters, OneRun | LossGap):
            groups.setdefault(result.job.parameters.attack, []).append(result)
    return groups


def run_all(
    preset: str,
    seeds: list[int],
    to: Path,
    changes: dict,
    attacks: tuple[str, ...] = ("badnets",),
    comparisons: tuple[str, ...] = (),
    *,
    as_is: bool = False,
) -> int:
    """Run what is missing, build the pages in `to`, print the result table and the index's path; return the exit code.

    Args:
        as_is: run nothing; the index then lists what is missing with the command of each run.

    Raises UserError, before anything runs, where `to` cannot be a folder.
    """
    from ablkit.report.ledger import result_rows
    from ablkit.report.site import build

    arguments.check_folder("--to", to)
    needed = jobs(preset, seeds, changes, attacks, comparisons)
    command = f"ablkit report --preset {preset} --seeds {' '.join(map(str, seeds))}"
    for option, value in changes.items():
        command += f" --{option} {value}"
    if attacks != ("badnets",):
        command += f" --attacks {' '.join(attacks)}"
    if comparisons:
        command += f" --with {' '.join(comparisons)}"
    failed = {} if as_is else run_missing(needed)
    index, results = build(needed, to, command, preset)
    for attack, own in by_attack(results).items():
        print(f"\n{find(attack).title}")
        _print_table(*result_rows(own))
    print(f"\n{index}")
    return 1 if failed or any(result.state == "damaged" for result in results) else 0


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(line) for line in column) for column in zip(["", *columns, "n"], *rows, strict=True)]
    for row in (["", *columns, "n"], *rows):
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
