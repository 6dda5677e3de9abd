"""Training fresh weights once more, as a stage of a longer history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from ablkit.data.images import Images
from ablkit.training.abl import Trained, train
from ablkit.training.kept import Store
from ablkit.training.progress import Evaluation
from ablkit.training.recipe import Recipe

RETRAIN = "retrain"
"""Name of the stage."""


def retrain(
    data: Images,
    recipe: Recipe,
    stage: str = RETRAIN,
    *,
    evaluate: Evaluation | None = None,
    store: Store | None = None,
    report: Callable[[dict], None] | None = None,
    **others: object,
) -> Trained:
    """Train fresh weights as method `none` of `train` does, as one stage whose epochs are counted through.

    `evaluate` and `report` are told of that stage alone; `others` are further arguments of `train`.
    """
    first, epochs = recipe.isolation_epochs, recipe.isolation_epochs + recipe.finetune_epochs

    def counted(part: str, epoch: int) -> int:
        return epoch + (0 if part == "isolate" else first)

    def evaluate_epoch(model: nn.Module, part: str, epoch: int, last: bool) -> dict:
        done = counted(part, epoch)
        return {} if evaluate is None else evaluate(model, stage, done, done == epochs)

    def renamed(record: dict) -> dict:
        return record | {"stage": stage, "epoch": counted(record["stage"], record["epoch"])}

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
