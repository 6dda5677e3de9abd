"""What a run does with a poisoned set: ABL, the control, the oracle, or a defence that starts from a model of these."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from ablkit import data, models, provenance, training
from ablkit.attacks.attack import Poisoned
from ablkit.data.images import Images
from ablkit.defenses import DEFENSES, Given, settings_of
from ablkit.exclusion import exclude
from ablkit.metrics.after_epoch import Measurements, judge
from ablkit.paths import cache_root
from ablkit.runs import arrays, records
from ablkit.runs.parameters import OneRun
from ablkit.training import Store, Trained, checkpoint
from ablkit.training.kept import AGAIN, STAGES
from ablkit.training.progress import following, print_epoch
from ablkit.training.scores import needed

REPAIRED = "repaired"
"""The stage of the last record of a defence: its model, measured on all test images."""

Need = Callable[..., Path]
"""Notebook, parameters and changes to them -> the folder of that run."""


def train(
    parameters: OneRun,
    clean: Images,
    poisoned: Poisoned,
    evaluate: Measurements,
    folder: Path,
    need: Need | None = None,
) -> Trained:
    """Carry out the method that the parameters name on a poisoned set.

    `abl`, `none` and `exclude` train on the set, `oracle` trains as `none` does on the images before the attacker
    changed them.
    Every other method is a defence that starts from a model of another run, which is made first where it is missing:
    the undefended one for those that need clean data, and for those that use the isolated examples ABL's before its
    unlearning. The history then begins with that run's.

    A stage that any run has trained is taken from the cache. The loss of each image after each epoch of phase 1 is kept
    by all four.

    Args:
        clean: the training images as they were before the attack.
        evaluate: what `after_epoch.measure` gives.
        folder: keeps the history of this run.
        need: finds, or makes, the run that a defence starts from, as `runs.need` does; the other methods need none.

    Raises UserError for settings out of range, a loss that is not finite, and a damaged run to start from; ValueError
    for a defence without `need`.
    """
    p = parameters
    if p.method in DEFENSES:
        if need is None:
            raise ValueError(f"method {p.method} starts from the model of another run, so give need, such as runs.need")
        return _defend(p, poisoned, evaluate, folder, need)
    learned = clean if p.method == "oracle" else poisoned.data
    recipe = replace(p.recipe(), trajectories=f"loss {p.trajectories}")
    given = learned, recipe
    ranked_by = {"abl": recipe.isolation_score, "exclude": "averaged"}.get(p.method, "loss")
    # The oracle's own images hold no poison to be judged: it is measured on those of the others.
    evaluate = replace(evaluate, gap=p.method == "oracle")
    compared = needed(p.trajectories, ranked_by)
    shared = {
        "seed": p.seed,
        "device": p.device,
        "precision": p.precision,
        "evaluate": evaluate,
        "judge": None if p.method == "oracle" else judge(poisoned, p.isolation_rate, ranked_by, compared),
        "folder": folder,
        "store": store(evaluate.identity),
    }
    if p.method == "exclude":
        return exclude(*given, settings_of(p.method, p.method_settings), **shared)
    return training.train(*given, method="abl" if p.method == "abl" else "none", **shared)


def store(measured: str) -> Store:
    """Where all runs keep their stages.

    Args:
        measured: what stands for the measurements after each epoch.
    """
    return Store(cache_root() / STAGES, measured, again=bool(os.environ.get(AGAIN)))


def _defend(p: OneRun, poisoned: Poisoned, evaluate: Measurements, folder: Path, need: Need) -> Trained:
    defense = DEFENSES[p.method]
    changes = {"method": "none"} if defense.needs == "clean data" else _BEFORE_UNLEARNING
    base = need("run", p, method_settings="", **changes)
    history = records.history(base)
    isolated = arrays.isolated(base, len(poisoned))
    given = Given(
        load_model(base, p, len(poisoned.data.classes), min(poisoned.data.images.shape[1:3])),
        data.clean_images(p.dataset, train_size=p.train_size, seed=p.seed, held_out=p.held_out),
        poisoned.data,
        isolated,
        p.recipe(),
        p.seed,
        p.device,
        p.precision,
        folder / "from_scratch",
        following(folder, print_epoch, history),
        store(f"{replace(evaluate, gap=False).identity} on the sample {provenance.digest(__name__)}"),
    )
    settings = settings_of(p.method, p.method_settings)
    # Its epochs are followed on the sample of test images; the result is measured on all.
    repaired = defense.repair(given, settings, lambda model, stage, epoch, _: evaluate(model, stage, epoch, False))
    record = {"stage": REPAIRED, "epoch": 1, "seconds": 0.0, **evaluate(repaired.model, REPAIRED, 1, True)}
    given.report(record)
    losses = arrays.losses(base, len(poisoned))
    whole = [*history, *repaired.history, record]
    # Not only what was reported: of epochs before a kill nothing is reported again.
    checkpoint.write_history(folder, whole)
    return Trained(repaired.model, whole, losses, isolated, repaired.record)


_BEFORE_UNLEARNING = {"method": "abl", "schedule": "sequential", "unlearn_epochs": 0}


def load_model(folder: Path, parameters: OneRun, classes: int, size: int = 32) -> nn.Module:
    """The model of a finished run, on the CPU and in eval mode; raises UserError where its file is damaged.

    Args:
        size: pixels of the images' shorter side, see `models.build`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    recipe = parameters.recipe()
    model = models.build(recipe.model, classes, size=size, normalise=recipe.normalise)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise records.Damaged(path, "does not exist, or is no regular file")
    try:
        tensors = load(path.read_bytes())
        checkpoint.check_fit(tensors, model.state_dict())
    except (SafetensorError, OSError, ValueError) as error:
        raise records.Damaged(path, f"is damaged ({' '.join(str(error).split())[:200]})") from None
    model.load_state_dict(tensors)
    return model.eval()
