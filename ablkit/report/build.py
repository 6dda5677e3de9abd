"""A report from its first missing run to its last page."""

from __future__ import annotations

import shlex
from pathlib import Path

from ablkit.errors import UserError
from ablkit.report import data, site
from ablkit.report.pages.index import lines
from ablkit.report.plan import jobs, run_missing, runs_of
from ablkit.runs import arguments, listing, records
from ablkit.runs.job import Job

_LONGEST_REASON = 300


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
    """Run what is missing, take all finished runs into `to/data`, write the site; return the exit code.

    Args:
        as_is: run nothing; the index then lists what is missing with the command of each run.

    Raises UserError, before anything runs, where `to` cannot be a folder or holds the pages of something else, or where
    `to/data` is where data sets are kept.
    """
    arguments.check_folder("--to", to)
    data.check_no_data_root(to)
    data.check_no_others(to)
    needed = jobs(preset, seeds, changes, attacks, comparisons)
    failed = {} if as_is else run_missing(needed)
    outcomes = [(job, _taken(job, to / "data")) for job in runs_of(needed)]
    wanted = tuple((job, reason) for job, reason in outcomes if reason is not None)
    wanted += tuple((job, _why(job)) for job in needed if job.notebook != "run" and job.state != "done")
    if others := sum(not (to / "data" / run.name).exists() for run in _finished()):
        told = "1 other finished run is" if others == 1 else f"{others} other finished runs are"
        way = f"`ablkit report --from {shlex.quote(str(to / 'data'))} --add all` takes them in"
        print(f"{told} not in this report; {way}")
    _write(to / "data", to, wanted)
    return 1 if failed or any(job.state in ("done", "damaged") for job, _ in wanted) else 0


def from_data(folder: Path, keys: list[str], to: Path) -> int:
    """Take finished runs into a folder of committed numbers, and write the site of them all; return the exit code.

    Args:
        keys: of the runs, or `all`: every finished one here.

    Raises UserError, before anything is written, for a key that is no finished run and for what `data.check` refuses.
    """
    arguments.check_folder("--to", to)
    if not folder.is_dir() and not keys:
        way = "name the folder that holds the numbers" if folder.exists() else _way_out(folder)
        raise UserError(f"--from {folder} is no folder; {way}")
    data.check(folder, to)  # before the runs join it
    found = _finished() if keys == ["all"] else [listing.find(key) for key in keys]
    for run in found:
        kept, left_out = data.add(run, folder)
        print(kept, f"(without {', '.join(left_out)}: larger than {data.LARGEST:,} bytes)" if left_out else "")
    if not any(folder.glob("*/metrics.json")):
        raise UserError(f"--from {folder} holds no numbers of runs; {_way_out(folder)}")
    _write(folder, to)
    return 0


def _finished() -> list[Path]:
    """The finished runs of run.ipynb here, without damaged ones."""
    return [folder for folder in listing.finished([])[0] if folder.parent.name == "run"]


def _way_out(folder: Path) -> str:
    return f"`ablkit report --from {folder} --add KEY` takes one in"


def _write(folder: Path, to: Path, wanted: tuple[tuple[Job, str], ...] = ()) -> None:
    for line in lines(site.build(folder, to, wanted)):
        print(line)
    print(to / "index.html")


def _taken(job: Job, folder: Path) -> str | None:
    """Take a run in; None where that is done, else why not."""
    if job.state not in ("done", "damaged"):
        return _why(job)
    try:
        _, left_out = data.add(job.folder, folder)
    except UserError as error:
        reason = f"damaged: {error.path.name} {error.reason}" if isinstance(error, records.Damaged) else str(error)
        print(
            f"{job.notebook}/{job.folder.name} is damaged and left out: {reason}; delete {job.folder} and run it again"
        )
        return reason[:_LONGEST_REASON]
    if left_out:
        print(f"{job.notebook}/{job.folder.name}: left out as too large: {', '.join(left_out)}")
    return None


def _why(job: Job) -> str:
    """What went wrong with a run that is not done; empty where nothing did."""
    if job.state != "failed":
        return ""
    try:
        message = records.failure(job.folder)["message"].strip()
    except UserError:
        return "it left no reason that can be read"
    return (message.splitlines() or ["it left no reason"])[0][:_LONGEST_REASON]
