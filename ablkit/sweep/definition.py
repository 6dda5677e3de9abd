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
from ablkit.runs.parameters import changed, judge
from ablkit.runs.parameters.yaml_file import read as read_yaml

KEYS = ("notebook", "preset", "params", "grid", "cases")
_MOST_MISTAKES = 20


def read(path: Path, preset: str | None = None) -> list[Job]:
    """The runs that a sweep file asks for, in its order and each once.

    `notebook` names one; `preset` (default quick) and `params` hold for every run; `grid` maps parameters to lists of
    values, of which every combination is run; `cases` lists sets of parameters that belong together, each of which is
    combined with the whole grid. A case may set a parameter of `params` otherwise for its own runs. What no run would
    have is refused: a value in `params` that the grid or each case replaces, and one in a case that the grid has too.

    Args:
        preset: in place of the file's, such as `smoke` for a rehearsal.

    Raises UserError with every mistake in the parameters at once, a line each, or else the first in the file's form;
    likewise for more than 100,000 runs.
    """
    content = read_yaml(path)
    _check_form(path, content)
    if content["notebook"] == "sweep":
        raise UserError(f"{path} asks for the notebook about sweeps, which runs a sweep itself; name what is to be run")
    notebook, preset = content["notebook"], preset or content.get("preset", "quick")
    shared, grid, cases = content.get("params") or {}, content.get("grid") or {}, content.get("cases") or [{}]
    _check_nothing_is_lost(path, shared, grid, cases)
    count = math.prod(map(len, grid.values())) * len(cases)
    if count > MOST_RUNS:
        raise UserError(f"{path} asks for {shown(count)} runs; write files of at most {MOST_RUNS:,} each")
    source = notebooks.read(notebook)
    jobs: dict[str, Job] = {}
    wrong: dict[str, None] = {}
    for case in cases:
        for values in itertools.product(*grid.values()):
            given = changed(notebook, preset, {**shared, **dict(zip(grid, values, strict=True)), **case})
            parameters, found = judge(notebook, given)
            wrong.update(dict.fromkeys(found))
            if parameters:
                job = Job(notebook, getattr(parameters, "method", path.stem), parameters, source)
                jobs.setdefault(parameters.model_dump_json(), job)
    if wrong:
        raise UserError(listed(path, wrong))
    return list(jobs.values())


def listed(path: Path, mistakes: Iterable[str]) -> str:
    """Mistakes in a sweep file as a message, a line each: the first 20, and how many more there are."""
    lines = [f"{path}: {mistake}" for mistake in mistakes]
    more = [f"{path}: and {len(lines) - _MOST_MISTAKES} more mistakes"] if len(lines) > _MOST_MISTAKES else []
    return "\n".join(lines[:_MOST_MISTAKES] + more)


def _check_form(path: Path, content: dict) -> None:
    if not isinstance(content.get("notebook"), str):
        raise UserError(f"{path} is no sweep; write 'notebook: run', then params, grid and cases")
    for name in content:
        if name not in KEYS:
            raise UserError(f"{path}: {unknown('part of a sweep', name, KEYS)}")
    if not isinstance(content.get("preset", "quick"), str):
        raise UserError(f"{path}: preset must be a name, got {shown(content['preset'])}")
    for name, kind in (("params", dict), ("grid", dict), ("cases", list)):
        if not isinstance(content.get(name), kind | None):
            raise UserError(f"{path}: {name} must be a {'list' if kind is list else 'mapping of names to values'}")
    for name, values in (content.get("grid") or {}).items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}: {shown(name)} in grid must be a list of values, got {shown(values)}")
    for case in content.get("cases") or []:
        if not isinstance(case, dict):
            raise UserError(f"{path}: each case must map names to values, got {shown(case)}")


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
