"""Reading notebooks: where they are, and a digest of their code."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ablkit.errors import UserError, unknown
from ablkit.files import read_text
from ablkit.paths import notebooks_root
from ablkit.provenance import every_module, imports, parsed
from ablkit.runs.parameters import NOTEBOOKS, model_of


@dataclass(frozen=True)
class Source:
    """A notebook as it was when it was read: what a run's key stands for and what its process is to execute."""

    name: str
    files: dict[str, str] = field(repr=False)
    """File name -> text: of the notebook, and of run.ipynb, whose runs the others read."""

    @cached_property
    def digest(self) -> str:
        """Digest of the code cells.

        Of the parameters cell only what it does beside setting parameters: their values are in the key on their own.
        """
        code = []
        for name, text in self.files.items():
            known = model_of(name.removesuffix(".ipynb")).model_fields
            for cell in json.loads(text)["cells"]:
                source = "".join(cell["source"])
                if cell["cell_type"] == "code":
                    code.append(_beside(source, known) if is_parameters(cell) else source)
        return hashlib.sha256("\0".join(filter(None, code)).encode(errors="surrogatepass")).hexdigest()[:12]

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """The modules of the package that the code cells import, but those of the report, which only shows results."""
        found = set()
        for text in self.files.values():
            for cell in json.loads(text)["cells"]:
                if cell["cell_type"] == "code":
                    found |= _imports("".join(cell["source"]))
        return tuple(sorted(module for module in found if not module.startswith("ablkit.report")))

    def write(self, folder: Path) -> Path:
        """Write the notebooks into `folder`, with a link to the sweeps beside them; return this one's path."""
        folder.mkdir()
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "sweeps").symlink_to(notebooks_root() / "sweeps")
        return folder / f"{self.name}.ipynb"


def read(notebook: str) -> Source:
    """A notebook, ready to be run; raises UserError for an unknown name, outside a clone and for a damaged file."""
    path = path_of(notebook)
    files = {f"{notebook}.ipynb": _runnable(path)}
    if (other := path.with_name("run.ipynb")).exists():
        files.setdefault("run.ipynb", _runnable(other))
    return Source(notebook, files)


def path_of(notebook: str) -> Path:
    """The file of a notebook; raises UserError for an unknown name or outside a clone."""
    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    path = notebooks_root() / f"{notebook}.ipynb"
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist; the notebooks come with a clone of the repository")
    return path


def cells(path: Path) -> list[dict]:
    """The cells of a notebook file; raises UserError, with file and line, where it is none."""
    return _content(path)["cells"]


def is_parameters(cell: dict) -> bool:
    """Whether papermill injects the parameters after this cell."""
    return "parameters" in cell.get("metadata", {}).get("tags", [])


def _imports(source: str) -> set[str]:
    """The modules of the package that a cell imports, in it or after a magic; all of them where it cannot be read."""
    lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in source.splitlines()]
    try:
        return imports("\n".join(lines))
    except (SyntaxError, ValueError):
        return set(every_module())


def _beside(source: str, known: Collection[str]) -> str:
    """What a parameters cell does beside setting the known parameters, without comments."""
    try:
        tree = parsed(source)
    except SyntaxError:
        return source
    tree.body = [
        line
        for line in tree.body
        if not (isinstance(line, ast.Assign | ast.AnnAssign) and all(name in known for name in _targets(line)))
    ]
    return ast.unparse(tree)


def _targets(line: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = line.targets if isinstance(line, ast.Assign) else [line.target]
    return [target.id if isinstance(target, ast.Name) else "" for target in targets]


def _runnable(path: Path) -> str:
    """The notebook with a kernel and a language, which papermill asks for; raises UserError without a parameters cell.

    Without the tag the parameters would be injected before the cell that sets the defaults, and have no effect.
    """
    content = _content(path)
    tagged = sum(map(is_parameters, content["cells"]))
    if tagged != 1:
        raise UserError(
            f"{path} has {tagged} cells with the tag 'parameters'; give it to the one cell that sets the parameters"
        )
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    content["metadata"] = {**content["metadata"], **metadata}
    return json.dumps(content)


def _content(path: Path) -> dict:
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{path}{line} is no JSON, so no notebook ({_why(text, error)}); restore the file") from None
    if not (isinstance(content, dict) and isinstance(content.get("cells"), list)):
        raise UserError(f"{path} is no notebook: it has no list of cells; restore the file")
    for number, cell in enumerate(content["cells"], 1):
        if not _is_cell(cell):
            raise UserError(f"{path}: cell {number} is no cell of a notebook; restore the file")
    if not isinstance(content.setdefault("metadata", {}), dict):
        raise UserError(f"{path} is no notebook: its metadata are no object; restore the file")
    return content


def _is_cell(cell: object) -> bool:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return False
    source, metadata = cell.get("source"), cell.get("metadata", {})
    tags = metadata.get("tags", []) if isinstance(metadata, dict) else None
    return all(
        isinstance(part, str) or (isinstance(part, list) and all(isinstance(line, str) for line in part))
        for part in (source, tags if isinstance(tags, list) else None)
    )


def _why(text: str, error: Exception) -> str:
    if not text.strip():
        return "it is empty"
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        return "it holds the marks of a merge"
    return str(error)
