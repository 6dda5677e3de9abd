"""Runs of an earlier rule are judged again, and stand where today's rule says the same."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ablkit.exclusion.rule import RULE
from ablkit.report import data
from ablkit.report.collect import JUDGED_AGAIN, collect
from ablkit.report.findings.rule import is_earlier
from ablkit.runs import execute
from ablkit.runs.parameters import changed, check
from benchmarks import judged_again

FINDS = {"train_size": 1200, "isolation_epochs": 4, "poison_rate": 0.15}
FINDS |= {"method": "exclude", "method_settings": "least_images=50, least_group=10"}


def of_rule(folder: Path, number: float, **changes: float) -> None:
    """Change what a committed run says of itself."""
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"method_rule": number} | changes))


def earlier(to: Path) -> list[bool]:
    return is_earlier(collect(to).runs).tolist()


def test_a_run_that_todays_rule_judges_alike_stands(folders, tmp_path):
    to = tmp_path / "numbers"
    run, _ = data.add(execute.execute("run", check("run", changed("run", "smoke", FINDS))).folder, to)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["method_excluded_images"] > 0 and metrics["method_look"] == 1
    of_rule(run, RULE - 1)
    assert earlier(to) == [True]
    path = judged_again.measure(to)
    (row,) = pd.read_csv(path, dtype={"key": str}).to_dict("records")
    assert path.name == JUDGED_AGAIN and (row["key"], row["rule"], row["is_alike"]) == (run.name, RULE, True)
    assert row["method_excluded_images"] == metrics["method_excluded_images"] and earlier(to) == [False]
    # Judged once; and the twin: with another number than today's rule finds it does not stand.
    before = path.read_bytes()
    assert judged_again.measure(to).read_bytes() == before
    path.unlink()
    of_rule(run, RULE - 1, method_excluded_images=metrics["method_excluded_images"] + 1)
    assert not pd.read_csv(judged_again.measure(to))["is_alike"].any() and earlier(to) == [True]
