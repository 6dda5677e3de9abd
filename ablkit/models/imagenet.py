"""Networks with weights published for ImageNet, downloaded when they are first asked for."""

from __future__ import annotations

import io

import torch
from torch import nn

from ablkit import paths
from ablkit.data import download, vision
from ablkit.errors import NotRunError
from ablkit.randomness import torch_stream

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


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
    # The last part of the name is the beginning of the checksum.
    checksum = f"sha256:{path.stem.rpartition('-')[2]}"
    try:
        content = download.kept(url, path, checksum)
        # torchvision offers no safetensors, and torch's own format is read as tensors alone.
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a network fails in many ways, and each is a reason to report
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NotRunError(
            f"the ImageNet weights of {name} cannot be had ({reason}), so this was not run; put {path.name} into"
            f" {path.parent}"
        ) from None
    network = models.get_model(name, weights=None)
    network.load_state_dict(state)
    return network
