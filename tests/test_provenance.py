"""What tells code from code: results stay valid under other words and layout, and under nothing else."""

from __future__ import annotations

import ast
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ablkit import provenance

CODE = '''
"""A module."""

class A:
    """A class."""
    x: int = 1
    """A field."""

def f(y):
    """A function."""
    return y + 1  # one more
'''


@pytest.mark.parametrize(
    "other",
    [
        CODE.replace("A function", "Another sentence"),
        CODE.replace('    """A field."""\n', ""),
        CODE.replace("  # one more", ""),
        CODE.replace("y + 1", "(y\n        + 1)"),
    ],
)
def test_words_and_layout_change_nothing(other):
    assert other != CODE and provenance.bare(other) == provenance.bare(CODE)


@pytest.mark.parametrize(
    "old, new", [("y + 1", "y + 2"), ("int = 1", "int = 2"), ("return", "yield"), ("f(y)", "g(y)")]
)
def test_code_changes_it(old, new):
    assert provenance.bare(CODE.replace(old, new)) != provenance.bare(CODE)


def test_a_text_that_is_a_value_is_code():
    assert provenance.bare('x = "a"') != provenance.bare('x = "b"')


def test_nothing_but_words_is_still_python():
    assert provenance.bare('def f():\n    """Only words."""') == "def f():\n    pass"


class _Ends:
    """What the garbage collector runs code for, and so lets another thread in."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        for _ in range(50):
            pass


def test_threads_parse_side_by_side():
    """Not so with `ast.parse`: in CPython 3.11 a few in a hundred of these raise SystemError, which failed sweeps."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.freeze()
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(2) as pool:
            trees = list(pool.map(lambda _: (_Ends(), provenance.parsed(CODE * 20))[1], range(60)))
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        gc.unfreeze()
    assert {len(tree.body) for tree in trees} == {60} and isinstance(trees[0], ast.Module)


def test_an_entry_of_a_registry_decides_no_run_of_the_others():
    code = 'ATTACKS: Registry[Attack] = Registry(__name__, {"a": "a:ATTACK"})\nRATE = 0.1\n'
    more = code.replace('"a:ATTACK"', '"a:ATTACK", "mine": "mine:ATTACK"')
    assert more != code and provenance.bare(more) == provenance.bare(code) == "RATE = 0.1"
    # The twins: what is beside it counts, and so does another table.
    assert provenance.bare(code.replace("0.1", "0.2")) != provenance.bare(code)
    assert provenance.bare(more.replace("= Registry", "= Table")) != provenance.bare(code)
    for name in ("ablkit.attacks", "ablkit.defenses"):
        assert "badnets:ATTACK" not in provenance.bare(provenance._SOURCES[name])
        assert "nad:DEFENSE" not in provenance.bare(provenance._SOURCES[name])
