"""Fashion-MNIST: from Debian's package where that is installed, else from its own host."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ablkit.data import download
from ablkit.data.cards import Card
from ablkit.data.images import Images
from ablkit.shapes import UInt8, ndarray

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")
CLASSES += ("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")

# What the package `dataset-fashion-mnist` of Debian and Ubuntu installs.
PACKAGE = Path("/usr/share/datasets/fashion-mnist")
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

# Of the files on that host.
CHECKSUMS = {
    "train-images-idx3-ubyte": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "md5:25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "md5:bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
# Of what is in them, wherever they come from: Debian has compressed them again.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
# A mirrored shirt is a shirt; shoes all point to the left, and one that points to the right is still a shoe.
CARD = Card("fashion_mnist", "Fashion-MNIST", *(60_000, 10_000, 10, 32), download_bytes=30_878_645, licence="MIT")

_PADDING = 2


def fetch(given: Path | None = None) -> tuple[Images, Images, str]:
    """(train, test, source): grey images of 28x28 as RGB of 32x32, with zeros around them, checked by sha256.

    Args:
        given: a folder that holds the four files already, ending in .gz or not.

    Raises UserError that says why each source failed.
    """
    sources = {"its own host": partial(_read, _from_host)}
    if given is not None:
        sources = {str(given): partial(_read, partial(_from_folder, given))}
    elif PACKAGE.is_dir():
        sources = {"the package dataset-fashion-mnist": partial(_read, partial(_from_folder, PACKAGE)), **sources}
    way_out = "on Debian or Ubuntu install the package dataset-fashion-mnist, elsewhere give a folder with --from"
    (train, test), place = download.from_first("fashion_mnist", sources, way_out)
    return train, test, f"Fashion-MNIST (Xiao et al. 2017) from {place}, padded from 28x28"


def _read(content: Callable[[str], bytes]) -> tuple[Images, Images]:
    arrays = []
    for name, expected in SHA256.items():
        raw = content(name)
        if hashlib.sha256(raw).hexdigest() != expected:
            raise ValueError(f"wrong checksum of what is in {name}")
        arrays.append(unpacked(raw))
    images, labels = arrays[::2], arrays[1::2]
    train, test = (
        Images(padded(grey), own.astype(np.int64), CLASSES, "fashion_mnist")
        for grey, own in zip(images, labels, strict=True)
    )
    return train, test


def unpacked(raw: bytes) -> UInt8[ndarray, "..."]:
    """The array in an idx file: two zeros, 8 for bytes, the number of dimensions, each as four bytes, the values."""
    if raw[:3] != b"\0\0\x08":
        raise ValueError("this is no idx file of bytes")
    start = 4 + 4 * raw[3]
    return np.frombuffer(raw, np.uint8, offset=start).reshape(np.frombuffer(raw, ">i4", raw[3], offset=4))


def padded(grey: UInt8[ndarray, "n h w"]) -> UInt8[ndarray, "n h+4 w+4 3"]:
    """Grey images as RGB, with two rows and columns of zeros on each side."""
    around = (_PADDING, _PADDING)
    return np.repeat(np.pad(grey, ((0, 0), around, around))[..., np.newaxis], 3, axis=3)


def _from_host(name: str) -> bytes:
    return gzip.decompress(download.fetched(f"{URL}/{name}.gz", CHECKSUMS[name]))


def _from_folder(folder: Path, name: str) -> bytes:
    plain = folder / name
    return plain.read_bytes() if plain.is_file() else gzip.decompress((folder / f"{name}.gz").read_bytes())
