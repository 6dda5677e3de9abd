"""Where runs of a sweep may go at the same time, and which of them belong to this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from ablkit.errors import UserError, shown
from ablkit.runs import records
from ablkit.runs.arguments import MOST_AT_A_TIME, MOST_RUNS, cores, whole
from ablkit.runs.job import Job

_USABLE = 0.9
"""Share of a GPU's memory that runs may plan with; the rest goes to their CUDA contexts."""


@dataclass(frozen=True)
class Slot:
    """Room for one run at a time."""

    name: str
    environment: dict[str, str]
    """Variables that its runs get, such as the one that names their GPU."""


def make(jobs: list[Job], workers: int = 1, per_gpu: int | Literal["auto"] = 0) -> list[Slot]:
    """Slots on this machine: `workers` of them, or `per_gpu` on each of its GPUs.

    What fits a GPU is judged by the largest peak of memory among finished runs of the same data sets and models;
    `auto` takes as many as that allows, and one where no such run is finished yet.

    Raises UserError for a number below 1, where there is no GPU, and where `per_gpu` runs do not fit.
    """
    whole("--workers", workers, 1, MOST_AT_A_TIME)
    if per_gpu != "auto":
        whole("--per-gpu", per_gpu, 0, MOST_AT_A_TIME)
    if not per_gpu:
        return [Slot(f"worker {k}", {}) for k in range(workers)]
    gpus = _gpus()
    total = min(torch.cuda.get_device_properties(g).total_memory for g in range(len(gpus)))
    return _on_each(gpus, _fitting(jobs, per_gpu, total))


def _gpus() -> list[str]:
    count = torch.cuda.device_count()
    if not count:
        raise UserError("--per-gpu needs a GPU, and there is none here; use --workers")
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))).split(",")


def _on_each(gpus: list[str], number: int) -> list[Slot]:
    return [
        Slot(f"gpu {gpu}, {k}", {"CUDA_VISIBLE_DEVICES": gpu})
        for k in range(number)  # the outer loop, so that the first runs spread over the GPUs
        for gpu in gpus
    ]


def shard(jobs: list[Job], text: str | None, environment: Mapping[str, str] = os.environ) -> list[Job]:
    """The jobs that belong to shard `i/n`: a digest of its parameters decides, so shards need not know of each other.

    Args:
        text: i/n, with i from 0 to n - 1. None takes both from a Slurm array task, or from a Kubernetes indexed Job
            with ABLKIT_SHARDS for n, and all jobs outside of both.
    """
    if text is None:
        text = _shard_of(environment)
    if text is None:
        return jobs
    index, _, count = text.partition("/")
    try:
        number = whole("n", count, 1, MOST_RUNS)
        mine = whole("i", index, 0, number - 1)
    except UserError:
        raise UserError(
            f"shard {shown(text)} must be i/n with i from 0 to n - 1, such as 0/4, and n at most {MOST_RUNS}"
        ) from None
    return [job for job in jobs if _number(job) % number == mine]


def _number(job: Job) -> int:
    # Not the folder's key, which holds the kind of hardware: nodes that differ would then not agree on the shards.
    text = f"{job.notebook} {job.parameters.model_dump_json()}"
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def _shard_of(environment: Mapping[str, str]) -> str | None:
    if "SLURM_ARRAY_TASK_ID" in environment:
        number, count = _of(environment, "SLURM_ARRAY_TASK_ID", 0), _of(environment, "SLURM_ARRAY_TASK_COUNT", 1)
        first = _of(environment, "SLURM_ARRAY_TASK_MIN", 0, "0")
        step = _of(environment, "SLURM_ARRAY_TASK_STEP", 1, "1")
        index, rest = divmod(number - first, step)
        if rest or not 0 <= index < count:
            raise UserError(
                f"task {number} of {count} in an array from {first} in steps of {step} is no shard: submit the array as"
                f" 0-{count - 1}, or give --shard"
            )
        return f"{index}/{count}"
    if "JOB_COMPLETION_INDEX" in environment:
        if "ABLKIT_SHARDS" not in environment:
            raise UserError("JOB_COMPLETION_INDEX is set but not ABLKIT_SHARDS; set it to the Job's completions")
        count = _of(environment, "ABLKIT_SHARDS", 1)
        return f"{_of(environment, 'JOB_COMPLETION_INDEX', 0, most=count - 1)}/{count}"
    return None


def _of(environment: Mapping[str, str], name: str, least: int, default: str = "", most: int = 10**9) -> int:
    """The whole number in a variable of the batch system, or the default where it has one and is not set."""
    if name not in environment and not default:
        raise UserError(f"{name} is not set, and the shard depends on it; set it, or give --shard")
    return whole(name, environment.get(name, default), least, most)


def _fitting(jobs: list[Job], per_gpu: int | Literal["auto"], total: int) -> int:
    """How many runs are to share a GPU of `total` bytes; raises UserError where the number asked for does not fit."""
    peak = _largest_peak(jobs)
    most = max(1, int(_USABLE * total // peak)) if peak else None
    if per_gpu == "auto":
        # More than the cores would wait for them: each run has a process that feeds its GPU.
        return min(most or 1, cores())
    if most and per_gpu > most:
        raise UserError(
            f"--per-gpu {per_gpu} needs {per_gpu * peak / 2**30:.1f} GiB by the largest peak of such runs, and"
            f" the GPU has {total / 2**30:.1f}; use at most {most}"
        )
    return per_gpu


def _largest_peak(jobs: list[Job]) -> int:
    """Bytes of GPU memory that the hungriest run of the same data sets and models took on its own; 0 without any.

    A comparison of runs has neither among its parameters: all of its notebook count.
    """
    named = ("dataset", "model")
    alike = {(job.notebook, *(getattr(job.parameters, name, None) for name in named)) for job in jobs}
    peak = 0
    for notebook, *own in alike:
        for folder in records.folders(notebook, "metrics.json"):
            try:
                facts, values = records.environment(folder), records.parameters(folder)
            except records.Damaged:
                continue  # its own run will mend it
            if facts.get("device") != "cuda":
                continue
            if [values.get(name) for name in named] == own:
                peak = max(peak, facts.get("peak_memory_bytes") or 0)
    return peak
