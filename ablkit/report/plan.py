"""Which runs a report needs, and running those that are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablkit import runs
from ablkit.errors import UserError
from ablkit.execute import RunFailed, execute
from ablkit.files import read_json
from ablkit.notebooks import code_digest, path_of
from ablkit.parameters import Parameters, changed, check


@dataclass(frozen=True)
class Job:
    """One run that a report needs."""

    notebook: str
    title: str
    parameters: Parameters

    @property
    def folder(self) -> Path:
        """Where its run is or will be."""
        return runs.folder_of(self.notebook, self.parameters, code_digest(path_of(self.notebook)))

    @property
    def state(self) -> str:
        """`done`, `failed` or `missing`."""
        if (self.folder / "metrics.json").exists():
            return "done"
        return "failed" if (self.folder / "failure.json").exists() else "missing"

    def metrics(self) -> dict:
        """The metrics of a run that is done."""
        return read_json(self.folder / "metrics.json")


def jobs(preset: str, seeds: list[int], changes: dict) -> list[Job]:
    """The runs of a report: undefended, ABL and the loss gap, for each seed; all parameters are checked."""
    kinds = [
        ("run", "undefended", {"method": "none"}),
        ("run", "ABL", {"method": "abl"}),
        ("loss_gap", "loss gap", {}),
    ]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {' '.join(map(str, seeds))} name one twice; each counts once")
    return [
        Job(notebook, title, check(notebook, {**changed(notebook, preset, changes), **own, "seed": seed}))
        for seed in seeds
        for notebook, title, own in kinds
    ]


def run_missing(needed: list[Job]) -> list[str]:
    """Run what is not done yet, one after another; return a line for each run that failed.

    A mistake that is found before a run has started ends it at once, as every further run would meet it too.
    """
    failures = []
    for number, job in enumerate(needed, 1):
        what = f"{job.title}, {job.parameters.attack}, seed {job.parameters.seed}"
        name = f"[{number}/{len(needed)}] {job.notebook}.ipynb: {what}"
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


def run_all(preset: str, seeds: list[int], to: Path, changes: dict) -> int:
    """Run what is missing, build the pages in `to`, print the result table and the index's path."""
    from ablkit.report.ledger import result_rows
    from ablkit.report.site import build

    needed = jobs(preset, seeds, changes)
    command = f"ablkit report --preset {preset} --seeds {' '.join(map(str, seeds))}"
    for option, value in changes.items():
        command += f" --{option} {value}"
    failures = run_missing(needed)
    index = build(needed, to, command, preset)
    print()
    columns, rows = result_rows(needed)
    widths = [max(len(line) for line in column) for column in zip(["", *columns, "n"], *rows, strict=True)]
    for row in (["", *columns, "n"], *rows):
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
    print(f"\n{index}")
    return 1 if failures else 0
