"""A report from its first missing run to its last page."""

from __future__ import annotations

from pathlib import Path

from ablkit.attacks import find
from ablkit.report.ledger import by_attack, result_rows
from ablkit.report.plan import jobs, run_missing
from ablkit.report.site import build
from ablkit.runs import arguments


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
