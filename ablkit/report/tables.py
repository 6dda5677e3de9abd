"""The tables of the notebooks: numbers as people read them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy
from pandas.io.formats.style import Styler

from ablkit import runs
from ablkit.attacks import ATTACKS
from ablkit.attacks.attack import Poisoned
from ablkit.defenses import DEFENSES, METHODS
from ablkit.exclusion.suspects import Suspects
from ablkit.metrics import paper
from ablkit.metrics.definitions import TABLE
from ablkit.metrics.summary import COMPARED, OF_SOME_ATTACKS, UNDEFENDED
from ablkit.report.text import MISSING, harmless, label, number, percent, without_folders
from ablkit.shapes import ndarray

_STEPS = {
    "prune": "idle channels pruned",
    "finetune_clean": "then fine-tuned on the clean images",
    "teacher": "its teacher: the undefended model, fine-tuned on the clean images",
    "distill": "the undefended model, fine-tuned towards the teacher's attention",
    "t=0.30": "the model at t = 0.3 of the curve",
    "t=0.50": "the model at t = 0.5",
    "t=1.00": "the second end of the curve (t = 1)",
}
"""Stages of the repairs that show where a backdoor is lost, or is not."""

_CLASS = 40
"""Letters of the name of a class in a table."""

_WORDS = re.compile(r"^[^\W\d_]|[^\W\d_]{3}")
"""In a cell that is no number with its range."""

_SHARES = (*TABLE, "isolation_recall", "isolation_auroc", "isolation_average_precision")


def poisoning(poisoned: Poisoned) -> Styler:
    """How many images of each true class were poisoned."""
    counts = pd.DataFrame({"class": [label(name, _CLASS) for name in poisoned.data.classes]})
    counts["training images"] = [int((poisoned.true_labels == k).sum()) for k in range(len(poisoned.data.classes))]
    drawn = poisoned.true_labels[poisoned.is_poisoned]
    counts["of them poisoned"] = [int((drawn == k).sum()) for k in range(len(poisoned.data.classes))]
    counts.loc[len(counts)] = ["all", len(poisoned), int(poisoned.is_poisoned.sum())]
    if poisoned.is_decoy.any():
        decoys = poisoned.true_labels[poisoned.is_decoy]
        each = [int((decoys == k).sum()) for k in range(len(poisoned.data.classes))]
        counts["decoys, true label"] = [*each, len(decoys)]
    return _styled(counts)


def making(sets: dict[str, Poisoned]) -> Styler:
    """How each attack was made: what it changes, how many images of which classes, and what it measured of itself."""
    rows = []
    for name, poisoned in sets.items():
        attack, truth = ATTACKS[name], poisoned.true_labels[poisoned.is_poisoned]
        names = poisoned.data.classes
        classes = [label(names[k], _CLASS) for k in np.unique(truth)]
        rows.append(
            {
                "attack": attack.title,
                "kind": attack.kind,
                "changes": attack.changes,
                "poisoned images": len(truth),
                "decoys": int(poisoned.is_decoy.sum()),
                "share": f"{len(truth) / max(1, _whole(poisoned, attack.kind)):.0%} of the {attack.rate_of}",
                "of classes": ", ".join(classes) if len(classes) < 3 else f"{len(classes)} of {len(names)}",
                "attacker's own model": _facts(poisoned.record),
            }
        )
    return _styled(pd.DataFrame(rows))


def _whole(poisoned: Poisoned, kind: str) -> int:
    return len(poisoned) if kind == "dirty label" else int((poisoned.true_labels == poisoned.target).sum())


def _facts(record: dict[str, float]) -> str:
    """What an attacker measured of its own models, and how long all of them took."""
    facts = [_fact(name, value) for name, value in sorted(record.items()) if not name.endswith("_seconds")]
    seconds = [value for name, value in record.items() if name.endswith("_seconds")]
    return ", ".join([*facts, f"crafting time {sum(seconds):.0f} s"] if seconds else facts)


def _fact(name: str, value: float) -> str:
    words = name.replace("_", " ")
    return f"{words} {value:.1%}" if _is_share(name) else f"{words} {value:.4g}"


def _is_share(name: str) -> bool:
    return bool({"accuracy", "rate"} & set(name.split("_")))


def attack_results(frame: pd.DataFrame) -> Styler:
    """Mean over seeds (lowest to highest) of undefended models, one row an attack."""
    grouped = frame.groupby("attack", sort=False)
    table = pd.DataFrame({"attack": [ATTACKS[name].title for name, _ in grouped]})
    return _styled(table.assign(**_undefended(grouped, frame)))


def twins(frame: pd.DataFrame) -> Styler:
    """The same, one row for each attack and one for the attack with its idea off.

    Args:
        frame: undefended runs, see `Twins.runs`.
    """
    grouped = frame.groupby(["attack", "attack_settings"], sort=False)
    rows = []
    for (name, settings), _ in grouped:
        attack = ATTACKS[name]
        variant = f"idea off: without {attack.twin.without} ({settings})" if settings else "attack"
        rows.append({"attack": attack.title, "": variant})
    table = pd.DataFrame(rows).assign(rate=[f"{rate:.3g}" for rate in grouped["poison_rate"].first()])
    return _styled(table.assign(**_undefended(grouped, frame)))


def twins_making(frame: pd.DataFrame) -> Styler:
    """What the attacker's own models do, where the attack's idea changes it: mean over seeds (lowest to highest).

    Args:
        frame: undefended runs, see `Twins.runs`.
    """
    rows = []
    for name, own in frame.groupby("attack", sort=False):
        attack, is_twin = ATTACKS[name], own["attack_settings"] != ""
        for column in own.columns[own.columns.str.startswith("poisoning_") & ~own.columns.str.endswith("seconds")]:
            whole, part = (pd.to_numeric(own.loc[of, column]) for of in (~is_twin, is_twin))
            if whole.isna().any() or part.isna().any() or sorted(whole) == sorted(part):
                continue
            row = {"attack": attack.title, "attacker's own model": column.removeprefix("poisoning_").replace("_", " ")}
            rows.append(row | {"idea on": _spread(whole, column), "idea off": _spread(part, column)})
    return _styled(pd.DataFrame(rows))


def _undefended(grouped: DataFrameGroupBy, frame: pd.DataFrame) -> dict[str, list | ndarray]:
    columns = {}
    for column in UNDEFENDED:
        columns[column.replace("_", " ")] = [
            "{} ({} to {})".format(*map(percent, (values.mean(), values.min(), values.max())))
            if values.notna().any()
            else MISSING
            for _, values in grouped[column]
        ]
    for column, title in OF_SOME_ATTACKS.items():
        if column in frame:
            columns[title] = ["" if pd.isna(mean) else f"{mean:.1%}" for mean in grouped[column].mean()]
    return columns | {"n": grouped.size().to_numpy()}


def methods(frame: pd.DataFrame, reasons: dict[str, str]) -> Styler:
    """Mean over seeds (lowest to highest) by attack and method, beside the paper's numbers; and what was not run, why.

    Args:
        frame: runs, see `comparisons.compare`.
        reasons: method -> why it was not run.
    """
    rows = []
    for (attack, method), own in frame.groupby(["attack", "method"], sort=False):
        row = {"attack": ATTACKS[attack].title, "method": METHODS[method]}
        row |= {column.replace("_", " "): _spread(own[column], column) for column in COMPARED}
        for column, title in (("clean_accuracy_non_target", "CA"), ("attack_success_rate", "ASR")):
            value = paper.lookup(column, attack=attack, method=method, dataset=own["dataset"].iloc[0])
            row[f"paper, {title}"] = "" if value is None else str(value)
        rows.append(row | {"n": len(own)})
    empty = dict.fromkeys(rows[0], "")
    for method, reason in reasons.items():
        # Without the way out after it, which names a folder of this machine.
        why = without_folders(reason.partition(", so this was not run")[0])
        rows.append(empty | {"method": f"{METHODS[method]}: not run, as {why}"})
    return _styled(pd.DataFrame(rows))


def steps(frame: pd.DataFrame) -> Styler:
    """What each step of a repair leaves of the backdoor: mean over seeds (lowest to highest) at its end.

    Measured on `monitor_images` test images. Methods without such steps are passed over.

    Args:
        frame: runs, see `comparisons.compare`.
    """
    rows = []
    for (attack, method), own in frame.groupby(["attack", "method"], sort=False):
        ends = pd.concat([pd.DataFrame(runs.history(folder)).groupby("stage").tail(1) for folder in own["folder"]])
        for stage, step in _STEPS.items():
            at = ends[ends["stage"] == stage]
            if at.empty:
                continue
            row = {"attack": ATTACKS[attack].title, "method": METHODS[method], "after": step}
            for name in ("attack_success_rate", "clean_accuracy"):
                row[name.replace("_", " ")] = _spread(at[name], name)
            rows.append(row | {"n": len(at)})
    return _styled(pd.DataFrame(rows))


def _spread(values: pd.Series, column: str) -> str:
    if values.isna().all():
        return ""
    form = "{:.1%}" if _is_share(column) else "{:.2f}" if column == "defense_effectiveness" else "{:.4g}"
    mean, low, high = (form.format(value) for value in (values.mean(), values.min(), values.max()))
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def history(records: list[dict]) -> pd.DataFrame:
    """The records of a training as a frame without its times, which no two runs share."""
    return pd.DataFrame(records).drop(columns=["images", "seconds", "evaluation_seconds"], errors="ignore")


def stages(result: dict, method: str, attack: str, dataset: str) -> Styler:
    """The metrics at the end of each stage, and the paper's numbers with their mark."""
    suffixes = {"before isolation": "_before", "after fine-tuning": "_finetuned", "after unlearning": ""}
    if method in ("none", "oracle"):
        suffixes = {METHODS[method]: ""}
    elif method == "exclude":
        suffixes = {"after phase 1": "_before", METHODS[method]: ""}
    elif method in DEFENSES and DEFENSES[method].needs == "clean data":
        suffixes = {"undefended": "_finetuned", f"after {METHODS[method]}": ""}
    elif method in DEFENSES:
        suffixes = {"before isolation": "_before", "after fine-tuning": "_finetuned", f"after {METHODS[method]}": ""}
    rows = {
        title: {column: percent(result[column + suffix]) for column in TABLE if column + suffix in result}
        for title, suffix in suffixes.items()
        if f"clean_accuracy{suffix}" in result
    }
    if "isolation_precision" in result:
        # Isolation happens once a run, so that its precision is the same in every row.
        rows = {
            title: row | {"isolation_precision": percent(result["isolation_precision"])} for title, row in rows.items()
        }
    table = pd.DataFrame(rows, index=TABLE).T.fillna("")
    published = {c: paper.lookup(c, attack=attack, method=method, dataset=dataset) for c in TABLE}
    table.loc["paper"] = {column: "" if value is None else str(value) for column, value in published.items()}
    return _styled(table.rename(columns=lambda name: name.replace("_", " ")), index=True)


