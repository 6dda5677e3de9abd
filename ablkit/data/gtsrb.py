"""GTSRB, German traffic signs: 39,209 training images with their tracks, not the 26,640 that torchvision fetches."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ablkit.data import download
from ablkit.data.cards import Card
from ablkit.data.images import Images
from ablkit.errors import UserError
from ablkit.shapes import UInt8, ndarray

URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
ARCHIVES = {
    "GTSRB_Final_Training_Images.zip": "md5:f33fd80ac59bff73c82d25ab499e03a3",
    "GTSRB_Final_Test_Images.zip": "md5:c7e4e6327067d32654124b0fe9e82185",
    "GTSRB_Final_Test_GT.zip": "md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5",
}
# A mirrored sign is another one, such as keep left for keep right, or none.
CARD = Card(
    "gtsrb",
    "GTSRB",
    *(39_209, 12_630, 43, 32),
    download_bytes=365_372_996,
    licence="none stated; Stallkamp et al. (2012) ask to be cited",
    mirrors=False,
)
CLASSES = (
    *(f"speed limit {speed}" for speed in (20, 30, 50, 60, 70, 80)),
    *("end of speed limit 80", "speed limit 100", "speed limit 120"),
    *("no passing", "no passing for trucks", "right of way at the next crossing", "priority road", "yield", "stop"),
    *("no vehicles", "no trucks", "no entry", "general caution", "curve to the left", "curve to the right"),
    *("double curve", "bumpy road", "slippery road", "road narrows on the right", "road work", "traffic signals"),
    *("pedestrians", "children crossing", "bicycles crossing", "ice or snow", "wild animals"),
    *("end of all limits", "turn right ahead", "turn left ahead", "ahead only", "ahead or right", "ahead or left"),
    *("keep right", "keep left", "roundabout", "end of no passing", "end of no passing for trucks"),
)

_TRAINING = re.compile(r"(?:^|/)(\d{5})/(\d{5})_(\d{5})\.ppm$")  # class, track in the class, frame of the track
_TEST = re.compile(r"(?:^|/)(?<!\d{5}/)(\d{5})\.ppm$")
_TRUTH = "GT-final_test.csv"
_OTHER = "GTSRB-Training_fixed.zip"
_OTHER_COUNT = 26_640

Files = dict[str, Callable[[], bytes]]
"""Path -> what reads the file."""


def fetch(given: Path | None = None) -> tuple[Images, Images, str]:
    """(train, test, source): the whole frame of each image, resized to 32x32; frames of a track are one group.

    Downloads about 365 MB.

    Args:
        given: a folder that holds the three archives, or what is in them.

    Raises UserError where they cannot be had, or hold another number of images than was published.
    """
    sources = {"its own host": _from_host} if given is None else {str(given): lambda: _from_folder(given)}
    way_out = f"download {', '.join(ARCHIVES)} elsewhere and give their folder with --from"
    files, place = download.from_first("gtsrb", sources, way_out)
    train, test = read(files)
    tracks = len(np.unique(train.groups))
    print(f"gtsrb: {len(train):,} training images in {tracks:,} tracks, {len(test):,} test images", flush=True)
    _check_counts(len(train), len(test))
    return train, test, f"GTSRB (Stallkamp et al. 2012) from {place}, whole frames resized to 32x32 (bilinear)"


def read(files: Files) -> tuple[Images, Images]:
    """The (train, test) images in some files; raises UserError where a picture, a label or all of a split is missing.

    Training images come by class, track and frame, test images in the order of their file of labels.
    """
    found = sorted((tuple(map(int, match.groups())), path) for path in files if (match := _TRAINING.search(path)))
    final = [one for one in found if "Final_Training" in one[1]] or found  # where both sets lie side by side
    if not final:
        raise UserError("gtsrb: no training image such as 00000/00000_00000.ppm was found; see ablkit/data/README.md")
    labels = np.array([label for (label, _, _), _ in final], np.int64)
    tracks = np.array([label * 100_000 + track for (label, track, _), _ in final], np.int64)
    groups = np.unique(tracks, return_inverse=True)[1].astype(np.int64)
    about = (CLASSES, "gtsrb")
    train = Images(_pictures(files, [path for _, path in final]), labels, *about, groups=groups, mirrors=False)
    paths, truth = _test_images(files)
    return train, Images(_pictures(files, paths), np.array(truth, np.int64), *about, mirrors=False)


def _test_images(files: Files) -> tuple[list[str], list[int]]:
    """The paths of the test images and their labels."""
    table = next((path for path in files if path.rpartition("/")[2] == _TRUTH), None)
    if table is None:
        raise UserError(f"gtsrb: {_TRUTH}, the labels of the test images, was not found; add GTSRB_Final_Test_GT.zip")
    by_name = {path.rpartition("/")[2]: path for path in files if _TEST.search(path)}
    try:
        lines = csv.DictReader(io.StringIO(files[table]().decode("ascii")), delimiter=";")
        rows = [(line["Filename"], int(line["ClassId"])) for line in lines]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"gtsrb: {table} has no Filename and ClassId in each line; get it again") from None
    missing = next((name for name, _ in rows if name not in by_name), None)
    if missing is not None or not rows:
        raise UserError(f"gtsrb: test image {missing} was not found; add GTSRB_Final_Test_Images.zip")
    return [by_name[name] for name, _ in rows], [label for _, label in rows]


def _pictures(files: Files, paths: list[str]) -> UInt8[ndarray, "n 32 32 3"]:
    from PIL import Image

    size = (CARD.size, CARD.size)
    images = np.empty((len(paths), *size, 3), np.uint8)
    for place, path in enumerate(paths):
        try:
            picture = Image.open(io.BytesIO(files[path]()), formats=["PPM"]).convert("RGB")
        except (OSError, ValueError, zipfile.BadZipFile):
            raise UserError(f"gtsrb: {path} is damaged; get the archive that it comes from again") from None
        images[place] = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    return images


def _check_counts(train: int, test: int) -> None:
    if train == _OTHER_COUNT:
        raise UserError(
            f"gtsrb: these {train:,} training images are those of {_OTHER}, the set of the 2011 competition that"
            f" torchvision fetches; give {next(iter(ARCHIVES))}, which has {CARD.train:,}"
        )
    for split, count, published in (("training", train, CARD.train), ("test", test, CARD.test)):
        if count != published:
            raise UserError(f"gtsrb: {count:,} {split} images in place of {published:,}; get the archives again")


def _from_host() -> Files:
    files: Files = {}
    for name, checksum in ARCHIVES.items():
        files |= _zipped(download.fetched(f"{URL}/{name}", checksum))
    return files


def _from_folder(folder: Path) -> Files:
    if not folder.is_dir():
        raise ValueError("it is no folder")
    files = {str(path): path.read_bytes for path in folder.rglob("*") if path.suffix in (".ppm", ".csv")}
    if (folder / _OTHER).is_file() and not any((folder / name).is_file() for name in ARCHIVES) and not files:
        raise ValueError(f"{_OTHER} is the set of the 2011 competition, with {_OTHER_COUNT:,} training images")
    for name, checksum in ARCHIVES.items():
        if (folder / name).is_file():
            files |= _zipped(download.local(folder, name, checksum))
    return files


def _zipped(content: bytes) -> Files:
    archive = zipfile.ZipFile(io.BytesIO(content))
    return {name: lambda name=name: archive.read(name) for name in archive.namelist()}
