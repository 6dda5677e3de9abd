"""How long a run takes, over all the attempts that it needs: kept in its folder, and noted in `env.json` at its end."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from ablkit.errors import UserError
from ablkit.files import read_json, write_json
from ablkit.paths import cache_root
from ablkit.training.checkpoint import CHECKPOINT
from ablkit.training.kept import NOTE, STAGES

SPENT = "spent.json"
"""Lies beside the checkpoint of a run that was stopped: the seconds that it took to come so far."""
NOTED = "wall_seconds"
"""The entry of `env.json`: seconds from the start of the run's process to its end, of all attempts together."""
_MOST = 1e9


def has_checkpoint(folder: Path) -> bool:
    """Whether a run goes on from what an attempt before has left: in its folder, or of its stages in the cache."""
    if any(folder.rglob(CHECKPOINT)):
        return True
    stages = cache_root() / STAGES
    return any((stages / key / CHECKPOINT).is_file() for note in folder.rglob(NOTE) for key in _noted(note))


def _noted(note: Path) -> list[str]:
    try:
        keys = read_json(note).get("stages")
    except UserError:
        return []
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def earlier(folder: Path) -> float | None:
    """Seconds of the attempts that left a run's checkpoint: 0 without a checkpoint, None where nobody has kept them.

    Nobody has where the runner was killed.
    """
    if not has_checkpoint(folder):
        return 0.0
    try:
        seconds = read_json(folder / SPENT).get("seconds")
    except UserError:
        return None
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return float(seconds) if is_number and 0 <= seconds <= _MOST else None


class Watch:
    """Measures one attempt of a run: `with Watch(folder) as watch`, and `watch.seconds()` is what the run took so far.

    However the attempt ends, a run that leaves a checkpoint keeps its seconds beside it. They are gone while it goes
    on, as nobody knows what an attempt took whose runner is killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.before, self.begun = folder, earlier(folder), time.monotonic()
        (folder / SPENT).unlink(missing_ok=True)

    def seconds(self) -> float | None:
        """Seconds of this attempt and those before it; None where these are not known."""
        return None if self.before is None else self.before + time.monotonic() - self.begun

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(UserError):  # a full disk costs the seconds, and no word about what went wrong
            keep(self.folder, self.seconds())


def keep(folder: Path, seconds: float | None) -> None:
    """Keep what a run took so far, where it leaves a checkpoint and the seconds are known."""
    if seconds is not None and has_checkpoint(folder):
        write_json(folder / SPENT, {"seconds": round(seconds, 1)})


def note(folder: Path, seconds: float | None) -> None:
    """Note in the `env.json` of a run that is about to be sealed what it took, where that is known."""
    path = folder / "env.json"
    if seconds is None or not path.is_file():
        return
    try:
        write_json(path, {**read_json(path), NOTED: round(seconds, 1)})
    except UserError:
        return  # what a notebook of the user's own has left is not ours to mend
