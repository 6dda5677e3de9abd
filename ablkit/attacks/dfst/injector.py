"""The feature injector of DFST: it excites compromised neurons of a model in images that keep their looks.

An encoder-decoder between image and model, trained to raise the activations of the compromised neurons, to leave the
others of the layer as they are, and to keep the image similar (the attack's paper on detoxification).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ablkit.attacks.attacker import pixels
from ablkit.attacks.attacker.features import maps
from ablkit.shapes import Bool, Float, Tensor, UInt8, ndarray
from ablkit.training import hardware
from ablkit.training.hardware import Hardware

_WINDOW = 7
_CHUNK = 64
_DISSIMILARITY = 100.0
_OTHERS = 0.1


@torch.inference_mode()
def activations(
    model: nn.Module, images: UInt8[ndarray, "n h w c"], layer: int
) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """Mean of each neuron (channel) over images and positions, and the highest activation of any; in float32."""
    device = next(model.parameters()).device
    total, highest = 0, []
    for start in range(0, len(images), _CHUNK):
        seen = maps(model, pixels.floats(images[start : start + _CHUNK], device), layer)
        total = total + seen.mean(dim=(2, 3)).sum(0)
        highest.append(seen.max())
    return total / len(images), torch.stack(highest).max()


def compromised(
    clean: Float[Tensor, " d"], styled: Float[Tensor, " d"], highest: float, threshold: float, growth: float
) -> Bool[Tensor, " d"]:
    """Which neurons the style excites: its mean rises by more than threshold * highest and growth * clean mean.

    So do the attack's authors compare. A neuron that is silent on clean images needs the first alone.
    """
    rise = styled - clean
    return (rise > threshold * highest) & (rise > growth * clean)


def similarity(a: Float[Tensor, "n c h w"], b: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Structural similarity (Wang et al. 2004) of images in [0, 1], mean over 7x7 windows and channels; 1 if equal."""
    window = min(_WINDOW, *a.shape[2:])

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    variance = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
    return (luminance * (2 * covariance + 9e-4) / (variance + 9e-4)).mean(dim=(1, 2, 3))


def loss(
    model: nn.Module,
    injector: nn.Module,
    x: Float[Tensor, "n c h w"],
    layer: int,
    neurons: Bool[Tensor, " d"],
    rise: Float[Tensor, " d"],
    floor: float,
    place: Hardware,
) -> Float[Tensor, ""]:
    """What the injector descends on for a batch of images in [0, 1]; the model is frozen.

    Minus the mean rise of the compromised neurons over their activations on the same images, as a multiple of the rise
    that the style causes; plus 0.1 times the mean change of the others in the same unit (that of the average
    compromised neuron); plus 100 times what the similarity of an image lacks to the floor.

    Args:
        rise: of each neuron, by the style; positive for the compromised ones.
    """
    with place.autocast():
        injected = injector(x)
        with torch.no_grad():
            before = maps(model, x, layer).mean(dim=(2, 3))
        change = maps(model, injected, layer).mean(dim=(2, 3)) - before
    unit = rise[neurons]
    excited = (change[:, neurons] / unit).mean()
    others = change[:, ~neurons].abs().mean() / unit.mean() if (~neurons).any() else torch.zeros_like(excited)
    lack = F.relu(floor - similarity(x, injected.float())).mean()
    return -excited + _OTHERS * others + _DISSIMILARITY * lack


@torch.inference_mode()
def inject(injector: nn.Module, images: UInt8[ndarray, "n h w c"]) -> UInt8[ndarray, "n h w c"]:
    """Copies of `images` with the features, computed in float32."""
    place = hardware.of(injector)
    changed = images.copy()
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        changed[part] = pixels.levels(injector(pixels.floats(images[part], place.device)))
    return changed
