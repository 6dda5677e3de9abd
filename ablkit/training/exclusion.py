"""Training without what phase 1 shows to be poisoned: averaged weights, suspects, fresh weights on the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.shapes import ndarray
from ablkit.training import checkpoint, lookalikes, suspects
from ablkit.training.abl import Trained, train
from ablkit.training.inference import features_of
from ablkit.training.kept import Store
from ablkit.training.progress import Evaluation, print_epoch
from ablkit.training.recipe import RECIPES, Recipe

RETRAIN = "retrain"
"""The stage of a training from fresh weights on what was kept."""


def exclude(
    data: Images,
    recipe: Recipe = RECIPES["paper"],
    settings: suspects.Settings | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    evaluate: Evaluation | None = None,
    judge: Callable[[dict[str, ndarray]], dict] | None = None,
    folder: Path | None = None,
    store: Store | None = None,
    report: Callable[[dict], None] | None = print_epoch,
) -> Trained:
    """Train a model on a set of which an unknown part is poisoned, without the images that show to be.

    Phase 1 is that of ABL with its weights averaged. The losses and features of the images under the averaged model
    then tell the suspected classes, and in these which images; see `suspects.find`. Fresh weights are trained on all
    others as method `none` of `train` does, with the same recipe: on the whole set where no class stands out. Nothing
    is unlearned.

    The history has the stages `isolate` and `retrain`. As the isolated count the images of the lowest averaged loss, a
    share `isolation_rate` of all; they have no part in the training.

    Args:
        settings: of the suspicion.
        folder: keeps the history there, and without a `store` the stages, of each training in a folder of its own.

    The other arguments are those of `train`. Raises UserError for settings out of range, a loss that is not finite, and
    where fewer images are left than a training takes.
    """
    if not recipe.isolation_epochs:
        raise UserError("isolation_epochs is 0, and the suspects are found in phase 1; use 1 or more")
    folders = [None, None] if folder is None else [folder / "isolate", folder / RETRAIN]
    shared = {"seed": seed, "device": device, "precision": precision, "evaluate": evaluate, "store": store}
    follow = partial(_follow, folder, report)
    first = train(data, _first_phase(recipe), **shared, judge=judge, folder=folders[0], report=follow([]))
    settings = settings or suspects.Settings()
    # The last epoch as it was measured; the trajectories are rounded.
    losses = np.concatenate([first.trajectories["averaged"][:-1].astype(np.float32), first.losses[None]])
    seen = features_of(first.averaged, data.images, precision)

    def alike(draw: int) -> ndarray:
        return lookalikes.groups(data.images, data.labels, seed, draw) if data.groups is None else data.groups

    found = suspects.find(losses, seen, data.labels, len(data.classes), settings, seed, alike)
    if report is not None:
        print(found, flush=True)
    kept = suspects.kept(data.labels, found, fill=settings.fill)
    if len(kept) < recipe.batch_size:
        raise UserError(
            f"{len(found.images)} of {len(data)} images are excluded, so {len(kept)} are left to train on; suspect"
            " less, with a larger least_separation"
        )
    last = retrain(data.take(kept), recipe, **shared, folder=folders[1], report=follow(first.history))
    history = [*first.history, *last.history]
    if folder is not None:
        checkpoint.write_history(folder, history)
    return replace(first, model=last.model, history=history, record=found.record(), suspects=found)


def _first_phase(recipe: Recipe) -> Recipe:
    """Phase 1 alone, which keeps the losses under the averaged model after each epoch."""
    scores = recipe.trajectories.split()
    followed = " ".join(scores if "averaged" in scores else [*scores, "averaged"])
    alone = {"schedule": "sequential", "finetune_epochs": 0, "unlearn_epochs": 0}
    return replace(recipe, **alone, isolation_score="averaged", trajectories=followed)


def retrain(
    data: Images,
    recipe: Recipe,
    *,
    evaluate: Evaluation | None = None,
    store: Store | None = None,
    report: Callable[[dict], None] | None = None,
    **others: object,
) -> Trained:
    """Train fresh weights as method `none` of `train` does, as one stage `retrain` whose epochs are counted through.

    `evaluate` and `report` are told of that stage alone; `others` are further arguments of `train`.
    """
    first, epochs = recipe.isolation_epochs, recipe.isolation_epochs + recipe.finetune_epochs

    def counted(stage: str, epoch: int) -> int:
        return epoch + (0 if stage == "isolate" else first)

    def evaluate_epoch(model: nn.Module, stage: str, epoch: int, last: bool) -> dict:
        done = counted(stage, epoch)
        return {} if evaluate is None else evaluate(model, RETRAIN, done, done == epochs)

    def renamed(record: dict) -> dict:
        return record | {"stage": RETRAIN, "epoch": counted(record["stage"], record["epoch"])}

    trained = train(
        data,
        replace(recipe, trajectories=""),
        method="none",
        evaluate=evaluate_epoch,
        # The last of its epochs alone counts as the end of a stage.
        store=store and replace(store, measured=f"{store.measured} {RETRAIN} {epochs}"),
        report=None if report is None else lambda record: report(renamed(record)),
        **others,
    )
    return replace(trained, history=[renamed(record) for record in trained.history])


def _follow(
    folder: Path | None, report: Callable[[dict], None] | None, before: list[dict]
) -> Callable[[dict], None] | None:
    """Report each record, and keep the history up to it for people to follow."""
    seen = list(before)

    def told(record: dict) -> None:
        seen.append({name: value for name, value in record.items() if name != "seconds_left"})
        if folder is not None:
            checkpoint.write_history(folder, seen)
        if report is not None:
            report(record)

    return told
