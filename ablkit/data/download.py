"""Files from the network: what was published, or an error that says why not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.request import Request, urlopen

from ablkit.files import write_bytes

_STALLED_SECONDS = 30


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
