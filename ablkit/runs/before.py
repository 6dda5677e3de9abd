"""Runs that were made before with the same parameters, and stand for something else: other code, data or hardware."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from ablkit.errors import UserError
from ablkit.files import read_json
from ablkit.runs import records
from ablkit.runs.job import Job
from ablkit.runs.key import key_of

_WORDS = {"code": "code", "package": "code", "first_run": "code", "methods": "code"} | {
    "data": "data",
    "sets": "data",
    "place": "device or precision",
}
"""Entry of `key.facts_of` -> what it is called."""
_OTHER = "files"
"""What the other entries are of; see `Parameters.outside`."""


def told(jobs: Iterable[Job]) -> list[str]:
    """A line that says how many of these jobs are made anew although there are runs of the same parameters, and why.

    No line where there are none. Reads the parameters of every finished run.
    """
    missing = {(job.notebook, _text(job.parameters.model_dump())): job for job in jobs if job.state != "done"}
    whys: dict[Job, set[str]] = defaultdict(set)
    for folder in records.folders(None, "metrics.json") if missing else ():
        try:
            record = read_json(folder / "params.json")
        except UserError:
            continue
        job = missing.get((record.get("notebook"), _text(record.get("parameters"))))
        # The code of a run of JupyterLab is not known.
        if job is not None and record.get("code") not in ("unknown", "interactive") and folder.name == key_of(record):
            facts = json.loads(_text(job.facts))
            whys[job] |= {_WORDS.get(name, _OTHER) for name in facts | record if facts.get(name) != record.get(name)}
    if not whys:
        return []
    reasons = " or ".join(sorted(set.union(*whys.values())))
    runs = "1 run was" if len(whys) == 1 else f"{len(whys)} runs were"
    return [f"{runs} made before with other {reasons}, and may come out otherwise; made anew, beside the old"]


def _text(parameters: object) -> str:
    return json.dumps(parameters, sort_keys=True)
