"""A folder of images as a stranger hands it over, for the tests of what reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablkit.cli import main

CLASSES = ("cat", "dog")


def picture(seed: int, shape: tuple = (8, 8, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def pets(folder: Path, number: int = 4, classes: tuple = CLASSES, shape: tuple = (8, 8, 3), start: int = 0) -> Path:
    """Class folders with as many PNG files each, no two of them alike."""
    for label, name in enumerate(classes):
        for at in range(number):
            save(folder / name / f"{at:03}.png", picture(start + label * number + at, shape))
    return folder


def bring(source: Path | str, *more: str) -> int:
    """Import it from the command line as `pets`."""
    return main(["data", "import", str(source), "--name", "pets", *more])


def check_refused(code: int, capsys: pytest.CaptureFixture, roots: Path, message: str) -> None:
    """The import ended with one line and left nothing behind."""
    printed = capsys.readouterr()
    assert code == 2 and printed.out == ""
    assert message in printed.err and printed.err.startswith("ablkit: ") and printed.err.count("\n") == 1
    assert not roots.exists() or not list(roots.iterdir())
