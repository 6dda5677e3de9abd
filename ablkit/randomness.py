"""One seed, independent streams: what is drawn for one purpose never shifts what is drawn for another."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
import torch

Purpose = Literal["subset", "poison", "trigger", "weights", "order", "augmentation", "statistics", "defense"]


def _sequence(seed: int, purpose: Purpose, counters: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *counters])


def numpy_stream(seed: int, purpose: Purpose, *counters: int) -> np.random.Generator:
    """A NumPy generator for one purpose; `counters` (stage, epoch) select a place in it without drawing up to there."""
    return np.random.default_rng(_sequence(seed, purpose, counters))


def torch_stream(seed: int, purpose: Purpose, *counters: int) -> torch.Generator:
    """A CPU torch generator for one purpose; see `numpy_stream`.

    Being a function of (seed, purpose, counters) alone, it needs no saved state: a resumed run draws what an
    uninterrupted one would have drawn.
    """
    state = int(_sequence(seed, purpose, counters).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)
