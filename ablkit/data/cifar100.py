"""CIFAR-100 from the binary archive: the usual one holds pickles, which are never loaded."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from ablkit.data import download
from ablkit.data.cards import Card
from ablkit.data.cifar10 import member, records
from ablkit.data.images import Images

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
CHECKSUM = "md5:03b5dce01913d631647c71ecec9e9cb8"
CARD = Card(
    "cifar100",
    "CIFAR-100",
    *(50_000, 10_000, 100, 32),
    download_bytes=168_513_733,
    licence="none stated; Krizhevsky (2009) asks to be cited",
)


def fetch(given: Path | None = None) -> tuple[Images, Images, str]:
    """(train, test, source): RGB images of 32x32 with their fine labels, 100 classes of 600.

    Args:
        given: a folder that holds the archive already, or the archive itself.

    Raises UserError that says why it cannot be had.
    """
    archive = Path(URL).name
    sources = {"its own host": lambda: download.fetched(URL, CHECKSUM)}
    if given is not None:
        sources = {str(given): lambda: download.local(given, archive, CHECKSUM)}
    way_out = f"download {archive} elsewhere and give its folder with --from, or use another set"
    (train, test), place = download.from_first(
        "cifar100", {place: lambda get=get: read(get()) for place, get in sources.items()}, way_out
    )
    return train, test, f"CIFAR-100 (Krizhevsky 2009), fine labels, from {place}"


def read(content: bytes) -> tuple[Images, Images]:
    """The (train, test) images in the archive: of each record the second label byte, which is the fine one."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = member(archive, "cifar-100-binary/fine_label_names.txt").decode("ascii").split()
        splits = [records(member(archive, f"cifar-100-binary/{split}.bin"), labels=2) for split in ("train", "test")]
    train, test = (Images(pixels, labels[:, 1].copy(), tuple(names), "cifar100") for pixels, labels in splits)
    return train, test
