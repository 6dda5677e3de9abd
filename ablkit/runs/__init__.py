"""A run: made by a notebook, kept in a folder of its own, and found again by a key of all that decides it.

The names below are imported when they are first used: the command line refuses wrong arguments without torch.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "Run": "folder",
    "frame": "folder",
    "history": "records",
    "load": "folder",
    "need": "execute",
    "start": "folder",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
