"""A digest of the code that decides results, so that a run made by other code is never taken for this one's."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_DECIDES = ("attacks", "data", "models", "training", "measure.py", "metrics.py", "randomness.py")


@cache
def package_digest(*names: str) -> str:
    """Digest of files and folders of the package, as they are on the disk: by default of all that decides a run.

    Comments, docstrings and the layout of the code have no part in it, as they change no result.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in names or _DECIDES:
        for path in sorted((package / name).rglob("*.py")) or [package / name]:
            code = bare(path.read_text(encoding="utf-8"))
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + code.encode() + b"\0")
    return digest.hexdigest()[:12]


def bare(source: str) -> str:
    """Python source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
