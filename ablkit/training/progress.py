"""What joins the record of an epoch, its one aligned line with the time that is left, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from ablkit.training import checkpoint
from ablkit.training.recipe import Recipe
from ablkit.training.stages import Stage

Evaluation = Callable[[nn.Module, str, int, bool], dict]
"""Model, name of the stage, number of finished epochs in it, whether it was the last -> what joins its record."""
COLUMNS = (
    ("stage", "stage", "{:<8}"),
    ("epoch", "epoch", "{:>5}"),
    ("loss", "loss", "{:>8.3f}"),
    ("learning_rate", "lr", "{:>7.2g}"),
    ("clean_accuracy", "CA", "{:>6.1%}"),
    ("attack_success_rate", "ASR", "{:>6.1%}"),
    ("isolation_precision", "prec", "{:>6.1%}"),
    ("seconds", "s", "{:>6.1f}"),
    ("seconds_left", "left", "{:>8}"),
)


def print_epoch(record: dict) -> None:
    """Print a record as one line, after the header where a stage begins; what is measured nowhere has no column.

    A stage's records have the same keys: what is not known after an epoch is None there.
    """
    columns = [column for column in COLUMNS if column[0] in record]
    if record["epoch"] == 1:
        print("  ".join(f"{title:{form[2]}{_width(form)}}" for _, title, form in columns))
    print("  ".join(_cell(record, key, form) for key, _, form in columns), flush=True)


def following(folder: Path | None, report: Callable[[dict], None] | None, before: list[dict]) -> Callable[[dict], None]:
    """What reports a record and keeps the history up to it, for people to follow.

    Args:
        folder: keeps the history; see `checkpoint.write_history`.
        report: is given each record.
        before: the records of earlier stages.
    """
    seen = list(before)

    def told(record: dict) -> None:
        seen.append({name: value for name, value in record.items() if name != "seconds_left"})
        if folder is not None:
            checkpoint.write_history(folder, seen)
        if report is not None:
            report(record)

    return told


def _width(form: str) -> str:
    return form[3:-1].split(".")[0]


def _cell(record: dict, key: str, form: str) -> str:
    value = record.get(key)
    if value is None or value != value:  # nothing was there to be measured
        return " " * int(_width(form))
    if key == "seconds_left":
        value = f"{value // 60:.0f} m {value % 60:02.0f} s"
    return form.format(value)


class Clock:
    """Estimates what is left of a training from what its epochs have taken so far."""

    def __init__(self, stages: list[Stage], n: int, recipe: Recipe) -> None:
        isolated = round(recipe.isolation_rate * n)
        size = {"all": n, "kept": n - isolated, "isolated": isolated, "both": 2 * (n - isolated)}
        self.images = [size[stage.members] for stage in stages]
        self.epochs = [stage.epochs for stage in stages]
        self.seen, self.seconds, self.evaluations, self.evaluation_seconds = 0, 0.0, 0, 0.0

    def images_in_all(self) -> int:
        """How many images all epochs of all stages go through."""
        return sum(epochs * images for epochs, images in zip(self.epochs, self.images, strict=True))

    def seconds_left(self, record: dict, stage: int) -> float:
        """Seconds until the end, after the epoch of `record` in the stage of that index."""
        self.seen += self.images[stage]
        self.seconds += record["seconds"]
        self.evaluations += 1
        self.evaluation_seconds += record["evaluation_seconds"]
        epochs = [self.epochs[stage] - record["epoch"], *self.epochs[stage + 1 :]]
        images = sum(e * i for e, i in zip(epochs, self.images[stage:], strict=True))
        return images * self.seconds / self.seen + sum(epochs) * self.evaluation_seconds / self.evaluations
