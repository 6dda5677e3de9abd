"""NVIDIA's Multi-Process Service (MPS), with which the kernels of several processes run on one GPU at the same time.

Without it processes take turns on a GPU: eight trainings on an H100 are then no faster than one after another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ablkit.runs.private import private_folder
from ablkit.sweep.slots import Slot

_CONTROL = "nvidia-cuda-mps-control"
_PIPES, _LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
_SECONDS = 30


@contextmanager
def shared(room: list[Slot]) -> Iterator[None]:
    """Let the runs of slots that are on the same GPU compute at the same time, while this lasts.

    MPS is started for this sweep alone and stopped at its end; it changes no setting of the GPU. One that the
    environment names already is used as it is. Where the driver has none, a line says that runs take turns.
    """
    on_each = Counter(slot.environment.get("CUDA_VISIBLE_DEVICES") for slot in room)
    if on_each.pop(None, 0) or max(on_each.values(), default=0) < 2 or _PIPES in os.environ:
        yield
        return
    if shutil.which(_CONTROL) is None:
        print(f"{_CONTROL} is not here, so runs on one GPU take turns: packing them saves little")
        yield
        return
    with private_folder() as (folder, _):
        variables = {_PIPES: str(folder / "mps"), _LOGS: str(folder / "mps-log")}
        for path in variables.values():
            os.mkdir(path)
        for slot in room:
            slot.environment.update(variables)
        try:
            with _daemon(os.environ | variables):
                yield
        finally:
            for slot in room:
                for name in variables:
                    del slot.environment[name]


@contextmanager
def _daemon(environment: dict[str, str]) -> Iterator[None]:
    """The control process, in the foreground of a process of ours so that it ends with it, whatever happens."""
    process = subprocess.Popen(
        [_CONTROL, "-f"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches it last
    )
    try:
        yield
    finally:
        try:
            subprocess.run(
                [_CONTROL], env=environment, input="quit\n", text=True, capture_output=True, timeout=_SECONDS
            )
            process.wait(_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
