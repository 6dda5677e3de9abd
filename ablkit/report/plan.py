"""Which runs a report needs, and running those that are missing."""

from __future__ import annotations

import os
from pathlib import Path

from ablkit.attacks import find
from ablkit.errors import UserError
from ablkit.execute import RunFailed, execute
from ablkit.jobs import Job
from ablkit.parameters import PoisonedSet, changed, check, defaults
from ablkit.report.results import Result

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
    kinds = [
        ("run", "undefended", {"method": "none"}),
        ("run", "ABL", {"method": "abl"}),
        ("loss_gap", "loss gap", {}),
    ]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {' '.join(map(str, seeds))} name one twice; each counts once")
    needed = []
    for attack in attacks:
        rate = defaults("attacks", preset)["poison_rate"] or find(attack).quick_rate
        for seed in seeds:
            for notebook, title, own in kinds:
                values = {**own, "attack": attack, "poison_rate": rate, "seed": seed}
                needed.append(Job(notebook, title, check(notebook, {**changed(notebook, preset, changes), **values})))
    titles = {"attacks": "gallery and undefended models"} if len(attacks) > 1 else {}
    for notebook, title in (titles | {name: COMPARISONS[name] for name in comparisons}).items():
        over = {"attack_names": " ".join(attacks), "seeds": " ".join(map(str, seeds))}
        needed.append(Job(notebook, title, check(notebook, changed(notebook, preset, changes) | over)))
    return needed


def run_missing(needed: list[Job]) -> list[str]:
    """Run what is not done yet, one after another; return a line for each run that failed.

    A mistake that is found before a run has started ends it at once, as every further run would meet it too.
    """
    failures = []
    for number, job in enumerate(needed, 1):
        name = f"[{number}/{len(needed)}] {job.notebook}.ipynb: {job.title}, {job.subject}"
        if job.state == "done":
            print(f"{name}: done before", flush=True)
            continue
        print(name, flush=True)
        try:
            execute(job.notebook, job.parameters, show=lambda line: print(f"    {line}", flush=True))
        except (RunFailed, UserError) as error:
            if job.state != "failed":
                raise
            print(f"    failed: {error}", flush=True)
            failures.append(f"{name}: {error}")
    return failures


def by_attack(results: list[Result]) -> dict[str, list[Result]]:
    """Attack -> its runs; those that compare attacks are left out."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if isinstance(result.job.parameters, PoisonedSet):
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

    nearest = next(place for place in (to, *to.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(
            f"the pages cannot go to {to}: {nearest} is no folder that you may write; name another with --to"
        )
    needed = jobs(preset, seeds, changes, attacks, comparisons)
    command = f"ablkit report --preset {preset} --seeds {' '.join(map(str, seeds))}"
    for option, value in changes.items():
        command += f" --{option} {value}"
    if attacks != ("badnets",):
        command += f" --attacks {' '.join(attacks)}"
    if comparisons:
        command += f" --with {' '.join(comparisons)}"
    failures = [] if as_is else run_missing(needed)
    index, results = build(needed, to, command, preset)
    for attack, own in by_attack(results).items():
        print(f"\n{find(attack).title}")
        _print_table(*result_rows(own))
    print(f"\n{index}")
    return 1 if failures or any(result.state == "damaged" for result in results) else 0


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(line) for line in column) for column in zip(["", *columns, "n"], *rows, strict=True)]
    for row in (["", *columns, "n"], *rows):
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
