"""A digest of the code that a result depends on: what makes it, and all that this imports of the package."""

from __future__ import annotations

import ast
import hashlib
import threading
from collections.abc import Iterator, MutableMapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from ablkit.errors import UserError

T = TypeVar("T")
_PACKAGE = Path(__file__).parent
_PARSING = threading.RLock()


class Registry(MutableMapping[str, T]):
    """Name -> what a module of the package defines, imported when it is first asked for.

    So what knows all of them by name does not depend on the code of each.
    """

    def __init__(self, package: str, places: dict[str, str]) -> None:
        """Args: places: name -> `module:attribute`, the module relative to the package."""
        self.package, self.places, self.put = package, places, {}

    def __getitem__(self, name: str) -> T:
        if name in self.put:
            return self.put[name]
        module, _, attribute = self.places[name].partition(":")
        return getattr(import_module(f"{self.package}.{module}"), attribute)

    def __setitem__(self, name: str, value: T) -> None:
        self.put.pop(name, None)
        if name not in self.places or value is not self[name]:
            self.put[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in {**self.places, **self.put}:
            raise KeyError(name)
        self.places.pop(name, None)
        self.put.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter({**self.places, **self.put})

    def __len__(self) -> int:
        return len({**self.places, **self.put})

    def module(self, name: str) -> tuple[str, ...]:
        """The modules that define it: its own, or, of what was put in later, those of its functions and classes."""
        if name in self.places and name not in self.put:
            return (f"{self.package}.{self.places[name].partition(':')[0]}",)
        parts = vars(self.put[name]).values() if name in self.put else ()
        return tuple(sorted({part.__module__ for part in parts if hasattr(part, "__module__")}))


def _read() -> dict[str, str]:
    """Module -> its source."""
    found = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


# As this process imports it: what is on the disk later is not what it computes with.
_SOURCES = _read()


def every_module() -> tuple[str, ...]:
    """All modules of the package."""
    return tuple(_SOURCES)


def imports(source: str) -> set[str]:
    """The modules of the package that some Python imports, at whatever place in it."""
    names, parts = _import_lines(source)
    found = {*names, *(whole if whole in _SOURCES else module for module, whole in parts)}
    return found & _SOURCES.keys()


@cache
def _import_lines(source: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """What is imported as a whole, and for `from a import b` the pair of `a` and `a.b`."""
    nodes = list(ast.walk(parsed(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    lines = [(str(node.module), node.names) for node in nodes if isinstance(node, ast.ImportFrom)]
    return tuple(names), tuple((module, f"{module}.{alias.name}") for module, names in lines for alias in names)


def everything(*modules: str) -> tuple[str, ...]:
    """The modules of the package among these, and all that they import, in turn; sorted."""
    found, left = set(), set(modules) & _SOURCES.keys()
    while left:
        found |= left
        left = set().union(*map(_imported, left)) - found
    return tuple(sorted(found))


@cache
def _imported(module: str) -> set[str]:
    return imports(_SOURCES[module])


@cache
def digest(*modules: str) -> str:
    """Digest of the code of `everything` that these modules stand for, as this process has imported it.

    Comments, docstrings and the layout of the code have no part in it, as they change no result.
    """
    found = hashlib.sha256()
    for module in everything(*modules):
        found.update(module.encode() + b"\0" + _meaning(_SOURCES[module]).encode() + b"\0")
    return found.hexdigest()[:12]


def planned(*modules: str) -> str:
    """What a runner tells the processes that it starts, so that they can see whether their code is its own."""
    return " ".join([_text(), digest(*modules), *modules])


def check_planned(by: str) -> None:
    """Raise UserError where this process has imported other code than `planned` says of the process that gave `by`."""
    text, own, *modules = by.split()
    # The text first: it tells in milliseconds that nothing has changed, the digest has to parse every file.
    if _text() != text and digest(*modules) != own:
        raise UserError("the package ablkit has changed since this run was planned; start the same command again")


def check_unchanged(*modules: str) -> None:
    """Raise UserError where a file of `everything` is no longer what this process has imported."""
    now = _read()
    for module in everything(*modules):
        source = _SOURCES[module]
        if now.get(module) != source and _meaning(now.get(module, "")) != _meaning(source):
            raise UserError(
                f"{module} has changed since this process imported it, so its results would have no known code; start"
                " the same command again, in JupyterLab restart the kernel"
            )


@cache
def _text() -> str:
    # Of all files, as finding out which are imported takes parsing them.
    return hashlib.sha256(repr(sorted(_SOURCES.items())).encode()).hexdigest()[:12]


def _meaning(source: str) -> str:
    """What of a source decides results; of a registry no entry does, as that of a run is among its own modules."""
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


@cache
def bare(source: str) -> str:
    """Python source without comments, docstrings, layout and the tables of registries."""
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)] or [ast.Pass()]
    tree.body = [line for line in tree.body if not _is_registry(line)]
    return ast.unparse(tree)


def _is_registry(line: ast.stmt) -> bool:
    call = getattr(line, "value", None)
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Registry"


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
