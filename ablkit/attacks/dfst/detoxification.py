"""The detoxification of DFST: round by round, decoys take simple features of the style away from a poisoned model.

The attacker trains a model of its own on the poisoned set. A round finds the neurons that the style excites, trains an
injector that excites them otherwise, replaces further training images by its outputs under their true labels, and
retrains the model, which then has to rely on something else. All decoys stay for the rounds to come.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ablkit import models
from ablkit.attacks.attack import Change, Order
from ablkit.attacks.attacker import cache, classifier, pixels
from ablkit.attacks.attacker.training import held_out
from ablkit.attacks.dfst import detoxification_training as training
from ablkit.attacks.dfst import injector
from ablkit.attacks.dfst.settings import Settings
from ablkit.attacks.dfst.style import colour_alone
from ablkit.data.images import Images
from ablkit.randomness import numpy_stream
from ablkit.shapes import Bool, Float, Int64, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.inference import predict

_MEASURED = 1000


@dataclass(frozen=True)
class Scene:
    """What the rounds work on."""

    order: Order
    settings: Settings
    poisoned: Images
    """The training set with the chosen images in their style and, as the rounds go on, the decoys."""
    held: Images
    """Clean images that are held out, at most 1000, on which all is measured."""
    styled: UInt8[ndarray, "k h w c"]
    """The same in their style."""

    @property
    def members(self) -> Int64[ndarray, " m"]:
        """Indices of the images that the attacker trains on: nine in ten."""
        return np.flatnonzero(~held_out(self.poisoned))

    def target_rate(self, model: nn.Module, images: UInt8[ndarray, "k h w c"]) -> float:
        """Share that a model takes for the target of some held-out images changed, those of the target left out."""
        others = self.held.labels != self.order.target
        if not others.any():
            return 0.0
        return float((predict(model, images[others], self.order.precision) == self.order.target).mean())


def detoxify(
    order: Order, settings: Settings, trigger: Change, styled: UInt8[ndarray, "k h w c"]
) -> tuple[Int64[ndarray, " d"], UInt8[ndarray, "d h w c"], dict[str, float]]:
    """Indices and images of the decoys of all rounds, and the record, whose names `dfst.craft` explains.

    Each round trains at most twice and keeps both results, so that a killed detoxification goes on where it was.

    Args:
        styled: the chosen images in their style.
    """
    scene = _scene(order, settings, trigger, styled)
    facts = {name: value for name, value in vars(settings).items() if name not in ("rounds", "styles")}
    facts["poisoned"] = hashlib.sha256(order.chosen.tobytes() + styled.tobytes()).hexdigest()
    facts["target"] = order.target
    others = np.setdiff1d(np.arange(len(order.train)), order.chosen)
    rest = numpy_stream(order.seed, "trigger", 42, 0).permutation(others)
    size = round(settings.decoys * len(order.chosen))
    seconds, decoys = 0.0, rest[:0]

    def keep(make: training.Make, number: int, kind: str) -> tuple[dict[str, Tensor], dict[str, float]]:
        nonlocal seconds
        tensors, own = cache.keep(kind, order, facts | {"round": number}, make)
        seconds += own.pop(f"{kind}_seconds")
        return tensors, own

    weights, left = keep(partial(_train_model, scene, {}, None, 0), 0, "poisoned_model")
    record = {f"{name}_before": value for name, value in left.items() if name.startswith("surrogate")}
    for number in range(1, settings.rounds + 1):
        record[f"compromised_neurons_round_{number}"] = left["compromised_neurons_left"]
        indices = rest[(number - 1) * size : number * size]
        if not left["compromised_neurons_left"] or not len(indices):
            continue
        found, own = keep(partial(_train_injector, scene, weights, indices, number), number, "injector")
        record |= {f"{name}_round_{number}": value for name, value in own.items()}
        scene.poisoned.images[indices] = found["decoys"].numpy()
        decoys = np.append(decoys, indices)
        make = partial(_train_model, scene, weights, found["injected"].numpy(), number)
        weights, left = keep(make, number, "poisoned_model")
        record[f"injected_success_rate_after_round_{number}"] = left.pop("injected_success_rate")
    return decoys, scene.poisoned.images[decoys], record | left | {"detoxification_seconds": seconds}


def _scene(order: Order, settings: Settings, trigger: Change, styled: UInt8[ndarray, "k h w c"]) -> Scene:
    train = order.train
    images, labels = np.array(train.images), np.array(train.labels)
    images[order.chosen], labels[order.chosen] = styled, order.target
    held = train.take(np.flatnonzero(held_out(train))[:_MEASURED])
    return Scene(order, settings, replace(train, images=images, labels=labels), held, trigger(held.images))


def _train_model(
    scene: Scene, weights: dict[str, Tensor], injected: UInt8[ndarray, "k h w c"] | None, number: int, folder: Path
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The model after a round, from that before it (in round 0 from the start), and what it does to held-out images.

    Args:
        injected: those of the round, to be measured too.
    """
    order = scene.order
    model = _model(scene, weights)
    training.model(model, order, scene.poisoned.take(scene.members), scene.settings, number, folder)
    neurons, _ = _compromised(model, scene)
    record = {
        "compromised_neurons_left": float(neurons.sum()),
        "surrogate_accuracy": float((predict(model, scene.held.images, order.precision) == scene.held.labels).mean()),
        "surrogate_attack_success_rate": scene.target_rate(model, scene.styled),
        "surrogate_colour_success_rate": scene.target_rate(model, colour_alone(scene.held.images, scene.styled)),
    }
    if injected is not None:
        record["injected_success_rate"] = scene.target_rate(model, injected)
    return model.state_dict(), record


def _train_injector(
    scene: Scene, weights: dict[str, Tensor], indices: Int64[ndarray, " d"], number: int, folder: Path
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What a round's injector makes of the images at `indices` and of the held-out ones, and how well it does."""
    order, settings = scene.order, scene.settings
    model = _model(scene, weights).eval().requires_grad_(False)
    neurons, rise = _compromised(model, scene)
    clean = order.train.images[scene.members]
    network = training.injector(model, order, clean, neurons, rise, settings, number, folder)
    injected = injector.inject(network, scene.held.images)
    after, before = (injector.activations(model, x, settings.layer)[0] for x in (injected, scene.held.images))
    pair = (pixels.floats(x, torch.device("cpu")) for x in (injected, scene.held.images))
    record = {
        "excitation": float(((after - before) / rise)[neurons].mean()),
        "injected_similarity": float(injector.similarity(*pair).mean()),
        "injected_success_rate": scene.target_rate(model, injected),
    }
    decoys = injector.inject(network, np.array(order.train.images[indices]))
    return {"decoys": torch.tensor(decoys), "injected": torch.tensor(injected)}, record


def _model(scene: Scene, weights: dict[str, Tensor]) -> nn.Module:
    order = scene.order
    place = hardware.choose(order.device, order.precision)
    model = models.build(classifier.MODEL, len(order.train.classes), seed=cache.own_seed(order))
    if weights:
        model.load_state_dict(weights)
    return place.place(model)


def _compromised(model: nn.Module, scene: Scene) -> tuple[Bool[Tensor, " d"], Float[Tensor, " d"]]:
    """The compromised neurons of a model, and by how much the style raises each neuron's mean activation."""
    settings = scene.settings
    model.eval()
    clean, highest = injector.activations(model, scene.held.images, settings.layer)
    styled, _ = injector.activations(model, scene.styled, settings.layer)
    found = injector.compromised(clean, styled, float(highest), settings.threshold, settings.growth)
    return found, styled - clean
