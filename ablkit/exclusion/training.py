"""Training without the images that show to be poisoned: averaged weights, suspects, fresh weights on the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from torch import nn

from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.exclusion import lookalikes, rule, suspects
from ablkit.shapes import Float, ndarray
from ablkit.training import checkpoint
from ablkit.training.abl import Trained, train
from ablkit.training.inference import features_of
from ablkit.training.kept import Store
from ablkit.training.progress import Evaluation, following, print_epoch
from ablkit.training.recipe import RECIPES, Recipe
from ablkit.training.retraining import RETRAIN, retrain

AGAIN = "again"
"""The stage of the second training from fresh weights, where `RETRAIN` did not leave out all suspects."""


@dataclass(frozen=True, kw_only=True)
class Excluded(Trained):
    """What a training without suspects leaves behind."""

    suspects: suspects.Suspects
    """What was suspected, and the images that were excluded."""
    looked_at: tuple[nn.Module, ...]
    """The models in whose layers suspects were looked for, in this order; see `Suspects.looks`."""


def exclude(
    data: Images,
    recipe: Recipe = RECIPES["paper"],
    settings: rule.Settings | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    evaluate: Evaluation | None = None,
    judge: Callable[[dict[str, ndarray]], dict] | None = None,
    folder: Path | None = None,
    store: Store | None = None,
    report: Callable[[dict], None] | None = print_epoch,
) -> Excluded:
    """Train a model on a set of which an unknown part is poisoned, without the images that show to be.

    Phase 1 is that of ABL with its weights averaged. The losses and features of the images under the averaged model
    then tell the suspected classes, and in these which images; see `suspects.find`. Fresh weights are trained, as
    method `none` of `train` does and with the same recipe, on all images but the suspects of classes that stand out as
    far as the second look asks for. The second look is at that model, which had the time to learn what phase 1 missed,
    and judges all images that were not left out, also the rest of such a class. What it suspects of another class
    replaces what the first did; all else that the first suspects stays. Where not all suspects were left out, fresh
    weights are trained once more without them. Nothing is unlearned.

    The history has the stages `isolate` and `retrain`, and `again` where a second training was needed. As the isolated
    count the images of the lowest averaged loss, a share `isolation_rate` of all; they have no part in the training.

    Args:
        settings: of the suspicion.
        folder: keeps the history there, and without a `store` the stages, of each training in a folder of its own.

    The other arguments are those of `train`. Raises UserError for settings out of range, a loss that is not finite, and
    where fewer images are left than a training takes.
    """
    settings = settings or rule.Settings()
    settings.check_recipe(recipe)
    shared = {"seed": seed, "device": device, "precision": precision, "evaluate": evaluate, "store": store}
    follow = partial(following, folder, report)
    where = (lambda name: None) if folder is None else folder.joinpath
    first = train(data, first_phase(recipe), **shared, judge=judge, folder=where("isolate"), report=follow([]))
    history = list(first.history)
    say = (lambda line: None) if report is None else partial(print, flush=True)

    def train_without(found: suspects.Suspects, stage: str) -> nn.Module:
        rest = _without(data, found, recipe.batch_size, fill=settings.fill)
        last = retrain(rest, recipe, stage, **shared, folder=where(stage), report=follow(history))
        history.extend(last.history)
        return last.model

    evidence = evidence_of(data, first, seed, precision)
    found = look(evidence, first.averaged, settings)
    say(f"after phase 1 {found}")
    seen, least = (first.averaged,), settings.least_at_end
    sure = found.of(np.flatnonzero(found.separations >= least), data.labels)
    model = train_without(sure, RETRAIN)
    if least:
        second = look(evidence, model, replace(settings, least_separation=least), 2, sure.images)
        say(f"in the trained model, of the images that are left, {second}")
        found, seen = found.with_second(second, data.labels, sure), (*seen, model)
    if settings.control == "random":
        found = suspects.drawn_instead(found, data.labels, seed)
    if not np.array_equal(found.images, sure.images):
        model = train_without(found, AGAIN)
    say(f"{len(found.images)} of {len(data)} images are excluded")
    if folder is not None:
        checkpoint.write_history(folder, history)
    left = {**vars(first), "model": model, "history": history, "record": found.record()}
    return Excluded(**left, suspects=found, looked_at=seen)


@dataclass(frozen=True)
class Evidence:
    """What both looks judge by, beside what the layers of a model see; see `evidence_of`."""

    data: Images
    losses: Float[ndarray, "epochs n"]
    """Of the images under the averaged model, after each epoch of phase 1."""
    looks: lookalikes.Looks
    """See `suspects.find`; the same for both."""
    seed: int
    precision: str


def evidence_of(data: Images, first: Trained, seed: int, precision: str) -> Evidence:
    """What is known after phase 1; `seed` and `precision` as in `exclude`."""
    # The last epoch as it was measured; the trajectories are rounded.
    losses = np.concatenate([first.trajectories["averaged"][:-1].astype(np.float32), first.losses[None]])
    return Evidence(data, losses, _looks(data, seed), seed, precision)


def look(
    evidence: Evidence,
    model: nn.Module,
    settings: rule.Settings,
    number: int = 1,
    left_out: ndarray | None = None,
) -> suspects.Suspects:
    """Which images are suspected in the look of that number at a model; those left out have no part in it."""
    data = evidence.data
    features = features_of(model, data.images, evidence.precision)
    judged = (evidence.losses, features, data.labels, len(data.classes), settings)
    return suspects.find(*judged, evidence.seed, evidence.looks, number, left_out)


def _looks(data: Images, seed: int) -> lookalikes.Looks:
    """What is known by the look; which images are alike the data itself says, where it has groups."""
    drawn = cache(partial(lookalikes.groups, data.images, data.labels, seed))
    alike = drawn if data.groups is None else lambda draw: data.groups
    return lookalikes.Looks(alike, drawn(0), lookalikes.cells_of(data.images))


def _without(data: Images, found: suspects.Suspects, fewest: int, *, fill: bool) -> Images:
    """The images that are trained on; see `suspects.kept`. Raises UserError for fewer than `fewest`."""
    kept = suspects.kept(data.labels, found, fill=fill)
    if len(kept) < fewest:
        raise UserError(
            f"{len(found.images)} of {len(data)} images are excluded, so {len(kept)} are left to train on; suspect"
            " less, with a larger least_separation or, if they were found at the end, least_separation_at_end"
        )
    return data.take(kept)


def first_phase(recipe: Recipe) -> Recipe:
    """Phase 1 alone, which keeps the losses under the averaged model after each epoch."""
    scores = recipe.trajectories.split()
    followed = " ".join(scores if "averaged" in scores else [*scores, "averaged"])
    alone = {"schedule": "sequential", "finetune_epochs": 0, "unlearn_epochs": 0}
    return replace(recipe, **alone, isolation_score="averaged", trajectories=followed)
