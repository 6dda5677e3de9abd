"""A sweep file: which notebook, which parameters, and which combinations of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import yaml

from ablkit.errors import UserError
from ablkit.jobs import Job
from ablkit.parameters import changed, check, mistakes

KEYS = ("notebook", "preset", "params", "grid", "cases")


def read(path: Path, preset: str | None = None) -> list[Job]:
    """The runs that a sweep file asks for, in its order and each once.

    `notebook` names one; `preset` (default quick) and `params` hold for every run; `grid` maps parameters to lists of
    values, of which every combination is run; `cases` lists sets of parameters that belong together, each of which is
    combined with the whole grid.

    Args:
        preset: in place of the file's, such as `smoke` for a rehearsal.

    Raises UserError with every mistake in the file at once, a line each.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    _check_form(path, content)
    notebook, preset = content["notebook"], preset or content.get("preset", "quick")
    shared, grid, cases = content.get("params") or {}, content.get("grid") or {}, content.get("cases") or [{}]
    jobs: dict[str, Job] = {}
    wrong: dict[str, None] = {}
    for case in cases:
        for values in itertools.product(*grid.values()):
            given = changed(notebook, preset, {**shared, **dict(zip(grid, values, strict=True)), **case})
            found = mistakes(notebook, given)
            wrong.update(dict.fromkeys(found))
            if not found:
                parameters = check(notebook, given)
                jobs.setdefault(
                    parameters.model_dump_json(), Job(notebook, getattr(parameters, "method", path.stem), parameters)
                )
    if wrong:
        raise UserError("\n".join(f"{path}: {mistake}" for mistake in wrong))
    return list(jobs.values())


def _check_form(path: Path, content: object) -> None:
    if not (
        isinstance(content, dict) and all(isinstance(content.get(k, "quick"), str) for k in ("notebook", "preset"))
    ):
        raise UserError(f"{path} is no sweep; write 'notebook: run', then params, grid and cases")
    if "notebook" not in content:
        raise UserError(f"{path} is no sweep; write 'notebook: run', then params, grid and cases")
    others = set(content) - set(KEYS)
    if others:
        raise UserError(
            f"{path}: {', '.join(map(repr, sorted(others)))} is no part of a sweep; known: {', '.join(KEYS)}"
        )
    if not isinstance(content.get("preset", "quick"), str):
        raise UserError(f"{path}: preset must be a name, got {content['preset']!r}")
    for name, kind in (("params", dict), ("grid", dict), ("cases", list)):
        if not isinstance(content.get(name) or kind(), kind):
            raise UserError(f"{path}: {name} must be a {'list' if kind is list else 'mapping of names to values'}")
    for name, values in (content.get("grid") or {}).items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{path}: {name} in grid must be a list of values, got {values!r}")
    for case in content.get("cases") or []:
        if not isinstance(case, dict):
            raise UserError(f"{path}: each case must map names to values")
        twice = set(case) & set(content.get("grid") or {})
        if twice:
            raise UserError(f"{path}: {', '.join(sorted(twice))} stands in grid and in a case; leave it in one of them")
