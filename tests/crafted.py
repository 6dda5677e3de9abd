"""A data set whose classes have hostile names."""

from __future__ import annotations

import numpy as np

from ablkit import attacks
from ablkit.attacks import attack
from ablkit.data import Images

NAMES = (
    '<img src=x onerror="document.title=1">',
    "<script>document.title=2</script>",
    "$x^2$",
    "$\\foo",
    "N" * 300,
    "\u202eقطة\u202c",
    "\"quoted\" & 'single' &lt;b&gt;",
    "{{ a }} {% b %}",
    "<img src=http://127.0.0.1:9/name.png>",
    "a \u2067b c ${",
)
_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
DOT = f"data:image/png;base64,{_DOT}"


def hostile_set(count: int = 40, names: tuple[str, ...] = NAMES) -> tuple[Images, attack.Poisoned]:
    """Images whose classes have names that attack the page, clean and poisoned."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    train = Images(pixels, np.arange(count) % len(names), names, "evil")
    return train, attacks.poison(train, rate=0.5)
