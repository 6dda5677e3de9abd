"""Where the time of a training step goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch.profiler import ProfilerActivity, profile

from ablkit.training.hardware import Hardware

_ROWS = 20


def table(place: Hardware, epoch: Callable, images: np.ndarray, labels: np.ndarray) -> str:
    """The most expensive operations of an epoch over these images, by torch's profiler, as text."""
    epoch(images, labels)  # the first one warms up
    on_gpu = place.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu) as found:
        epoch(images, labels)
    by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return found.key_averages().table(sort_by=by, row_limit=_ROWS, max_name_column_width=48)
