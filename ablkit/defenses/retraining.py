"""The ways that start from another model than the backdoored one: fresh weights, or weights learned on ImageNet."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from ablkit import paths, training, vision
from ablkit.defenses.defense import Evaluation, Given, Repaired
from ablkit.defenses.examples import Settings, classes_of, kept_examples
from ablkit.defenses.fine_tuning import fine_tune
from ablkit.errors import NotRunError
from ablkit.models.normalise import Normalised
from ablkit.randomness import torch_stream
from ablkit.settings import NoSettings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_STALLED_SECONDS = 30


@dataclass(frozen=True)
class Pretrained(Settings):
    """The network that was trained on ImageNet."""

    network: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    """Which of torchvision's; our reading, as torchvision has no weights for a WRN-16-1."""


def retrain(given: Given, settings: NoSettings, evaluate: Evaluation | None = None) -> Repaired:
    """Trains a model from fresh weights on the kept examples, as method `none` of `training.train` does.

    So with cross entropy, for the recipe's epochs of isolation and fine-tuning, with their learning rates and
    augmentation, from the seed's own fresh weights: with nothing isolated it is the undefended training itself. The
    given model only tells the number of classes. What was poisoned and not isolated is still among the examples.
    """
    kept = kept_examples(given)
    trained = training.retrain(
        kept.images,
        kept.labels,
        classes_of(given),
        given.recipe,
        seed=given.seed,
        device=given.device,
        precision=given.precision,
        evaluate=None if evaluate is None else lambda model, stage, epoch, last: evaluate(model, stage, epoch),
        folder=given.folder,
        report=given.report,
    )
    record = {"training_images": float(len(kept.labels))}
    return Repaired(trained.model, trained.history, record)


def pretrained(given: Given, settings: Pretrained, evaluate: Evaluation | None = None) -> Repaired:
    """Trains all layers of a network that was trained on ImageNet on the kept examples.

    Our reading: the network as torchvision defines it, images at their own size, normalised as ImageNet's were, and a
    fresh output layer (drawn from the seed's stream) for the classes of the given model; the rest as `finetune_all`.
    The backdoored model itself has no part in it, and its architecture is another.

    Raises NotRunError, with the reason, where the weights cannot be had: nothing takes their place.
    """
    if given.images.shape[3] != 3:
        channels = given.images.shape[3]
        raise NotRunError(f"ImageNet models take 3 channels and the images have {channels}, so this was not run")
    examples = kept_examples(given)
    network = _with_new_head(_imagenet_model(settings.network), classes_of(given), given.seed)
    start = Normalised(network, IMAGENET_MEAN, IMAGENET_DEVIATION)
    return fine_tune(given, settings, "pretrained", examples, evaluate, start=start)


def _with_new_head(network: nn.Module, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_stream(seed, "weights").initial_seed())
        network.fc = nn.Linear(network.fc.in_features, classes)
    return network


def _imagenet_model(name: str) -> nn.Module:
    models = vision.torchvision().models
    url = models.get_model_weights(name).DEFAULT.url
    path = paths.cache_root() / "torchvision" / url.rpartition("/")[2]
    try:
        state = _download(url, path)
    except Exception as error:  # a network fails in many ways, and each is a reason to report
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotRunError(
            f"the ImageNet weights of {name} cannot be had ({reason}), so this was not run; put {path.name} into"
            f" {path.parent}"
        ) from None
    network = models.get_model(name, weights=None)
    network.load_state_dict(state)
    return network


def _download(url: str, path: Path) -> dict[str, torch.Tensor]:
    """The weights at `url`, kept at `path`; they are what torchvision published, or an error is raised.

    A damaged file is fetched again.
    """
    if not _is_published(path):
        if path.exists():
            print(f"{path.name} is not what its name says; it is fetched again", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f"{path.name}.*.partial"):
            # A download that is under way writes or ends within that time.
            if time.time() - leftover.stat().st_mtime > 10 * _STALLED_SECONDS:
                leftover.unlink(missing_ok=True)
        with _socket_timeout(_STALLED_SECONDS):
            torch.hub.download_url_to_file(url, str(path), progress=False)
    if not _is_published(path):
        raise ValueError(f"{path} is not what its name says; delete it")
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_published(path: Path) -> bool:
    # The last part of the name is the beginning of the checksum. It is held before the file is parsed: torchvision
    # offers no safetensors, and torch's own format is read as tensors alone.
    expected = path.stem.rpartition("-")[2]
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest().startswith(expected)


@contextmanager
def _socket_timeout(seconds: int) -> Iterator[None]:
    # torch's downloader takes no timeout of its own, and a silent host would hold it for ever.
    former = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(former)
