"""YAML that a user writes: sweep files, and files of parameters for `-f`. Nothing in them is lost without a word."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from ablkit.errors import UserError, shown
from ablkit.files import read_text

_BYTES, _DEPTH, _VALUES = 1_000_000, 20, 20_000
"""The largest file, the deepest nesting and the most values, counted as often as aliases repeat them."""
_YAML = "tag:yaml.org,2002:"
_KINDS = {f"{_YAML}{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


def read(path: Path) -> dict:
    """The mapping in a YAML file: names to texts, numbers, true or false, null, lists and further mappings.

    Raises UserError, with the line, for a name that stands twice in one mapping, a name that is no text, a tag or a
    date, a whole number in another form than decimal, values that are nested too deeply or repeated too often by
    aliases, several documents, and whatever is no YAML; without one for a file that cannot be read, is larger than a
    megabyte, or holds no mapping.
    """
    if os.path.isfile(path) and os.path.getsize(path) > _BYTES:
        raise UserError(f"{path} has more than {_BYTES:,} bytes; write a shorter file")
    try:
        values = yaml.load(read_text(path), _Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_told(error)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no names with values; write one 'name: value' a line")
    return values


class _Refused(yaml.MarkedYAMLError):
    """What is YAML and still refused."""


def _told(error: yaml.YAMLError) -> str:
    """The end of a message that begins with the file's name."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    if isinstance(error, _Refused):
        return f"{where}: {error.problem}"
    parts = (error.context, error.problem) if isinstance(error, yaml.MarkedYAMLError) else (error,)
    text = " ".join(" ".join(str(part) for part in parts if part).split())
    return f"{where} cannot be read as YAML: {text if len(text) <= 160 else f'{text[:160]}...'}"


class _Loader(yaml.SafeLoader):
    """The safe loader, with bounds that are kept while the file is read, before any value is built."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.open = self.count = 0
        self.sizes: dict[int, tuple[int, int]] = {}
        """Node -> how many values it stands for, with aliases written out, and how deeply they are nested."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        """As in PyYAML, within the bounds."""
        event = self.peek_event()
        self.open, self.count = self.open + 1, self.count + 1
        if self.open > _DEPTH:
            raise _mistake(f"values are nested more than {_DEPTH} deep", event)
        node = super().compose_node(parent, index)
        self.open -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self.sizes:
                raise _mistake(f"alias {shown(event.anchor)} stands for what it is part of", event)
            return node
        below = [self.sizes[id(child)] for child in _children(node)]
        values, depth = 1 + sum(size for size, _ in below), 1 + max((depth for _, depth in below), default=0)
        if max(values, self.count) > _VALUES:
            raise _mistake(f"more than {_VALUES:,} values, with the aliases written out", event)
        if depth > _DEPTH:
            raise _mistake(f"values are nested more than {_DEPTH} deep", event)
        self.sizes[id(node)] = values, depth
        _check_kind(node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """As in PyYAML; a value that does not fit its kind, such as a number of 5,000 digits, is refused likewise."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
            raise _mistake(f"{_quoted(node)} is no value of its kind", node) from None


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_kind(node: yaml.Node) -> None:
    if node.tag not in _KINDS:
        kind = shown(node.tag.removeprefix(_YAML))
        raise _mistake(f"{_quoted(node)} is of the kind {kind}, which no parameter is; put a text in quotes", node)
    if node.tag == f"{_YAML}int" and not _DECIMAL.fullmatch(node.value):  # to YAML 010 is 8, and 1:30 is 90
        raise _mistake(f"{_quoted(node)} is no plain decimal number; write one, or a text in quotes", node)
    if node.tag == f"{_YAML}float" and ":" in node.value:  # likewise
        raise _mistake(f"{_quoted(node)} is no plain decimal number; write one, or a text in quotes", node)
    lines: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.tag not in (f"{_YAML}str", f"{_YAML}merge"):
            raise _mistake(f"names are texts, and {_quoted(key)} is none; put it in quotes", key)
        if key.value in lines:
            raise _mistake(f"{_quoted(key)} stands in line {lines[key.value]} already; leave one of them", key)
        lines[key.value] = key.start_mark.line + 1


def _quoted(node: yaml.Node) -> str:
    return shown(node.value) if isinstance(node, yaml.ScalarNode) else f"a {node.id}"


def _mistake(reason: str, where: yaml.Node | yaml.Event) -> _Refused:
    return _Refused(problem=reason, problem_mark=where.start_mark)
