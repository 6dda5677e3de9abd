"""The parameters that a notebook was given, among everything else that its variables hold."""

from __future__ import annotations

import ast
from types import FunctionType, ModuleType

import numpy as np

from ablkit.errors import UserError
from ablkit.provenance import parsed
from ablkit.runs.parameters.notebooks import model_of

_INJECTED = "# Parameters"
"""What papermill writes above the parameters that it injects."""
_OF_PAPERMILL = "PAPERMILL_"
"""How the names begin that papermill injects of its own accord, with `--inject-paths`."""
_START = "runs.start("


def given(notebook: str, namespace: dict) -> dict:
    """Name -> value of what a notebook was given, for `check` to judge: nothing of it is passed over in silence.

    That is every variable with the name of a parameter, whatever its type, and every other one that a cell of
    parameters sets, as it may be a misspelt one. What other cells leave in the variables is not judged. NumPy's numbers
    become Python's.

    Args:
        namespace: the notebook's `globals()`, or a plain dict, of which every entry counts but modules and functions.
    """
    known = model_of(notebook).model_fields
    names = [name for name in known if name in namespace]
    if "In" in namespace:  # IPython's list of the cells that have run
        cells = [str(cell) for cell in namespace["In"]]
        _check_injected(cells)
        others = _set_by_parameter_cells(cells, set(known))
        names += [name for name in others if name in namespace]
    else:
        names += [name for name, value in namespace.items() if name not in known and _is_value(name, value)]
    return {name: _plain(namespace[name]) for name in names if not name.startswith(_OF_PAPERMILL)}


def _check_injected(sources: list[str]) -> None:
    """Raise UserError where a cell declares anew what papermill injected before it: that would be lost in silence."""
    injected: dict[str, None] = {}
    for source in sources:
        for line in _lines(source):
            name = line.target.id if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) else ""
            if name in injected:
                raise UserError(
                    f"{name} was given, and a later cell sets its default again; give that cell the tag 'parameters'"
                )
        if source.startswith(_INJECTED):
            injected |= dict.fromkeys(_assigned(source))


def _set_by_parameter_cells(sources: list[str], known: set[str]) -> list[str]:
    """Other names than the known ones that are set by the cells of parameters since the last start of a run."""
    *before, _ = sources or [""]  # the last is the cell that asks
    starts = [place for place, source in enumerate(before) if _START in source]
    others: dict[str, None] = {}
    for source in before[starts[-1] + 1 if starts else 0 :]:
        names = _assigned(source)
        if names and (source.startswith(_INJECTED) or known & set(names)):
            others |= dict.fromkeys(name for name in names if name not in known)
    return list(others)


def _assigned(source: str) -> list[str]:
    """The names that a cell sets, where it does nothing else."""
    names = []
    for line in _lines(source):
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if not isinstance(line, ast.Assign | ast.AnnAssign) or not all(isinstance(t, ast.Name) for t in targets):
            return []
        names += [target.id for target in targets]
    return names


def _lines(source: str) -> list[ast.stmt]:
    try:
        return parsed(source).body
    except (SyntaxError, ValueError):  # such as a magic
        return []


def _is_value(name: str, value: object) -> bool:
    return not name.startswith("_") and not isinstance(value, ModuleType | FunctionType | type)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
