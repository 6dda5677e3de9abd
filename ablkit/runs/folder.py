"""The run folder: one folder a run, keyed by all that its result depends on; `metrics.json` means done."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from ablkit import data, provenance
from ablkit.errors import UserError, shown
from ablkit.files import locked, read_json, write_bytes, write_json, write_text, write_whole
from ablkit.paths import cache_root
from ablkit.runs import drawings, durations, environment, records, seals
from ablkit.runs.key import facts_of, folder_of, modules_of
from ablkit.runs.notebooks import Source, read
from ablkit.runs.parameters import Parameters, check, given
from ablkit.training.checkpoint import CHECKPOINT, delete
from ablkit.training.kept import NOTE, STAGES

FOLDER_VARIABLE = "ABLKIT_RUN_FOLDER"
"""Set by the runner: the folder of the run that the kernel is to fill."""
PARAMETERS = "params.json"
"""All that the key of a run stands for: see `facts_of`."""
PENDING = "metrics.pending.json"
"""What a notebook leaves for the runner, which renames it once the notebook has ended without an error."""

_held = ExitStack()
"""The lock of the folder that this process fills without a runner, as in JupyterLab."""


@dataclass(frozen=True)
class Run:
    """One run and its folder."""

    notebook: str
    parameters: Parameters
    folder: Path

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits: the folder's name."""
        return self.folder.name

    def figure(self, name: str, figure, numbers: pd.DataFrame | None = None) -> None:
        """Save a matplotlib figure as `figures/NAME.svg` and `.png`, with the numbers it shows as `.csv`."""
        folder = self.folder / "figures"
        for ending in ("svg", "png"):
            # Without its date the same numbers give the same file.
            metadata = {"Date": None} if ending == "svg" else {}
            write_whole(
                folder / f"{name}.{ending}",
                lambda path, e=ending, m=metadata: figure.savefig(path, format=e, metadata=m),
            )
        if numbers is not None:
            write_text(folder / f"{name}.csv", numbers.to_csv(index=False))

    def picture(self, name: str, png: bytes) -> None:
        """Save a picture of images as `figures/NAME.png`; raises UserError for any other content than its pixels."""
        try:
            drawings.check_picture(png)
        except UserError as error:
            raise UserError(f"figures/{name}.png {error}; give it as `ablkit.report.pictures` makes it") from None
        write_bytes(self.folder / "figures" / f"{name}.png", png)

    def finish(
        self,
        metrics: dict,
        *,
        model: nn.Module | None = None,
        trajectories: dict[str, np.ndarray] | None = None,
        **arrays: np.ndarray,
    ) -> None:
        """Save weights and arrays, then the metrics; with them the run counts as done.

        Args:
            trajectories: scores of the training images by epoch, kept compressed in one file.

        Raises UserError where the package has changed meanwhile: what was imported late is then of another code.
        """
        provenance.check_unchanged(*modules_of(self.parameters, _source(self.notebook)))
        if model is not None:
            from safetensors.torch import save as serialised

            tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
            write_bytes(self.folder / "model.safetensors", serialised(tensors))
        for name, array in arrays.items():
            write_whole(self.folder / f"{name}.npy", lambda path, a=array: _save_array(path, a))
        if trajectories:
            write_whole(self.folder / "trajectories.npz", lambda path: _save_arrays(path, trajectories))
        env = read_json(self.folder / "env.json")
        write_json(self.folder / "env.json", {**env, "peak_memory_bytes": environment.peak_memory_bytes(env["device"])})
        write_json(self.folder / PENDING, metrics)
        if not os.environ.get(FOLDER_VARIABLE):
            complete(self.folder)
            _held.close()


def complete(folder: Path) -> None:
    """Make a run that has left its metrics a finished one."""
    seals.seal(folder, folder / PENDING)
    os.replace(folder / PENDING, folder / "metrics.json")
    drop_checkpoints(folder)


def drop_checkpoints(folder: Path) -> None:
    """Delete what only an unfinished run needs."""
    for name in (CHECKPOINT, NOTE, STAGES, durations.SPENT):
        for path in list(folder.rglob(name)):
            delete(path)


def _save_array(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def start(notebook: str, namespace: dict) -> Run:
    """Open the run of a notebook from inside it.

    Args:
        namespace: the notebook's `globals()`, from which the parameters are read by name.

    Under `ablkit run` the folder is the runner's. In JupyterLab and under plain papermill it is one of the same form
    whose key says that the notebook's code was not known. The process computes with as many threads as the parameters
    say. Raises UserError for parameters that do not validate, for other ones than the runner has planned, and where the
    package has changed since it was imported; Busy where another process fills the folder.
    """
    parameters = check(notebook, given(notebook, namespace))
    source = _source(notebook)
    provenance.check_unchanged(*modules_of(parameters, source))
    environment.say_other_threads(parameters.threads)
    torch.set_num_threads(parameters.threads)
    # torch makes this folder once it trains; by default below the one for temporary files, under a name that somebody
    # else may have taken.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_root() / "inductor"))
    if own := os.environ.get(FOLDER_VARIABLE):
        run = Run(notebook, parameters, Path(own))
        _check_planned(run, source)
    else:
        facts = facts_of(notebook, parameters, source) | {"code": "interactive"}
        run = Run(notebook, parameters, folder_of(facts))
        _held.close()
        _held.enter_context(locked(run.folder))
        (run.folder / "metrics.json").unlink(missing_ok=True)
        write_json(run.folder / PARAMETERS, facts)
    facts = environment.describe(parameters.device, parameters.precision)
    write_json(run.folder / "env.json", {**facts, "data": data.digest(parameters.dataset)})
    return run


def _source(notebook: str) -> Source | None:
    """The notebook that this process executes, or would; None where there is none, as outside a clone."""
    try:
        return read(notebook)
    except UserError:
        return None


def _check_planned(run: Run, source: Source | None) -> None:
    """Raise UserError where what runs is not what the runner has planned, and so what the folder's key stands for."""
    planned = read_json(run.folder / PARAMETERS)
    found = json.loads(json.dumps(facts_of(run.notebook, run.parameters, source)))
    if found == planned:
        return
    others = [name for name in sorted({*found, *planned}) if found.get(name) != planned.get(name)]
    if "parameters" in others:
        names = found["parameters"].items()
        others = [f"{name} = {shown(value)}" for name, value in names if planned["parameters"].get(name) != value]
    raise UserError(
        f"this run is not the one that was planned: {', '.join(others)} differs; start the same command again, and see"
        " that no cell of the notebook sets parameters after the injected ones"
    )


def load(notebook: str) -> pd.DataFrame:
    """The finished runs of a notebook, one a row: parameters, metrics, `key` and `folder`.

    Damaged ones are left out, and named in one warning on standard error.
    """
    return pd.DataFrame(records.readable(records.folders(notebook, "metrics.json"), _row))


def frame(folders: list[Path]) -> pd.DataFrame:
    """Finished runs by their folders, one a row, in that order; see `load`. Raises UserError for a damaged one."""
    return pd.DataFrame(_row(folder) for folder in folders)


def _row(folder: Path) -> dict:
    return {**records.parameters(folder), **records.metrics(folder), "key": folder.name, "folder": folder}
