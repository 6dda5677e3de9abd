"""The README's code runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from conftest import toy

from ablkit import training
from ablkit.data import Images, prepared

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def set_up(root: Path, number: int) -> None:
    """A data set of the name, the size and the pixels that the code asks for, of images that train in seconds."""
    train, test = (toy(count, seed) for count, seed in ((number, 1), (200, 2)))
    larger = [Images(np.repeat(np.repeat(x.images, 2, 1), 2, 2), x.labels, x.classes, "cifar10") for x in (train, test)]
    prepared.write(root / "cifar10", *larger, source="made by a test")


def test_the_code_for_the_library_runs_as_printed(tmp_path, monkeypatch, capsys):
    """Only smaller: 300 images for 10,000, and the recipe of the smoke preset for the quick one."""
    (code,) = (block for block in blocks() if "training.train(" in block)
    assert code.count("10_000") == 1
    set_up(tmp_path, 400)
    monkeypatch.setenv("ABLKIT_DATA", str(tmp_path))
    monkeypatch.setitem(training.RECIPES, "quick", training.RECIPES["smoke"])
    names: dict = {}
    exec(code.replace("10_000", "300"), names)
    assert len(names["poisoned"]) == 300 and len(names["test"]) == 200
    assert isinstance(names["clean"], training.Trained) and len(names["clean"].isolated) == 15
    shares = capsys.readouterr().out.splitlines()[-3:-1]
    assert all(0 <= float(share) <= 1 for share in shares)


def test_each_block_of_code_is_run_by_a_test():
    """Twin: the other one is the defence, run in test_methods.py."""
    assert ["training.train(" in block or "DEFENSE = Defense(" in block for block in blocks()] == [True, True]
