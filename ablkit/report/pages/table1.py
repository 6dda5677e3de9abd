"""Table 1 of the paper: ten attacks by five methods, its numbers, those here at each scale, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ablkit.defenses import METHODS
from ablkit.metrics import paper
from ablkit.metrics.paper import PaperValue
from ablkit.report import costs
from ablkit.report.collect import Collection, Scale, provenance
from ablkit.report.figures import TITLES
from ablkit.report.findings.words import PRESENT, count, limit
from ablkit.report.page import Block, Cell, Heading, Page, Table, Text, code, link, listed
from ablkit.report.repeat import command
from ablkit.report.verdicts import FEWEST, INTERVAL, over_seeds, verdict

_METHODS = ("none", "fine_pruning", "mcr", "nad", "abl")
_METRICS = {"attack_success_rate": "attack success", "clean_accuracy_non_target": "accuracy, other classes"}
_VERDICTS = ("reproduced", "close", "missed")
_LATER = "later_log"
"""The item of the authors' later log, a second target for the same setting."""


@dataclass(frozen=True)
class _Line:
    """One row: a method on an attack beside one pair of the paper's numbers."""

    attack: str
    method: str
    title: str
    published: list[PaperValue]
    """In the order of `_METRICS`."""
    cells: tuple
    judgements: list[str]
    """The verdicts, in the same order."""


def page(c: Collection) -> Page:
    """All cells of Table 1."""
    full = c.full[0] if c.full else None
    others = [scale for scale in c.scales if not (scale.is_full or scale.is_peers)]
    small = next((scale for scale in others if scale.dataset == "cifar10"), None)
    lines = [line for name in TITLES for method in _METHODS for line in _lines(full, small, name, method)]
    note = (
        f"The paper's number marked \\* is transcribed from memory; its verdict is grey and never counted. Weak"
        f" backdoor: undefended training has less than {limit(PRESENT)} attack success here, so that there is little to"
        f" remove. {INTERVAL}"
    )
    spans = 2 + (small is not None) + (full is not None)
    groups = (("", 1), *((f"{title}, %", spans) for title in _METRICS.values()), ("", 1))
    here = tuple(name for name, scale in (("small", small), ("paper's size", full)) if scale is not None)
    columns = ("attack, method", *("paper", *here, "verdict") * len(_METRICS), "seeds")
    table = Table(columns, [(line.title, *line.cells) for line in lines], groups, note)
    shown = [scale.runs[scale.runs["method"].isin(_METHODS)] for scale in (small, full) if scale is not None]
    made = [Text(provenance(pd.concat(shown)), "soft")] if shown else []
    blocks: list[Block] = [Text(_scales(full, small), "soft"), table, *made, *_commands(c), *_context()]
    return Page("table1.html", "Table 1: the paper's numbers and those here", _finding(lines, full), blocks, "Table 1")


def _lines(full: Scale | None, small: Scale | None, attack: str, method: str) -> list[_Line]:
    found = []
    for item, suffix in (("table1", ""), (_LATER, " (authors' later log)")):
        published = [paper.lookup(metric, attack=attack, method=method, item=item) for metric in _METRICS]
        if None in published:
            continue
        cells, judgements = [], []
        for metric, value in zip(_METRICS, published, strict=True):
            judgement = verdict(metric, _values(full, attack, method, metric), value)
            if method != "none" and metric == "attack_success_rate" and _is_weak(full, attack):
                judgement = Cell("weak backdoor", kind="soft")
            cells.append(Cell(f"{100 * value.value:.1f}" + ("" if value.mark == "verified" else "\\*"), kind="soft"))
            cells += [over_seeds(_values(s, attack, method, metric)) for s in (small, full) if s is not None]
            cells.append(judgement)
            judgements.append(judgement.markdown)
        counts = [len(_values(s, attack, method, "attack_success_rate")) for s in (small, full) if s is not None]
        cells.append(Cell(" + ".join(map(str, counts))))
        found.append(
            _Line(attack, method, f"{TITLES[attack]}, {METHODS[method]}{suffix}", published, tuple(cells), judgements)
        )
    return found


def _values(scale: Scale | None, attack: str, method: str, metric: str) -> list[float]:
    if scale is None:
        return []
    own = scale.of(method, attack)
    return [float(value) for value in own[metric].dropna()] if metric in own else []


