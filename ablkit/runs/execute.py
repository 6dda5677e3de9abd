"""One notebook in one child process: parameters checked, a kernel on its own sockets, done or failed without doubt."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ablkit import attacks, data, defenses, provenance
from ablkit.data import memory
from ablkit.errors import NotRunError, UserError
from ablkit.files import LOCK, Busy, locked, read_json, saying_why, sweep_temporary, write_json
from ablkit.paths import cache_root, check_writable, runs_root
from ablkit.runs import before, durations, process, seals
from ablkit.runs.arguments import seconds
from ablkit.runs.child import PACKAGE, last_cell
from ablkit.runs.folder import FOLDER_VARIABLE, PARAMETERS, PENDING, complete
from ablkit.runs.job import Job
from ablkit.runs.key import modules_of
from ablkit.runs.parameters import Comparison, OneRun, Parameters, YourData, check
from ablkit.training.isolation import isolated_count
from ablkit.training.kept import AGAIN

_FEWEST_CLEAN = 2
"""Clean images that a repair can learn from: one fills no batch that batch norm can normalise."""


class RunFailed(Exception):
    """A notebook that did not end well: which cell, and the last line of what went wrong."""


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: Path
    was_done: bool
    """It had been finished before, so nothing was executed."""
    seconds: float | None = None
    """What it took from its start to its end, of all attempts together, where it was executed and that is known."""


def execute(notebook: str, parameters: Parameters, *, show: Callable[[str], object] = print, **options) -> Outcome:
    """Run a notebook through papermill unless its run is done already; see `carry_out`.

    Args:
        parameters: checked ones, see `ablkit.runs.parameters.check`.
    """
    job = Job(notebook, "", parameters)
    for line in before.told([job]):
        show(line)
    return carry_out(job, show=show, **options)


def carry_out(
    job: Job,
    *,
    force: bool = False,
    with_model: bool = False,
    timeout: float | None = None,
    show: Callable[[str], object] = print,
    environment: dict[str, str] | None = None,
    started: Callable[[int], object] = lambda pid: None,
) -> Outcome:
    """Run the notebook of a job unless its run is done already.

    Args:
        force: run again although it is done, and train again what other runs have trained.
        with_model: run again, too, where the run came in an archive without its weights; see `ablkit.runs.bundle`.
        timeout: seconds after which the run is killed.
        show: called with each line that the notebook prints.
        environment: variables that the run gets beside those of this process, such as its GPU.
        started: called with the number of the run's process, for those who may have to end it.

    A run that was killed before goes on from its checkpoint. Raises UserError for what the user can mend (also where
    a cell raised one, or the kernel died), Busy where another process has this run in hand, and RunFailed for every
    other failing cell and for a time-out.
    """
    if timeout is not None:
        seconds("timeout", timeout)
    if job.is_done(with_model) and not force:
        return Outcome(job.folder, was_done=True)
    check_against_data(job.parameters)
    with saying_why(job.folder), locked(job.folder) as held:
        # Once more: another process may have finished it while this one came to the lock.
        if job.is_done(with_model) and not force:
            return Outcome(job.folder, was_done=True)
        if (job.folder / "metrics.json").exists() and not force:
            reason = "was added without its model, which others start from" if job.is_done() else "is damaged"
            show(f"the run {job.folder.name} {reason}, and is made again")
        again = {AGAIN: "1"} if force else {}
        return _carry_out(job, held, timeout, show, {**(environment or {}), **again}, started)


def _carry_out(
    job: Job,
    held: int,
    timeout: float | None,
    show: Callable[[str], object],
    environment: dict[str, str],
    started: Callable[[int], object],
) -> Outcome:
    folder = job.folder
    _clear_away(folder)
    for leftover in ("metrics.json", PENDING, "failure.json", seals.LEFT_OUT):
        (folder / leftover).unlink(missing_ok=True)
    write_json(folder / PARAMETERS, job.facts)
    own = {**environment, **process.threads(job.parameters.threads), FOLDER_VARIABLE: str(folder)}
    own[PACKAGE] = provenance.planned(*modules_of(job.parameters, job.source))
    with durations.Watch(folder) as watch:
        code, timed_out = process.run_child(job.source, folder, held, timeout, show, own, started)
    failure = _failure(folder, code, timed_out, timeout)
    if failure:
        write_json(folder / "failure.json", {"message": str(failure), "cell": last_cell(folder)})
        raise failure
    seconds = watch.seconds()
    durations.note(folder, seconds)
    complete(folder)
    return Outcome(folder, was_done=False, seconds=seconds)


def _clear_away(folder: Path) -> None:
    """Delete what no run leaves and a run would write through, wait for or stumble over: links, pipes and the like.

    What a process that was killed while it wrote has left goes too.
    """
    for place, folders, files in os.walk(folder):
        for name in files:
            if name != LOCK and not stat.S_ISREG((Path(place) / name).lstat().st_mode):
                (Path(place) / name).unlink()
        for name in list(folders):
            path = Path(place) / name
            if path.is_symlink():
                path.unlink()
            elif path.suffix:  # a folder in place of a file: the folders of a run have no endings
                shutil.rmtree(path)
                folders.remove(name)
    sweep_temporary(folder)


def need(notebook: str, parameters: OneRun, **changes: object) -> Path:
    """The folder of a finished run with `parameters` and some changes; what is missing is run first.

    For notebooks that start from other runs. One that another process has in hand is waited for.
    """
    wanted = check(notebook, parameters.model_dump() | changes)
    # A run of one method that needs another one's starts from its model; a comparison reads its numbers.
    starts_from_it = wanted.method != parameters.method
    while True:
        try:
            return execute(notebook, wanted, with_model=starts_from_it).folder
        except Busy:
            time.sleep(1)


def mistakes_in_data(jobs: list[Job]) -> list[str]:
    """All that the data tell is wrong with these jobs, a line each; those that differ by their seed alone are one."""
    alike = {job.parameters.model_copy(update={"seed": 0}).model_dump_json(): job.parameters for job in jobs}
    wrong: dict[str, None] = {}
    for parameters in alike.values():
        try:
            check_against_data(parameters)
        except UserError as error:
            wrong[str(error)] = None
    return list(wrong)


def check_against_data(parameters: Parameters) -> None:
    """Raise UserError for what only the data can tell is wrong, before anything is written or started."""
    check_writable(runs_root(), "ABLKIT_RUNS")
    if isinstance(parameters, Comparison):
        ones = parameters.first_runs()
        for one in ones:
            check_against_data(one)
        for method in parameters.methods():
            _check_clean_images(method, ones[0])
    if not isinstance(parameters, OneRun | YourData):
        return
    whole, _ = data.load(parameters.dataset)  # as memory maps
    count = min(parameters.train_size or len(whole), len(whole))
    memory.check(parameters.dataset, count, whole.images.shape[1:])
    check_writable(cache_root(), "ABLKIT_CACHE")
    train, test = data.load(parameters.dataset, seed=parameters.seed, **parameters.drawing())
    if isinstance(parameters, YourData):
        parameters.recipe(len(train)).check_images(train.images.shape[1:], parameters.dataset)
        if len(train) < parameters.batch_size:
            raise UserError(
                f"{parameters.dataset} gives {len(train)} training images, fewer than batch_size"
                f" {parameters.batch_size}; lower batch_size, or add images"
            )
        if all((image == train.images[0]).all() for image in train.images):  # stops at the first that is another
            raise UserError(f"{parameters.dataset}: all {len(train)} training images are one picture; give others")
        return
    parameters.recipe().check_images(train.images.shape[1:], parameters.dataset)
    choice = {name: value for name, value in parameters.poisoning().items() if name not in ("device", "precision")}
    own = {name: value for name, value in choice.items() if name not in ("rate", "seed", "include_target")}
    attacks.check_train(train, **own)  # with poison_rate 0, too, as the model is tried on the trigger
    if parameters.poison_rate and not len(attacks.choose(train, **choice)):
        raise UserError(
            f"poison_rate {parameters.poison_rate} poisons none of {len(train)} training images; raise it, or give 0"
            " for clean data"
        )
    isolated_count(len(train), parameters.isolation_rate)
    _check_clean_images(parameters.method, parameters)
    attacks.check_test(test, **{name: value for name, value in own.items() if name != "released"})


def _check_clean_images(method: str, parameters: OneRun) -> None:
    if method not in defenses.DEFENSES or defenses.DEFENSES[method].needs != "clean data":
        return
    count = len(data.clean_images(parameters.dataset, seed=parameters.seed, **parameters.drawing()))
    if count < _FEWEST_CLEAN:
        raise UserError(
            f"held_out {parameters.held_out} leaves {count} clean images, and {method} needs {_FEWEST_CLEAN} or more;"
            " raise it (the paper holds out 0.05)"
        )


def _failure(folder: Path, code: int, timed_out: bool, timeout: float | None) -> Exception | None:
    """What went wrong, or None where the run is complete. The notebook's own cell states are not to be trusted."""
    again = "the same command continues it" if durations.has_checkpoint(folder) else "the same command tries again"
    if timed_out:
        cell = last_cell(folder)
        return RunFailed(f"stopped after {timeout:g} s in cell {cell}; {again}")
    if code == 0 and (folder / PENDING).exists():
        return None
    if not (folder / "failure.json").exists():
        if code == 0:
            return RunFailed("the notebook ended without run.finish(metrics), so it has no result")
        return UserError(f"the run's process died with exit code {code} (often: out of memory); {again}")
    failure = read_json(folder / "failure.json")
    if failure["error"] == "DeadKernelError":
        cell = last_cell(folder)
        return UserError(f"the kernel died in cell {cell} (often: out of memory, lower batch_size); {again}")
    first_line = failure["message"].splitlines()[0]
    if failure["error"] == "OutOfMemoryError":
        return UserError(f"{first_line} Lower batch_size or train_size, or use device cpu; {again}")
    if failure["error"] in ("UserError", "NotRunError"):
        return {"UserError": UserError, "NotRunError": NotRunError}[failure["error"]](first_line)
    return RunFailed(f"cell {failure['cell']}: {failure['error']}: {first_line} ({folder})")
