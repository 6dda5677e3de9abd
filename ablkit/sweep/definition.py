"""A sweep file: which notebook, which parameters, and which combinations of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

from ablkit.errors import UserError, shown, unknown
from ablkit.runs import notebooks
from ablkit.runs.arguments import MOST_RUNS
from ablkit.runs.job import Job
from ablkit.runs.parameters import Comparison, OneRun, changed, defaults, idle, judge
from ablkit.runs.parameters.yaml_file import read as read_yaml

KEYS = ("notebook", "preset", "params", "grid", "cases", "comparisons")
_MOST_MISTAKES = 20


def read(path: Path, preset: str | None = None) -> list[Job]:
    """The runs that a sweep file asks for, in its order and each once.

    `notebook` names one; `preset` (default quick) and `params` hold for every run; `grid` maps parameters to lists of
    values, of which every combination is run; `cases` lists sets of parameters that belong together, each of which is
    combined with the whole grid. A case may set a parameter of `params` otherwise for its own runs. What no run would
    have is refused: a value in `params` that the grid or each case replaces, and one in a case that the grid has too.

    `comparisons` takes the place of `notebook`, `grid` and `cases`: notebooks, each by its name or with parameters of
    its own. The runs are those that they compare, so that the notebooks then only read.

    Args:
        preset: in place of the file's, such as `smoke` for a rehearsal.

    Raises UserError with every mistake in the parameters at once, a line each, or else the first in the file's form;
    likewise for more than 100,000 runs.
    """
    content = read_yaml(path)
    _check_form(path, content)
    preset = preset or content.get("preset", "quick")
    wanted = _of_comparisons(path, content, preset) if "comparisons" in content else _of_grid(path, content, preset)
    sources = {notebook: notebooks.read(notebook) for notebook in dict.fromkeys(name for name, _ in wanted)}
    jobs: dict[str, Job] = {}
    wrong: dict[str, None] = {}
    for notebook, given in wanted:
        parameters, found = judge(notebook, given)
        wrong.update(dict.fromkeys(found))
        if parameters:
            job = Job(notebook, getattr(parameters, "method", path.stem), parameters, sources[notebook])
            jobs.setdefault(parameters.model_dump_json(), job)
    wrong.update(dict.fromkeys(_idle(list(jobs.values()), content.get("params") or {}, preset)))
    if wrong:
        raise UserError(listed(path, wrong))
    return list(jobs.values())


def _idle(jobs: list[Job], shared: dict, preset: str) -> list[str]:
    """What is wrong with the parameters for all runs that change nothing in any of them, a line each."""
    runs = [job.parameters for job in jobs if isinstance(job.parameters, OneRun)]
    if not runs or len(runs) < len(jobs):
        return []
    usual, every = defaults("run", preset), [idle.reasons(p) for p in runs]
    return [
        f"{name} {shown(getattr(runs[0], name))} has no part in {every[0][name]}; leave it out"
        for name in every[0]
        if name in shared and getattr(runs[0], name) != usual[name] and all(name in found for found in every)
    ]


def _of_grid(path: Path, content: dict, preset: str) -> list[tuple[str, dict]]:
    """Notebook and parameters of each run, from params, grid and cases."""
    shared, grid, cases = content.get("params") or {}, content.get("grid") or {}, content.get("cases") or [{}]
    _check_nothing_is_lost(path, shared, grid, cases)
    _check_count(path, math.prod(map(len, grid.values())) * len(cases))
    return [
        (
            content["notebook"],
            changed(content["notebook"], preset, {**shared, **dict(zip(grid, values, strict=True)), **case}),
        )
        for case in cases
        for values in itertools.product(*grid.values())
    ]


def _of_comparisons(path: Path, content: dict, preset: str) -> list[tuple[str, dict]]:
    """The runs that notebooks compare, those of the first one first."""
    found, wrong = [], {}
    for own in content["comparisons"]:
        own = {"notebook": own} if isinstance(own, str) else dict(own)
        notebook = own.pop("notebook")
        parameters, mistakes = judge(notebook, changed(notebook, preset, {**(content.get("params") or {}), **own}))
        wrong |= dict.fromkeys(f"{notebook}: {mistake}" for mistake in mistakes)
        if parameters and not isinstance(parameters, Comparison):
            raise UserError(f"{path}: {notebook} compares no runs of run.ipynb; name it as 'notebook'")
        found += [("run", one.model_dump()) for one in parameters.runs()] if parameters else []
        _check_count(path, len(found))
    if wrong:
        raise UserError(listed(path, wrong))
    return found


def _check_count(path: Path, count: int) -> None:
    if count > MOST_RUNS:
        raise UserError(f"{path} asks for {shown(count)} runs; write files of at most {MOST_RUNS:,} each")


def listed(path: Path, mistakes: Iterable[str]) -> str:
    """Mistakes in a sweep file as a message, a line each: the first 20, and how many more there are."""
    lines = [f"{path}: {mistake}" for mistake in mistakes]
    more = [f"{path}: and {len(lines) - _MOST_MISTAKES} more mistakes"] if len(lines) > _MOST_MISTAKES else []
    return "\n".join(lines[:_MOST_MISTAKES] + more)


def _check_form(path: Path, content: dict) -> None:
    for name in content:
        if name not in KEYS:
            raise UserError(f"{path}: {unknown('part of a sweep', name, KEYS)}")
    if "comparisons" in content:
        _check_comparisons(path, content)
    elif not isinstance(content.get("notebook"), str):
        raise UserError(f"{path} is no sweep; write 'notebook: run', then params, grid and cases")
    if content.get("notebook") == "sweep":
        raise UserError(f"{path} asks for the notebook about sweeps, which runs a sweep itself; name what is to be run")
    if not isinstance(content.get("preset", "quick"), str):
        raise UserError(f"{path}: preset must be a name, got {shown(content['preset'])}")
    for name, kind in (("params", dict), ("grid", dict), ("cases", list)):
        if not isinstance(content.get(name), kind | None):
            raise UserError(f"{path}: {name} must be a {'list' if kind is list else 'mapping of names to values'}")
    for name, values in (content.get("grid") or {}).items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}: {shown(name)} in grid must be a list of values, got {shown(values)}")
        for place, value in enumerate(values):
            if value in values[:place]:
                raise UserError(f"{path}: {shown(name)} in grid has {shown(value)} twice; leave one")
    for case in content.get("cases") or []:
        if not isinstance(case, dict):
            raise UserError(f"{path}: each case must map names to values, got {shown(case)}")


def _check_comparisons(path: Path, content: dict) -> None:
    for name in ("notebook", "grid", "cases"):
        if name in content:
            raise UserError(f"{path}: comparisons and {name} exclude each other; leave one of them out")
    found = content["comparisons"]
    if not isinstance(found, list) or not found:
        raise UserError(f"{path}: comparisons must be a list of notebooks, got {shown(found)}")
    for own in found:
        name = own.get("notebook") if isinstance(own, dict) else own
        if not isinstance(name, str):
            raise UserError(f"{path}: each of comparisons must name a notebook, got {shown(own)}")


def _check_nothing_is_lost(path: Path, shared: dict, grid: dict, cases: list[dict]) -> None:
    for name in shared:
        if name in grid:
            raise UserError(f"{path}: {shown(name)} stands in params and in grid; leave it in one of them")
        if all(name in case for case in cases):
            raise UserError(f"{path}: {shown(name)} stands in params and in each case; leave it in one of them")
    for case in cases:
        for name in case:
            if name in grid:
                raise UserError(f"{path}: {shown(name)} stands in grid and in a case; leave it in one of them")