def _is_weak(full: Scale | None, attack: str) -> bool:
    """Whether undefended training learns so little of the backdoor that there is nothing for a defence to remove."""
    undefended = _values(full, attack, "none", "attack_success_rate")
    return bool(undefended) and sum(undefended) / len(undefended) < PRESENT


def _scales(full: Scale | None, small: Scale | None) -> str:
    parts = [f"Small: {small.title}."] if small is not None else []
    if full is not None:
        changed = int(full.runs["env_commit"].astype(str).str.endswith("+changes").sum())
        which = f", {changed} of its {count(len(full.runs), 'run')} with code that was not committed yet"
        parts.append(f"The paper's size: {full.title}{which * bool(changed)}: {link('its page', 'paper-scale.html')}.")
    return " ".join([*parts, "Numbers of the small scale are shown beside the paper's and never judged against them."])


def _finding(lines: list[_Line], full: Scale | None) -> str:
    """How many of the paper's numbers are judged, and how."""
    cells = [(line, *pair) for line in lines for pair in zip(line.published, line.judgements, strict=True)]
    if full is None:
        return f"Nothing of Table 1 is judged yet: no run has the paper's size. Its {len(cells)} numbers stand below."
    judged = [(line, word) for line, value, word in cells if value.mark == "verified" and word in _VERDICTS]
    words = [word for _, word in judged]
    if not judged:
        return f"None of the {len(cells)} numbers of Table 1 is judged yet: the runs at its size have too few seeds."
    told = ", ".join(f"{words.count(word)} {word}" for word in _VERDICTS)
    settings = listed(list(dict.fromkeys(line.title.partition(" (")[0] for line, _ in judged)))
    twice = " (two published pairs)" if _two(judged) else ""
    runs = pd.concat([full.of(*of) for of in dict.fromkeys((line.method, line.attack) for line, _ in judged)])
    changed = int(runs["env_commit"].astype(str).str.endswith("+changes").sum())
    code_of = f" ({changed} of these {count(len(runs), 'run')} had code that was not committed yet)" * bool(changed)
    recalled = sum(word in ("agrees", "differs") for *_, word in cells)
    others = len(cells) - len(judged) - recalled
    return (
        f"{len(judged)} verified numbers, all of {settings}{twice}, are judged on at least {FEWEST} seeds at the"
        f" paper's size{code_of}: {told}. Verified means read in the authors' README or logs."
        f" {recalled} more, which are known from memory alone, are compared in grey. The other {others} are not run,"
        " have too few seeds, or are of a backdoor too weak to judge by."
    )


def _two(judged: list[tuple[_Line, str]]) -> bool:
    titles = {line.title for line, _ in judged}
    return len({title.partition(" (")[0] for title in titles}) < len(titles)


def _commands(c: Collection) -> list[Block]:
    example = command("run", {"preset": "paper", "attack": "trojan", "method": "nad"})
    hours, gpu = costs.cpu_hours(c), costs.gpu_minutes(c)
    known = "" if hours is None else f" Training an ABL run takes about {hours:.1f} hours on one core."
    known += f" {gpu}" if gpu else ""
    text = (
        f"A cell that is not run: {code(example)}, with the attack and method of its row; all at once:"
        f" {code('ablkit sweep notebooks/sweeps/table1.yaml --per-gpu auto')}.{known}"
    )
    return [Heading("How to run what is missing"), Text(text)]


def _context() -> list[Block]:
    table = paper.context()
    rows = []
    for _, row in table.iterrows():
        cells = (Cell(row["source"], kind="text"), Cell(row["setting"], kind="text"))
        numbers = (f"{row['attack_success_rate']:.1f}", f"{row['clean_accuracy']:.1f}")
        rows.append((TITLES[row["attack"]], *cells, *numbers))
    order = sorted(rows, key=lambda row: list(TITLES.values()).index(row[0]))
    spread = table.groupby("attack")["clean_accuracy"].agg(lambda values: values.max() - values.min())
    widest = spread.idxmax()
    note = (
        f"Other networks, rates and recipes: context, never a target. With {TITLES[widest]} the published clean"
        f" accuracies differ by {spread[widest]:.0f} points."
    )
    columns = ("attack", "source", "setting", "attack success, %", "clean accuracy, %")
    return [Heading("ABL in other reproductions"), Table(columns, order, note=note)]
