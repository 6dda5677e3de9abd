"""One seed, independent streams: what is drawn for one purpose never shifts what is drawn for another."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # imported where it is needed, as it takes seconds and data are drawn without it
    import torch

Purpose = Literal[
    "subset",
    "poison",
    "trigger",
    "weights",
    "order",
    "augmentation",
    "statistics",
    "defense",
    "folds",
    "control",
    "split",
]
_INDEXED = {"trigger": (2, 3), "order": (2,), "augmentation": (2,), "defense": (2, 3), "folds": (2,)}
"""How many indices a purpose takes; the others take none. SeedSequence fills what it is given with zeros up to four
numbers, seed and purpose among them: fewer than two indices would be the stream of two of which the last are 0."""


def _sequence(seed: int, purpose: Purpose, indices: tuple[int, ...]) -> np.random.SeedSequence:
    wanted = _INDEXED.get(purpose, (0,))
    if len(indices) not in wanted:
        raise ValueError(
            f"a stream {purpose!r} is one of {' or '.join(map(str, wanted))} indices, not of {len(indices)}, or two"
            " would be the same; fill with zeros"
        )
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *indices])


def numpy_stream(seed: int, purpose: Purpose, *indices: int) -> np.random.Generator:
    """A NumPy generator for one purpose; `indices` (stage, epoch) select a place in it without drawing up to there.

    Other indices are another stream. Raises ValueError where their number is none that the purpose takes.
    """
    return np.random.default_rng(_sequence(seed, purpose, indices))


def torch_stream(seed: int, purpose: Purpose, *indices: int) -> torch.Generator:
    """A CPU torch generator for one purpose; see `numpy_stream`.

    Being a function of (seed, purpose, indices) alone, it needs no saved state: a resumed run draws what an
    uninterrupted one would have drawn.
    """
    import torch

    state = int(_sequence(seed, purpose, indices).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state)
