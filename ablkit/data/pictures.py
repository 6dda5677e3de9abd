"""Image files of all kinds as RGB pixels: one way to read them, whatever made them.

A file may be grey, have a palette, transparency or 16 bits a channel, be in CMYK, stand on its side or be animated. The
function `rgb` says what is done with each. Colour profiles are ignored.
"""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ablkit.errors import shortened
from ablkit.shapes import UInt8, ndarray

if TYPE_CHECKING:  # imported where it is needed, as a machine that has only torch and numpy can do without it
    from PIL import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""No other format is tried, whatever the content: some start other programs."""
MOST_PIXELS = 80_000_000
"""Pixels of a file: more than a camera's, and a gigabyte while it is read. Small files can hold far more."""
LEAST_SIDE, MOST_SIDE = 5, 1024
"""Pixels of a side: what every model takes, and more than any is trained on here."""
BLACK, DARK = 16, 64
"""Of 256 grey levels: what pictures of 16 bits have fewer of where their range may end at 12 or at 14 bits."""
_GREY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112
_OF_THE_SYSTEM = {"thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db", "$recycle.bin"}
_FIRST_SEEN = 2_000


class Unusable(Exception):
    """A file that is left out; its text says why in a few words."""


@contextlib.contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """The image in a file, whose pixels are not read yet; raises Unusable where there is none."""
    from PIL import Image, UnidentifiedImageError

    with _told(), warnings.catch_warnings(action="ignore"):
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise Unusable("no regular file")
        if not status.st_size:
            raise Unusable("empty")
        try:
            image = Image.open(path, formats=_formats())
        except UnidentifiedImageError:
            raise Unusable("no image") from None
        except Image.DecompressionBombError:
            raise Unusable(f"more than {MOST_PIXELS:,} pixels") from None
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise Unusable(f"more than {MOST_PIXELS:,} pixels")
            yield image


def shape(image: Image.Image) -> tuple[int, int]:
    """The (height, width) that `rgb` gives an image, without reading its pixels."""
    return (image.width, image.height) if _orientation(image) > 4 else (image.height, image.width)


def rgb(
    image: Image.Image, size: int | None = None, *, may_be_black: bool = False
) -> tuple[UInt8[ndarray, "h w 3"], list[str]]:
    """The pixels of an image, and in a word each what had to be done to it.

    Of an animated image the first frame is taken. It is turned as its EXIF orientation says. Of 16 bits the upper 8 are
    taken. What is transparent is put on white, as a browser shows it. Grey, palettes and CMYK become RGB.

    Args:
        size: both sides of the result. The whole frame is resized, so that nothing at its edge is lost; its sides then
            have another ratio. None keeps the size. An image of that size keeps its pixels.
        may_be_black: whether pictures of 16 bits are taken of which so few are used that they are nearly black.

    Raises Unusable where the pixels cannot be read, or are as good as none.
    """
    from PIL import Image, ImageOps

    with _told(), warnings.catch_warnings(action="ignore"):
        done = ["animated"] if image.format != "MPO" and getattr(image, "is_animated", False) else []
        is_deep, is_blank = ";16" in repr((image.mode, getattr(image, "tile", ""))), False
        image.load()
        if _orientation(image) > 1:
            done.append("turned")
            image = ImageOps.exif_transpose(image)
        if image.mode in _GREY or image.mode.startswith("I;16"):
            done.append("grey")
        done += ["palette"] * (image.mode == "P") + ["CMYK"] * (image.mode == "CMYK")
        if image.mode.startswith("I;16") or image.mode == "I":
            (image, is_blank), is_deep = _upper_bits(image), True
        elif image.mode == "F":
            raise Unusable("its pixels are fractions, whose range is unknown")
        done += ["16 bits"] * is_deep
        if image.has_transparency_data:
            image, is_transparent = _on_white(image)
            done += ["transparent"] * is_transparent
        image = image if image.mode == "RGB" else image.convert("RGB")
        done += _darkness(image) if is_deep and not is_blank else []
        if "nearly black" in done and not may_be_black:
            raise Unusable(
                f"of its 16 bits no value is above {256 * BLACK - 1:,}, so it would be nearly black: save it as 8 bits,"
                " scaled to 0 to 255"
            )
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.array(image), done


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden by its name, or one that a system leaves everywhere."""
    return name.startswith(".") or name.casefold() in _OF_THE_SYSTEM


def are_in(folder: str | os.PathLike) -> bool:
    """Whether image files lie in a folder, up to two folders deeper; looks at some thousands of names at most."""
    seen = 0
    for where, folders, files in os.walk(folder):
        if any(name.lower().endswith(ENDINGS) for name in files):
            return True
        seen += len(folders) + len(files)
        if seen > _FIRST_SEEN:
            return False
        if os.path.relpath(where, folder).count(os.sep) >= 1:
            folders.clear()
    return False


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raise Unusable in place of whatever a damaged file makes Pillow raise, which has no end."""
    try:
        yield
    except Unusable:
        raise
    except OSError as error:
        raise Unusable(error.strerror or shortened(str(error), 100)) from None
    except Exception as error:
        raise Unusable(shortened(str(error), 100) or type(error).__name__) from None


@cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow knows, as not every one is built with all."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged facts about an image do not damage it
        return 1
    return found if found in range(1, 9) else 1


def _upper_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """The upper 8 bits of a grey picture, and whether it is black in all 16."""
    from PIL import Image

    if image.mode == "I" and image.format not in ("PNG", "PPM", None):
        raise Unusable("its pixels are of 32 bits, whose range is unknown")
    values = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray((values >> 8).astype(np.uint8)), not values.any()


def _darkness(image: Image.Image) -> list[str]:
    """The word for a picture of 16 bits of which fewer may be used: `dark`, `nearly black`, or none."""
    highest = max(most for _, most in image.getextrema())
    return ["nearly black"] if highest < BLACK else ["dark"] if highest < DARK else []


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    from PIL import Image

    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    white = Image.new("RGB", image.size, "white")
    white.paste(image.convert("RGB"), mask=alpha)
    return white, alpha.getextrema()[0] < 255
