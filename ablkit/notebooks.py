"""Reading notebooks: where they are, their parameters cell, and a digest of their code."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from dataclasses import dataclass
from pathlib import Path

from ablkit.errors import UserError, unknown
from ablkit.parameters import NOTEBOOKS
from ablkit.paths import notebooks_root

TYPES = {"int": int, "float": float, "bool": bool, "str": str}


@dataclass(frozen=True)
class Declared:
    """One line of a parameters cell."""

    name: str
    type: type
    default: object
    help: str


def path_of(notebook: str) -> Path:
    """The file of a notebook; raises UserError for an unknown name or outside a clone."""
    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    path = notebooks_root() / f"{notebook}.ipynb"
    if not path.exists():
        raise UserError(f"{path} does not exist; the notebooks come with a clone of the repository")
    return path


def cells(path: Path) -> list[dict]:
    """The cells of a notebook file."""
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def is_parameters(cell: dict) -> bool:
    """Whether papermill injects the parameters after this cell."""
    return "parameters" in cell["metadata"].get("tags", [])


def code_digest(path: Path) -> str:
    """Digest of the code cells of a notebook and of run.ipynb, whose runs the others read.

    The parameters cell is left out: its values are in the key on their own.
    """
    sources = [c for p in (path, path.with_name("run.ipynb")) if p.exists() for c in cells(p)]
    code = ["".join(c["source"]) for c in sources if c["cell_type"] == "code" and not is_parameters(c)]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:12]


def read_parameters(source: str) -> list[Declared]:
    """The declarations of a parameters cell: `name: type = literal  # help`, one a line.

    Raises UserError with the line number for anything else: papermill's own reader overlooks unions, `Literal` and
    lines with a second equals sign, so they are not allowed.
    """
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    declared = []
    for line in ast.parse(source).body:
        form = f"line {line.lineno} of the parameters cell is not 'name: type = literal  # help'"
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value):
            raise UserError(form)
        if "=" in comments.get(line.lineno, ""):
            raise UserError(
                f"line {line.lineno} of the parameters cell has an equals sign in its help; say it in words"
            )
        if not (isinstance(line.annotation, ast.Name) and line.annotation.id in TYPES):
            raise UserError(f"{form} with a type of {', '.join(TYPES)}")
        try:
            default = ast.literal_eval(line.value)
        except ValueError:
            raise UserError(form) from None
        declared.append(Declared(line.target.id, TYPES[line.annotation.id], default, comments.get(line.lineno, "")))
    return declared
