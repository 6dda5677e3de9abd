"""The style domain of DFST: warm light of a low sun, made from training images, or pictures of the user's own.

`sunset` stands in for the photographs of sunrises that the attack's authors download. In this order it

1. dims the image and turns its white balance to red: factors 1.2, 0.92, 0.62 for the colours, times 0.75 to 0.95;
2. lets the ground fall into shadow, as the light comes from the side: 1 at the top to 0.55 at the bottom;
3. draws a veil of haze in the colour of the light (1, 0.6, 0.28), thickest at the height of the sun, of 0.2 to 0.45;
4. adds the sun: a disc, and a glow around it that falls off with the distance, both as light adds (screen blending).

The sun stands at 0.1 to 0.45 of the height, from above, and at 0.15 to 0.85 of the width. All is drawn for each image
from one stream.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ablkit.errors import UserError, shown
from ablkit.shapes import UInt8, ndarray

_BALANCE = (1.2, 0.92, 0.62)
_LIGHT = (1.0, 0.6, 0.28)
_DISC = (1.0, 0.9, 0.6)
_SUFFIXES = (".png", ".jpg", ".jpeg")
_LARGEST = 1 << 26
"""Bytes of a picture."""


def sunset(images: UInt8[ndarray, "n h w c"], stream: np.random.Generator) -> UInt8[ndarray, "n h w c"]:
    """`images` in the light of a low sun, each under a sun of its own."""
    n, height, width, _ = images.shape
    balance, light, disc = map(np.array, (_BALANCE, _LIGHT, _DISC))

    def draw(low: float, high: float) -> ndarray:
        return stream.uniform(low, high, (n, 1, 1, 1))

    exposure, haze, sun_row, sun_column = draw(0.75, 0.95), draw(0.2, 0.45), draw(0.1, 0.45), draw(0.15, 0.85)
    rows = ((np.arange(height) + 0.5) / height)[:, None, None]
    columns = ((np.arange(width) + 0.5) / width)[None, :, None]
    x = images / 255 * balance * exposure * (1 - 0.45 * rows)
    x = x + haze * np.exp(-(((rows - sun_row) / 0.4) ** 2)) * (light - x)
    distance = np.hypot(rows - sun_row, columns - sun_column)
    glow = np.minimum(0.9 * np.exp(-((distance / 0.08) ** 2)) + 0.5 * np.exp(-distance / 0.2), 1)
    x = 1 - (1 - x) * (1 - glow * disc)
    return (x.clip(0, 1) * 255).round().astype(np.uint8)


def from_folder(folder: str, shape: tuple[int, int, int]) -> UInt8[ndarray, "n h w c"]:
    """The png and jpg pictures of a folder in the order of their names, cropped at the centre and resized.

    Args:
        shape: height, width and 3 of the training images.

    Raises UserError where there is no folder or no picture, and for a picture that cannot be read.
    """
    from PIL import Image, ImageOps

    paths = pictures(folder)
    height, width, _ = shape
    found = []
    for path in paths:
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                fitted = ImageOps.fit(picture.convert("RGB"), (width, height))
        except (OSError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as a picture ({error}); replace it or take it away") from None
        found.append(np.asarray(fitted).reshape(shape))
    return np.stack(found)


def pictures(folder: str) -> list[Path]:
    """The png and jpg files of a folder by name; raises UserError where there is no folder or none of them."""
    if not os.path.isdir(folder):  # False, too, for what can be no path
        raise UserError(f"styles {shown(folder)} is no folder; name one that holds png or jpg pictures of the style")
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise UserError(f"styles {shown(folder)} cannot be read: {error.strerror}; name another folder") from None
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path} is no regular file; take it away")
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path} has more than {_LARGEST >> 20} MiB; replace it or take it away")
    if not paths:
        raise UserError(f"styles {shown(folder)} holds no png or jpg picture; put some there, or leave styles empty")
    return paths