def suspects(found: Suspects, poisoned: Poisoned) -> Styler:
    """How each class was judged, and what was excluded; the last columns know the truth."""
    rows = []
    for k, name in enumerate(poisoned.data.classes):
        own = found.images[poisoned.data.labels[found.images] == k]
        rows.append(
            {
                "class": label(name, _CLASS),
                "images": int((poisoned.data.labels == k).sum()),
                "separation of its two groups": number(found.separations[k], "{:.1f}"),
                "of look": "" if not len(found.looks) else str(found.looks[k]),
                "valley": number(found.valleys[k], "{:.2f}"),
                "part in the first group": percent(found.parts[k]),
                "suspected": "yes" if k in found.classes else "",
                "excluded": len(own),
                "of them poisoned": int(poisoned.is_poisoned[own].sum()),
                "poisoned in all": int((poisoned.is_poisoned & (poisoned.data.labels == k)).sum()),
            }
        )
    return _styled(pd.DataFrame(rows))


def shown(frame: pd.DataFrame) -> Styler:
    """A frame with its shares in percent and its losses with three digits."""
    forms = {column: "{:.1%}" if column in _SHARES else "{:.3f}" for column in frame.select_dtypes("float")}
    return _styled(frame.rename(columns=str), forms)


def _styled(table: pd.DataFrame, forms: dict[str, str] | None = None, *, index: bool = False) -> Styler:
    """A table as HTML in which every text is escaped and harmless, and a dash stands for what is no number.

    Args:
        forms: column -> format of its numbers.
        index: whether the names of the rows are shown.
    """
    safe = table.map(lambda cell: harmless(cell) if isinstance(cell, str) else cell).rename(columns=harmless)
    styled = safe.style.format(forms, escape="html", na_rep=MISSING)
    for axis in ("index", "columns"):
        styled = styled.format_index(escape="html", axis=axis)
    # The class keeps MathJax, which JupyterLab runs over outputs, from reading names with a $ as formulas.
    styled = styled.set_table_attributes('class="tex2jax_ignore mathjax_ignore"')
    # Words on the left. A class of the pages' style; the rule is for JupyterLab, as a page takes no rules from outputs.
    words = [name for name in safe if any(isinstance(cell, str) and _WORDS.search(cell) for cell in safe[name])]
    styled = styled.set_td_classes(pd.DataFrame("text", index=safe.index, columns=words))
    styled = styled.set_table_styles([{"selector": "td.text", "props": "text-align: left"}])
    return styled if index else styled.hide(axis="index")
