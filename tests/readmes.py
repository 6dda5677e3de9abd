"""The READMEs that people read, and what lies in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("ablkit", "benchmarks", "notebooks", "tests")
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(path for part in PARTS for path in (ROOT / part).rglob("README.md")))
}
"""Every README but those of the reports, which are made of numbers."""
README = TEXTS["README.md"]
BEGIN, END = "<!-- results: lines of reports/README.md -->", "<!-- end of results -->"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A block and its language, which a command line has none of."""


ADDED = {
    "ablkit/attacks/README.md": "ablkit/attacks/stripe.py",
    "ablkit/defenses/README.md": "ablkit/defenses/shrink.py",
}
"""Page that says how to add something -> the file of its example."""


def blocks(page: str, language: str = "python") -> list[str]:
    return [code for found, code in FENCED.findall(TEXTS[page]) if found == language]
