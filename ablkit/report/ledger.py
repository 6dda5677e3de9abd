"""The result table over seeds, and the ledger that holds it against the paper."""

from __future__ import annotations

from collections.abc import Iterable

from ablkit.metrics import paper
from ablkit.metrics.definitions import TABLE
from ablkit.report.results import Result
from ablkit.report.text import MISSING, percent
from ablkit.runs.parameters import LossGap, OneRun

_ROWS = (
    ("undefended", "none", ""),
    ("before isolation", "abl", "_before"),
    ("after fine-tuning", "abl", "_finetuned"),
    ("after unlearning", "abl", ""),
)
_LEDGER = (
    ("undefended", "none", "clean_accuracy_non_target"),
    ("undefended", "none", "attack_success_rate"),
    ("ABL", "abl", "clean_accuracy_non_target"),
    ("ABL", "abl", "attack_success_rate"),
)
_REPRODUCED = {"clean_accuracy_non_target": 0.01, "attack_success_rate": 0.02}
_CLOSE = {"clean_accuracy_non_target": 0.03, "attack_success_rate": 0.05}


def result_rows(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Column names, and for each stage its title, the mean (and range) over seeds of each metric, and n."""
    rows = []
    for title, method, suffix in _ROWS:
        cells = []
        for metric in TABLE:
            # Isolation happens once a run, at the turning epoch.
            name = metric if metric == "isolation_precision" else metric + suffix
            cells.append(
                ""
                if metric == "isolation_precision" and suffix != "_before"
                else mean_and_range(_values(results, method, name))
            )
        n = len(_values(results, method, "clean_accuracy" + suffix))
        rows.append([title, *cells, str(n)])
    for title, method in (("paper, undefended", "none"), ("paper, ABL", "abl")):
        found = [_paper(results, metric, method) for metric in TABLE]
        rows.append([title, *("" if value is None else str(value) for value in found), ""])
    return [name.replace("_", " ") for name in TABLE], rows


def ledger(results: list[Result], preset: str) -> list[dict]:
    """One line for each of the paper's numbers: its value, ours, n and the verdict."""
    lines = []
    for title, method, metric in _LEDGER:
        values, published = _values(results, method, metric), _paper(results, metric, method)
        lines.append(
            {
                "title": f"{title}, {metric.replace('_', ' ')}",
                "paper": "" if published is None else str(published),
                "here": mean_and_range(values),
                "n": len(values),
                "verdict": verdict(metric, values, published, full_scale=preset in ("paper", "released")),
            }
        )
    return lines


def verdict(metric: str, values: list[float], published: paper.PaperValue | None, *, full_scale: bool) -> str:
    """`reproduced`, `close`, `missed`, or why there is no verdict; the rule stands under the table."""
    if not values:
        return "not run"
    if published is None:
        return "no number known"
    if not full_scale:
        return "not judged: reduced scale"
    if published.mark != "verified":
        return "not judged: number from memory"
    if len(values) < 3:
        return "not judged: fewer than three seeds"
    distance = abs(sum(values) / len(values) - published.value)
    if min(values) <= published.value <= max(values) or distance <= _REPRODUCED[metric]:
        return "reproduced"
    return "close" if distance <= _CLOSE[metric] else "missed"


def _values(results: Iterable[Result], method: str, metric: str) -> list[float]:
    """The metric of every finished run of a method, by seed; runs where it could not be measured are left out."""
    runs = [result for result in results if result.job.notebook == "run" and result.job.parameters.method == method]
    found = [result.metrics.get(metric) for result in runs]
    return [value for value in found if value is not None]


def _paper(results: list[Result], metric: str, method: str) -> paper.PaperValue | None:
    parameters = results[0].job.parameters
    return paper.lookup(metric, attack=parameters.attack, method=method, dataset=parameters.dataset)


def mean_and_range(values: list[float]) -> str:
    """A mean over seeds in percent with the lowest and the highest, a dash where there is no value."""
    if not values:
        return MISSING
    mean = percent(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({percent(min(values))} to {percent(max(values))})"


def by_attack(results: list[Result]) -> dict[str, list[Result]]:
    """Attack -> its runs; those that compare attacks are left out."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if isinstance(result.job.parameters, OneRun | LossGap):
            groups.setdefault(result.job.parameters.attack, []).append(result)
    return groups
