"""A digest of the code that decides results, so that a run made by other code is never taken for this one's."""

from __future__ import annotations

import ast
import hashlib
import threading
from functools import cache
from pathlib import Path

from ablkit.errors import UserError

_PACKAGE = Path(__file__).parent
_DECIDES = ("attacks", "data", "models", "training", "parameters")
_DECIDES += ("measure.py", "methods.py", "metrics.py", "randomness.py", "settings.py")
_EVERY_RUN = (*_DECIDES, "defenses")
"""What decides the result of any run; the defences have a part in the key only where one is the method."""


def _read() -> dict[str, str]:
    return {
        path.relative_to(_PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(_PACKAGE.rglob("*.py"))
    }


_PARSING = threading.RLock()

# As this process imports it: what is on the disk later is not what it computes with.
_SOURCES = _read()


@cache
def package_digest(*names: str) -> str:
    """Digest of files and folders of the package, as this process has imported them: by default all that decides a run.

    Comments, docstrings and the layout of the code have no part in it, as they change no result.
    """
    digest = hashlib.sha256()
    for path, source in _below(_SOURCES, names or _DECIDES):
        digest.update(path.encode() + b"\0" + _meaning(source).encode() + b"\0")
    return digest.hexdigest()[:12]


def planned() -> str:
    """What a runner tells the processes that it starts, so that they can see whether their code is its own."""
    return f"{_text()} {package_digest(*_EVERY_RUN)}"


def check_planned(by: str) -> None:
    """Raise UserError where this process has imported other code than `planned` says of the process that gave `by`."""
    text, digest = by.split()
    # The text first: it tells in milliseconds that nothing has changed, the digest has to parse every file.
    if _text() != text and package_digest(*_EVERY_RUN) != digest:
        raise UserError("the package ablkit has changed since this run was planned; start the same command again")


def check_unchanged() -> None:
    """Raise UserError where a file that decides results no longer is what this process has imported."""
    now = _read()
    for path, source in _below(_SOURCES, _EVERY_RUN):
        if now.get(path) != source and _meaning(now.get(path, "")) != _meaning(source):
            raise UserError(
                f"ablkit/{path} has changed since this process imported it, so its results would have no known code;"
                " start the same command again, in JupyterLab restart the kernel"
            )


@cache
def _text() -> str:
    return hashlib.sha256(repr(_below(_SOURCES, _EVERY_RUN)).encode()).hexdigest()[:12]


def _below(sources: dict[str, str], names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(path, source) of the files that are named, or lie in a folder that is, in the order of the names."""
    return [item for name in names for item in sources.items() if item[0] == name or item[0].startswith(f"{name}/")]


def _meaning(source: str) -> str:
    try:
        return bare(source)
    except SyntaxError:  # saved while it is being edited
        return source


def parsed(source: str) -> ast.Module:
    """The syntax tree of Python source, made in one thread at a time.

    CPython counts the depth of a tree once for all threads: two that parse side by side may meet a SystemError.
    """
    with _PARSING:
        return ast.parse(source)


def bare(source: str) -> str:
    """Python source without comments, docstrings and layout."""
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
