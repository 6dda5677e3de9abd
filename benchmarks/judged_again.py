"""Would today's rule have judged as an earlier one did? The first look of committed runs of `exclude`, made again.

A run that the first look decided stands if today's first look says the same: the model that is trained without its
suspects is then the same bit for bit, and the second look found nothing in it by a rule that asked for less. A run that
suspected nobody stands for that reason alone. One that the second look decided has to be made anew.
"""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import torch

from ablkit import attacks
from ablkit import data as sets
from ablkit.defenses import settings_of
from ablkit.exclusion import training
from ablkit.exclusion.rule import RULE
from ablkit.files import write_text
from ablkit.metrics.definitions import isolation_quality
from ablkit.report import data
from ablkit.report.collect import JUDGED_AGAIN, collect
from ablkit.report.findings.rule import VERDICT, is_earlier
from ablkit.runs import environment, records
from ablkit.runs.parameters import OneRun, check
from ablkit.training import hardware
from ablkit.training.abl import train


def measure(to: Path) -> Path:
    """Judge the runs of a report that its judged-again.csv lacks, one after the other; return its path.

    Takes phase 1 of each, 3 minutes of a core with bf16 at quick scale on CIFAR-10. A killed call goes on. Runs that
    were made with another precision than this machine's are left out, as they round otherwise.

    Args:
        to: the folder of the report's data.
    """
    path, runs = to / JUDGED_AGAIN, collect(to).runs
    own = runs[(runs["method"] == "exclude") & is_earlier(runs) & (runs["method_look"] == 1)]
    own = own[own["place"] == f"CPU, {hardware.choose('cpu').precision}"]
    for _, run in own.sort_values("is_standard", ascending=False, kind="stable").iterrows():
        known = data.table(path, key=str).to_dict("records")
        if (run["key"], RULE) in [(row["key"], row["rule"]) for row in known]:
            continue
        started = time.perf_counter()
        found = _judged(check("run", records.parameters(run["folder"])))
        is_alike = all(abs(found[name] - run[name]) < 1e-9 for name in VERDICT)
        row = {"key": run["key"], "rule": RULE, "is_alike": is_alike, **{name: found[name] for name in VERDICT}}
        row |= {"seconds": round(time.perf_counter() - started), "commit": environment.commit()}
        write_text(path, pd.DataFrame([*known, row]).to_csv(index=False, lineterminator="\n"))
        print(f"{run['attack']}, seed {run['seed']}: {row}", flush=True)
    return path


def _judged(p: OneRun) -> dict[str, float]:
    """What today's first look says of a run, by the names of its metrics; nan for the precision of no suspects."""
    torch.set_num_threads(p.threads)
    clean, _ = sets.load(p.dataset, seed=p.seed, **p.drawing())
    poisoned = attacks.poison(clean, **p.poisoning())
    how = {"seed": p.seed, "precision": p.precision}
    first = train(poisoned.data, training.first_phase(p.recipe()), device=p.device, report=None, **how)
    evidence = training.evidence_of(poisoned.data, first, **how)
    found = training.look(evidence, first.averaged, settings_of(p.method, p.method_settings))
    quality = isolation_quality(found.images, poisoned.is_poisoned)
    told = {f"method_{name}": value for name, value in found.record().items()}
    told |= {name.replace("isolation", "exclusion"): value for name, value in quality.items()}
    return {name: float("nan") if value is None else value for name, value in told.items()}
