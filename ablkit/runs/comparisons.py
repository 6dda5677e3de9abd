"""The runs that a comparison of methods needs, made where they are missing, and what they measured."""

from __future__ import annotations

import pandas as pd

from ablkit.errors import NotRunError
from ablkit.metrics import summary
from ablkit.metrics.summary import with_effectiveness
from ablkit.runs import execute, folder, records
from ablkit.runs.parameters import Cases, Comparison, losses
from ablkit.runs.parameters.arms import arm_of


def curves(frame: pd.DataFrame) -> pd.DataFrame:
    """What mode connectivity repair measured along its curve: attack, seed, t, clean accuracy, attack success rate.

    Args:
        frame: runs, see `compare`; those of other methods are passed over. All but the point of the result are measured
            on `monitor_images` test images.
    """
    columns = ["attack", "seed", "t", "clean_accuracy", "attack_success_rate"]
    found = [pd.DataFrame(columns=columns)]
    for _, run in frame[frame["method"] == "mcr"].iterrows():
        points = [record for record in records.history(run["folder"]) if record["stage"].startswith("t=")]
        found.append(pd.DataFrame(points).assign(attack=run["attack"], seed=run["seed"])[columns])
    return pd.concat(found[1:] or found, ignore_index=True)


def isolators(parameters: Comparison) -> pd.DataFrame:
    """How well each score isolates in the runs of the notebook about isolation, those that are missing run first.

    Columns are `attack`, `loss`, `seed`, `poisoned` (share of the training images that is) and those of
    `summary.isolators`. Raises what `execute.need` raises.
    """
    parts = []
    for one in parameters.runs():
        found = execute.need("run", one)
        metrics = records.metrics(found)
        run = {"attack": one.attack, "loss": losses.name_of(one.isolation_loss, one.gamma, one.per_sample)}
        run |= {"seed": one.seed, "poisoned": metrics["poisoned_images"] / metrics["training_images"]}
        parts.append(summary.isolators(records.history(found), **run))
    return pd.concat(parts, ignore_index=True)


def architectures(parameters: Comparison) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Phase 1 with each model, epoch by epoch, and the runs that were trained to their end; missing ones run first.

    The epochs have `model`, `attack`, `seed` and what `summary.first_phase` gives, the runs parameters and metrics.
    Raises what `execute.need` raises.
    """
    epochs, whole = [], []
    for one in parameters.runs():
        found = execute.need("run", one)
        if one.finetune_epochs:
            whole.append(found)
        else:
            of = {"model": one.model, "attack": one.attack, "seed": one.seed}
            epochs.append(summary.first_phase(records.history(found), **of))
    return pd.concat(epochs, ignore_index=True), folder.frame(whole) if whole else pd.DataFrame()


def compare(parameters: Comparison) -> tuple[pd.DataFrame, dict[str, str]]:
    """The runs that a comparison needs, one a row, those that are missing run first; and method -> why it was not run.

    Parameters, metrics and `defense_effectiveness`, which holds each run against the undefended one of its attack and
    seed. Raises what `execute.need` raises, but for a method that cannot be had on this machine.
    """
    folders, reasons = [], {}
    for wanted in parameters.runs():
        try:
            folders.append(execute.need("run", wanted))
        except NotRunError as error:
            reasons[wanted.method] = str(error)
    return with_effectiveness(folder.frame(folders)), reasons


def loss_gaps(parameters: Comparison) -> pd.DataFrame:
    """The first phase of the runs, those that are missing run first: a row for each attack, seed, method and epoch.

    The columns of `summary.loss_gap`, with `attack` and `seed`. Raises what `execute.need` raises.
    """
    parts = []
    for one in parameters.runs():
        own = summary.loss_gap({one.method: records.history(execute.need("run", one))})
        parts.append(own.assign(attack=one.attack, seed=one.seed))
    return pd.concat(parts, ignore_index=True)


def costs(parameters: Comparison) -> pd.DataFrame:
    """What each stage of the runs took, those that are missing run first: a row for each attack, method, seed, stage.

    The columns of `summary.stages`, and `mib`: the most memory that the process of the run held. A stage that was
    taken from the cache has the seconds of when it was trained. Raises what `execute.need` raises, but for a method
    that cannot be had on this machine.
    """
    parts = []
    for wanted in parameters.runs():
        try:
            found = execute.need("run", wanted)
        except NotRunError as error:
            print(error)
            continue
        of = {"attack": wanted.attack, "method": wanted.method, "seed": wanted.seed}
        memory = records.environment(found).get("peak_memory_bytes")
        parts.append(summary.stages(records.history(found), **of).assign(mib=memory and memory / 2**20))
    return pd.concat(parts, ignore_index=True)


def compare_cases(parameters: Cases) -> pd.DataFrame:
    """The runs of a notebook that varies one thing, one a row, those that are missing run first.

    Parameters, metrics and `case`, its name. Raises what `execute.need` raises.
    """
    each = parameters.each()
    frame = folder.frame([execute.need("run", wanted) for _, wanted in each])
    return frame.assign(case=[name for name, _ in each])


def compare_arms(parameters: Comparison) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of the arms of the unlearning, one a row, those that are missing run first; and their epochs.

    The runs have parameters, metrics and `arm`, the epochs `attack`, `seed`, `arm` and what `summary.unlearning` gives.
    Raises what `execute.need` raises.
    """
    frame = folder.frame([execute.need("run", wanted) for wanted in parameters.runs()])
    return with_epochs(frame, {run["key"]: records.history(run["folder"]) for _, run in frame.iterrows()})


def with_epochs(frame: pd.DataFrame, histories: dict[str, list[dict]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of runs that are there: the runs that are an arm, and their epochs.

    Args:
        frame: one run of run.ipynb a row, with its parameters and `key`.
        histories: key -> the records of that run.
    """
    frame = frame.assign(arm=[arm_of(dict(run)) for _, run in frame.iterrows()]).dropna(subset="arm")
    epochs = [
        summary.unlearning(histories[run["key"]]).assign(**{name: run[name] for name in ("attack", "seed", "arm")})
        for _, run in frame.iterrows()
    ]
    return frame, pd.concat(epochs, ignore_index=True) if epochs else pd.DataFrame()
