"""Several trainings at once in one process, for a GPU that one small model does not fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TypeVar

import torch

from ablkit.training import hardware

Result = TypeVar("Result")


def side_by_side(trainings: Sequence[Callable[[], Result]], device: str = "auto") -> list[Result]:
    """What each of `trainings` returns, such as `partial(train, ..., seed=seed)` of several seeds.

    Each runs in a thread, on CUDA with a stream of its own, on a CPU with an equal share of the cores; its result is
    that of the same training alone, on a CPU to the bit where it is given the same number of cores.

    Raises what the first failing one raises, once the others have ended.
    """
    if not trainings:
        return []
    place, threads = hardware.choose(device), torch.get_num_threads()

    def one(training: Callable[[], Result]) -> Result:
        own = torch.cuda.stream(torch.cuda.Stream(place.device)) if place.device.type == "cuda" else nullcontext()
        with own:
            return training()

    share = max(1, threads // len(trainings))
    try:
        with ThreadPoolExecutor(len(trainings), initializer=torch.set_num_threads, initargs=(share,)) as pool:
            return list(pool.map(one, trainings))
    finally:
        torch.set_num_threads(threads)  # what a thread of the pool sets would else become the default of new ones
