"""Streams of other names are other streams, and those of committed results stay what they were."""

from __future__ import annotations

from itertools import product
from typing import get_args

import numpy as np
import pytest

from ablkit.randomness import _INDEXED, Purpose, numpy_stream, torch_stream


def test_streams_of_other_names_differ():
    names = [
        (seed, purpose, *indices)
        for seed, purpose in product((0, 1, 2**32), get_args(Purpose))
        for number in _INDEXED.get(purpose, (0,))
        for indices in product((0, 1, 2), repeat=number)
    ]
    for stream, draw in ((numpy_stream, lambda made: made.integers(2**62)), (torch_stream, lambda t: t.initial_seed())):
        assert len({int(draw(stream(*name))) for name in names}) == len(names)
    # The twin: NumPy itself fills with zeros, so that with any number of indices two names could be one stream.
    assert len({int(np.random.default_rng([7, *zeros]).integers(2**62)) for zeros in ([], [0], [0, 0])}) == 1


@pytest.mark.parametrize("name", [("order",), ("order", 0), ("order", 0, 0, 0), ("trigger", 6), ("weights", 0)])
def test_another_number_of_indices_is_refused(name):
    for stream in (numpy_stream, torch_stream):
        with pytest.raises(ValueError, match=f"a stream '{name[0]}' is one of .*fill with zeros"):
            stream(0, *name)


def test_the_streams_of_committed_results_are_what_they_were():
    assert numpy_stream(3, "subset").integers(1000, size=3).tolist() == [944, 329, 365]
    assert torch_stream(3, "weights").initial_seed() == 15811377055930643742
    # Before indices were counted these were drawn without, or with one.
    assert numpy_stream(3, "trigger", 0, 0).integers(1000, size=3).tolist() == [88, 263, 184]
    assert torch_stream(3, "defense", 2, 0).initial_seed() == 14311653930690516884
