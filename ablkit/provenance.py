"""A digest of the code that decides results, so that a run made by other code is never taken for this one's."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_DECIDES = ("attacks", "data", "models", "training", "measure.py", "metrics.py", "randomness.py")


@cache
def package_digest(*names: str) -> str:
    """Digest of files and folders of the package, as they are on the disk: by default of all that decides a run."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in names or _DECIDES:
        for path in sorted((package / name).rglob("*.py")) or [package / name]:
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
