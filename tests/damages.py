"""Kinds of damage to a file, and crafted runs to be damaged, for the tests of what survives it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ablkit.files import write_json
from ablkit.runs.parameters import check, defaults
from ablkit.training import checkpoint

LARGE = 1 << 25


def replaced(text: str | bytes):
    """Damage that puts another content in the place of the file's."""
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def instead(make):
    """Damage that puts something else than a regular file in its place."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


NO_FILE = {
    "a pipe": instead(os.mkfifo),
    "a folder": instead(Path.mkdir),
    "a link to nowhere": instead(lambda path: path.symlink_to("nowhere")),
}
DAMAGES = NO_FILE | {
    "cut": cut,
    "empty": replaced(""),
    "no text": replaced(bytes(range(256))),
    "a list": replaced("[1]"),
    "a text": replaced('"x"'),
    "null": replaced("null"),
    "deep": replaced("[" * 100_000),
    "deep objects": replaced('{"a":' * 100_000),
    "nested": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": {"b": 1}}'),
    "nan": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": NaN}'),
    "infinite": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": 1e999}'),
    "huge": replaced(f'{{"message": "m", "stage": "s", "epoch": 1, "a": {10**400}}}'),
    "endless": replaced(f'{{"a": {"1" * 10_000}}}'),
    "half a character": replaced('{"message": "m", "stage": "s", "epoch": 1, "a": "\\ud800"}'),
    "marked and cut": replaced(b'\xef\xbb\xbf{"a": '),
    "another coding": replaced('{"a": 1}'.encode("utf-16")),
    "large": lambda path: os.truncate(path, LARGE),
}
WHOLE = {
    "metrics.json": {"clean_accuracy": 0.75, "attack_success_rate": None, "seconds": 1.5},
    "env.json": {"device": "cpu", "torch": "2", "peak_memory_bytes": 1},
    "failure.json": {"message": "it broke", "cell": "train"},
}


def fill(folder: Path, seed: int, *files: str) -> Path:
    """A run of that seed, with its parameters and the named files."""
    parameters = check("run", defaults("run", "smoke") | {"seed": seed})
    write_json(folder / "params.json", {"notebook": "run", "parameters": parameters.model_dump()})
    for name in files:
        if name == "history.jsonl":
            checkpoint.write_history(folder, [{"stage": stage, "epoch": 2} for stage in ("the one before", "isolate")])
        else:
            write_json(folder / name, WHOLE[name])
    return folder


def one_line(error: pytest.ExceptionInfo, path: Path) -> str:
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
    return text


def zeroed_tail(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes(20))


def strictly(text: str) -> object:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)
