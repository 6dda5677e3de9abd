"""What tells code from code: results stay valid under other words and layout, and under nothing else."""

from __future__ import annotations

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
