"""How many images a second the triggers of the closed-form attacks take."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ablkit import attacks, data
from ablkit.files import write_json
from ablkit.runs import environment
from benchmarks.measuring import cifar_images, rate

ROUNDS = 9
IMAGES = 50_000
CLOSED_FORM = ("badnets", "trojan", "blend", "sig")
"""The attacks whose trigger is a formula; trojan once its patch is made, here an unoptimised one."""


def bench(json_file: Path | None = None) -> dict:
    """Print how many images a second the triggers of the closed-form attacks take, on IMAGES images of 32x32 pixels.

    Copying the images alone is the ceiling, and stands first. Returns {attack: images per second}.
    """
    images, labels = cifar_images(IMAGES)
    classes = tuple(map(str, range(10)))
    train = data.Images(images[:1_000], labels[:1_000], classes, "bench")
    triggers: dict[str, Callable] = {"(copy)": np.array}
    # At rate 0 nothing is trained; the trigger costs the same.
    triggers |= {name: attacks.poison(train, name, rate=0.0).triggered.change for name in CLOSED_FORM}
    figures = {}
    for name, trigger in triggers.items():
        rates = [rate(lambda x, _, change=trigger: change(x), images, labels) for _ in range(ROUNDS)]
        figures[name] = statistics.median(rates)
        print(f"{name:<16}{figures[name]:>14,.0f} images/s")
    if json_file:
        write_json(json_file, {**figures, "environment": environment.describe("cpu", "fp32"), "rounds": ROUNDS})
    return figures
