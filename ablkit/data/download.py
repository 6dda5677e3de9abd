"""Files from the network: what was published, or an error that says why not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.request import Request, urlopen

from ablkit.errors import UserError
from ablkit.files import write_bytes

T = TypeVar("T")

_STALLED_SECONDS = 30


def from_first(name: str, sources: dict[str, Callable[[], T]], way_out: str) -> tuple[T, str]:
    """What the first source that works gives, and the place it is; each is named as it is tried.

    Args:
        name: of the data set.
        sources: place, as people call it -> what gets the set there; it may raise whatever it likes.

    Raises UserError that says why each failed, and ends in `way_out`.
    """
    reasons = []
    for place, get in sources.items():
        print(f"{name}: trying {place} ...", flush=True)
        try:
            return get(), place
        except Exception as error:  # whatever it is, the next source may work, and the reason is reported
            reasons.append(f"{place}: {' '.join(str(error).split()) or type(error).__name__}")
    raise UserError(f"{name} cannot be had ({'; '.join(reasons)}); {way_out}")


def fetched(url: str, checksum: str) -> bytes:
    """What lies at `url`.

    Args:
        checksum: its algorithm and beginning, such as `md5:c32a1d`; it is held before anything is parsed or kept.

    Raises ValueError where the content has another checksum, and OSError where it cannot be had.
    """
    # Some hosts refuse the agent that Python names by itself.
    with urlopen(Request(url, headers={"User-Agent": "ablkit"}), timeout=_STALLED_SECONDS) as answer:
        content = answer.read()
    if not is_published(content, checksum):
        raise ValueError(f"what {url} gives is not what was published: its {checksum.partition(':')[0]} is another")
    return content


def kept(url: str, path: Path, checksum: str) -> bytes:
    """The same, kept at `path` and taken from there the next time; a damaged file is fetched again."""
    if path.is_file():
        content = path.read_bytes()
        if is_published(content, checksum):
            return content
        print(f"{path.name} is damaged; it is fetched again", flush=True)
    content = fetched(url, checksum)
    write_bytes(path, content)
    return content


def is_published(content: bytes, checksum: str) -> bool:
    """Whether the content's checksum begins so; see `fetched`."""
    algorithm, _, beginning = checksum.partition(":")
    return hashlib.new(algorithm, content).hexdigest().startswith(beginning)


def local(place: Path, name: str, checksum: str) -> bytes:
    """The file `name` in the folder `place`, which may also be the file itself; held to its checksum as `fetched`."""
    path = place / name if place.is_dir() else place
    content = path.read_bytes()
    if not is_published(content, checksum):
        raise ValueError(f"{path} is not what was published: its {checksum.partition(':')[0]} is another")
    return content
