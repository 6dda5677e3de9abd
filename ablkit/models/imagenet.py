"""Networks with weights published for ImageNet, downloaded when they are first asked for."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from ablkit import paths
from ablkit.data import vision
from ablkit.errors import NotRunError
from ablkit.randomness import torch_stream

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_STALLED_SECONDS = 30


def with_new_head(network: nn.Module, classes: int, seed: int) -> nn.Module:
    """A network of torchvision with a fresh output layer, drawn from the seed's stream of weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_stream(seed, "weights").initial_seed())
        network.fc = nn.Linear(network.fc.in_features, classes)
    return network


def pretrained(name: str) -> nn.Module:
    """A network with torchvision's weights; raises NotRunError, with the reason, where they cannot be had."""
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
