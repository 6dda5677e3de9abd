"""The model that is handed on: weights, a card that says what they expect, and predictions with both alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from ablkit import models
from ablkit.data import pictures
from ablkit.data.images import Images, check_classes
from ablkit.errors import UserError, shortened, shown
from ablkit.files import Unreadable, read_json, status_of, strict, unreadable, write_bytes, write_json
from ablkit.shapes import Float, UInt8, ndarray
from ablkit.training import checkpoint
from ablkit.training.inference import logits_of

WEIGHTS, CARD = "model.safetensors", "model.json"
FORMATS = "PNG, JPEG, BMP, GIF, TIFF, WebP or PPM"
"""Of files of images, as `data.pictures` reads them."""
_LARGEST_SIDE = 4_096


class Card(BaseModel):
    """What one has to know of a model to use it, `model.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    """See `models.build`."""
    normalise: bool
    """Whether the model normalises its input itself, beyond the scale."""
    height: int = Field(ge=1, le=_LARGEST_SIDE)
    width: int = Field(ge=1, le=_LARGEST_SIDE)
    input: str = "RGB, whole frame resized to height x width (bilinear), pixels divided by 255, channels first"
    """The preprocessing, for people."""
    classes: list[str]
    data: str
    """Name of the data set, and the digest of its content."""
    sha256: str
    """Of the weights' file."""
    numbers: dict[str, float | int | None]
    """See `Verdict.numbers`."""
    made_with: str
    """Versions and date."""


def write(
    folder: Path, network: nn.Module, name: str, normalise: bool, data: Images, digest: str, values: dict, env: dict
) -> Card:
    """Write weights and card into a folder, the card last.

    Args:
        name: of the model, and whether it normalises its input: what `models.build` was given.
        data: what it was trained on, with the digest of its content.
        values: what was measured.
        env: see `runs.environment.describe`.
    """
    from safetensors.torch import save

    content = save({key: value.cpu().contiguous() for key, value in network.state_dict().items()})
    card = Card(
        model=name,
        normalise=normalise,
        height=data.images.shape[1],
        width=data.images.shape[2],
        classes=list(data.classes),
        data=f"{data.name}, {digest}",
        sha256=hashlib.sha256(content).hexdigest(),
        numbers=strict(values),
        made_with=f"ablkit {env['ablkit']}, torch {env['torch']}, {env['started'][:10]}",
    )
    write_bytes(folder / WEIGHTS, content)
    write_json(folder / CARD, card.model_dump())
    return card


def read(path: Path) -> tuple[nn.Module, Card]:
    """The model in a folder, or whose card or weights are named, in eval mode, and its card.

    Neither file can carry code. Raises UserError where one is missing, damaged, or does not fit the other, and where a
    weight is no number.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if status_of(path) is None:
        raise UserError(f"{path} does not exist; name a folder that `ablkit clean` has made")
    if not path.is_dir() and path.name not in (CARD, WEIGHTS):
        raise UserError(f"{path} is no model; name a folder that `ablkit clean` has made, or its {WEIGHTS}")
    folder = path if path.is_dir() else path.parent
    for name in (CARD, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} does not exist; name a folder that `ablkit clean` has made")
    try:
        record = read_json(folder / CARD)
    except Unreadable:
        raise
    except UserError as error:  # its own way out is to delete the file
        raise UserError(f"{str(error).partition('; ')[0]}; make it again with `ablkit clean`") from None
    try:
        card = Card(**record)
        models.check(card.model)
        check_classes(card.classes, str(folder / CARD))
        content = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(content).hexdigest() != card.sha256:
            raise UserError(
                f"{folder / WEIGHTS} is damaged, or not the file that {CARD} describes; take both from one folder"
            )
        tensors = load(content)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
            raise UserError(f"{folder / WEIGHTS} holds weights that are no numbers; make it again with `ablkit clean`")
        size = min(card.height, card.width)
        build = partial(models.build, card.model, len(card.classes), size=size, normalise=card.normalise)
        _check_described(folder / CARD, tensors, build)
        model = build()
    except ValidationError as error:
        one = error.errors()[0]
        raise UserError(f"{folder / CARD} is damaged ({one['loc'][0]}: {one['msg'].lower()}); make it again") from None
    except TypeError as error:
        raise UserError(f"{folder / CARD} is damaged ({error}); make it again") from None
    except OSError as error:
        raise unreadable(folder / WEIGHTS, error) from None
    except (SafetensorError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder / WEIGHTS} is damaged ({reason}); make it again with `ablkit clean`") from None
    model.load_state_dict(tensors)
    return model.eval(), card


def _check_described(card: Path, tensors: dict[str, torch.Tensor], build: Callable[[], nn.Module]) -> None:
    """Raise UserError where a card describes another network than the weights are of whose sum it names."""
    try:
        with torch.device("meta"):  # shapes alone: a card may name a network that no memory has room for
            checkpoint.check_fit(tensors, build().state_dict())
    except ValueError as error:
        raise UserError(
            f"{card} was changed: it describes another network than that of {WEIGHTS} ({shortened(str(error))}); undo"
            " what was changed in model, normalise or classes, or make both again with `ablkit clean`"
        ) from None


def probabilities(model: nn.Module, images: UInt8[ndarray, "n h w 3"]) -> Float[ndarray, "n classes"]:
    """What a model says of each image, as shares that add up to 1."""
    return torch.softmax(logits_of(model, images, "fp32"), dim=1).cpu().numpy()


def pixels(card: Card, path: Path) -> UInt8[ndarray, "h w 3"]:
    """The image in a file as the model takes it; raises UserError where it cannot be read."""
    try:
        with pictures.opened(os.fspath(path)) as image:
            found, _ = pictures.rgb(image)
    except (pictures.Unusable, OSError) as error:
        way_out = f"give a {FORMATS} file, or leave it out"
        raise UserError(f"{_escaped(path)} is no image that can be read ({error}); {way_out}") from None
    if found.shape[:2] == (card.height, card.width):
        return found
    return np.asarray(Image.fromarray(found).resize((card.width, card.height), Image.Resampling.BILINEAR))


def best(card: Card, shares: Float[ndarray, " classes"]) -> str:
    """The class that one image is taken for, with its share: `cat 98.1 %`; UserError where the shares are nan."""
    if not np.isfinite(shares).all():
        raise UserError("the model's weights are too large to give any class a share; make it again")
    k = int(np.argmax(shares))
    return f"{shown(card.classes[k])} {100 * shares[k]:.1f} %"


def predict(network: nn.Module, card: Card, paths: Iterable[Path], report: Callable[[str], None] = print) -> None:
    """Report what a model takes each image for, in a line each.

    Raises UserError where the model gives no class a share, and, after all others are told, for the files that are no
    images, in a line each.
    """
    refused = []
    for path in paths:
        try:
            image = pixels(card, path)
        except UserError as error:
            refused.append(str(error))
            continue
        (shares,) = probabilities(network, image[None])
        report(f"{_escaped(path)}: {best(card, shares)}")
    if refused:
        raise UserError("\n".join(refused))


def _escaped(path: Path) -> str:
    """A file's name in one line, whatever signs it has."""
    return ascii(str(path))[1:-1]
