"""What `ablkit clean` finds in folders of images, poisoned or not, held against the truth."""

from __future__ import annotations

import json

import pandas as pd

from ablkit.exclusion.rule import RULE
from ablkit.report.collect import Collection, dataset_title, hardware_of
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.rule import is_earlier
from ablkit.report.findings.words import FEWEST, count, upper
from ablkit.report.page import Block, Cell, Code, Page, Table, Text, code, link, listed, literal
from ablkit.report.pages import missing
from ablkit.report.text import MISSING, percent
from ablkit.runs.records import Damaged

_TITLE, _NAME = "Does it find poison in a stranger's folder?", "unknown-trust.html"
_COMMAND = "python -m benchmarks trust --to FOLDER"
FOUND = 0.95
"""Share of the poison among the suspects from which on a folder counts as judged rightly."""
UNPOISONED = "attack_success_rate_unpoisoned"
"""Of a model of the clean folder, on the images of an attack that it has never seen; see `benchmarks/trust.py`."""
STRANGE = {"white_bar": "a white bar", "two_triggers": "two triggers, two classes"}
"""Attacks that the kit does not have -> what they are called; see `benchmarks/strange_attacks.py`."""
SEEN = {"gtsrb": (0,), "cifar10": (0, 1, 2, 3, 4)}
"""Data set -> seeds whose folders had been seen when the settings of today's rule were chosen."""
_COLUMNS = ("data set", "attack", "seed", "verdict", "poisoned", "suspects", "recall, %", "precision, %")
_COLUMNS += ("attack success, %", "success unpoisoned, %", "clean accuracy, %", "minutes")


def page(c: Collection) -> Page:
    """A row for each folder."""
    how = (
        f"Each folder of PNG files went through {code('ablkit clean')} as anybody's would: no attack, rate or class was"
        " given, but for traffic signs that they must not be mirrored. What it found, and the model that it handed on,"
        f" were then held against the truth. The method is {link('training without the suspects', 'exclusion.html')}."
    )
    rows = folders(c)
    if rows.empty:
        blocks = [Text(how), *missing.not_run(c, "any folder of images", [_COMMAND])]
        return Page(_NAME, _TITLE, "Not known yet: 0 folders were tried.", blocks, "Unknown trust")
    poisoned = rows[rows["poisoned"] > 0]
    seeds = poisoned.groupby(["dataset", "attack"])["seed"].nunique()
    if few := int((seeds < FEWEST).sum()):
        most, were = count(int(seeds.max()), "seed"), "was" if few == 1 else "were"
        how += f" {few} of {count(len(seeds), 'attack')} {were} tried on fewer than {FEWEST} seeds (at most {most}): a"
        how += " demonstration."
    how += _by_rule(rows) + _on_unseen(rows)
    blocks: list[Block] = [Text(how), _table(rows), Code(_COMMAND)]
    return Page(_NAME, _TITLE, _finding(rows), blocks, "Unknown trust")


def _by_rule(rows: pd.DataFrame) -> str:
    """Which rule judged the folders of each data set; empty where all were judged by today's."""
    rows = rows.assign(rule=rows.get("rule", pd.Series(0.0, rows.index)).fillna(0))
    if (rows["rule"] == RULE).all():
        return ""
    parts = []
    for (name, rule), own in rows.groupby(["dataset", "rule"], sort=False):
        stand = int((~is_earlier(own, "rule", "suspects")).sum()) if rule != RULE else 0
        stands = f" ({stand} without a suspect, which stand, as rule {RULE} asks for more)" if stand else ""
        by = f"by rule {rule:g}" if rule else "by an earlier rule"
        parts.append(f"{count(len(own), 'folder')} of {dataset_title(name)} {by}{stands}")
    return f" Judged were {listed(parts)}."


def _on_unseen(rows: pd.DataFrame) -> str:
    """Which folders had no part in the rule, and on how many of them its verdict is right."""
    seen, unseen = rows[_had_part(rows)], rows[~_had_part(rows)]
    if seen.empty:
        return ""
    told = f" The rule was changed after {len(seen)} of these folders had been seen"
    if unseen.empty:
        return f"{told}."
    return f"{told}; on the other {len(unseen)} its verdict is right on {int(unseen['is_right'].sum())}."


def folders(c: Collection) -> pd.DataFrame:
    """The folders that were tried, with `is_right`: the verdict names the attacked classes, and most of the poison."""
    path = c.folder / "trust.json"
    if not path.exists():
        return pd.DataFrame()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["folders"]
        rows = pd.DataFrame([{**one, **{f"env_{k}": v for k, v in one["environment"].items()}} for one in found])
        if rows.empty:
            return rows
        numbers = rows.reindex(columns=["found", "precision", "attack_success_rate", UNPOISONED]).astype(float)
        is_named = rows["suspected_classes"].map(set) == rows["attacked_classes"].map(set)
        return rows.assign(**numbers, is_right=is_named & ~(numbers["found"] < FOUND))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(path, f"holds no folders ({type(error).__name__}: {error})") from None


def _finding(rows: pd.DataFrame) -> str:
    poisoned, clean = rows[rows["poisoned"] > 0], rows[rows["poisoned"] == 0]
    told = [_by_set(rows)] * (rows["dataset"].nunique() > 1)
    if len(poisoned):
        gone = int((poisoned["attack_success_rate"] <= GONE).sum())
        right = (
            f"finds the attacked classes and {percent(FOUND, 0)} of the poison or more in {poisoned['is_right'].sum()}"
        )
        by = ", by an earlier rule than today's," * bool(is_earlier(rows, "rule", "suspects").all())
        told.append(
            f"{code('ablkit clean')}{by} {right} of {count(len(poisoned), 'poisoned folder')}, and hands on a model"
            f" with at most {percent(GONE, 0)} attack success in {gone}{_false_alarms(clean)}."
        )
        kept = poisoned[poisoned["is_right"] & (poisoned["attack_success_rate"] > GONE)].dropna(subset=UNPOISONED)
        if len(kept):
            told.append(_left_over(kept))
        told += _wrong(poisoned)
    elif len(clean):
        told.append(f"{upper(_false_alarms(clean).removeprefix('; '))}.")
    return " ".join(told)


def _wrong(poisoned: pd.DataFrame) -> list[str]:
    """Which attacks are missed, and with which other classes are suspected, too."""
    is_missed = poisoned["found"] < FOUND
    other = "It suspects other classes than the attacked ones, too, with {}."
    told = []
    for text, own in (("It misses {}.", is_missed), (other, ~is_missed & ~poisoned["is_right"])):
        names = [
            f"{_attack(row['attack'])} on {dataset_title(row['dataset'])} (seed {row['seed']})"
            for _, row in poisoned[own].iterrows()
        ]
        told += [text.format(listed(names))] * bool(names)
    return told


def _by_set(rows: pd.DataFrame) -> str:
    """On how many folders of each data set the verdict is right, poisoned or not."""
    by = ", by an earlier rule than today's," * bool(is_earlier(rows, "rule", "suspects").all())
    parts = [
        f"{int(own['is_right'].sum())} of {count(len(own), 'folder')} of {dataset_title(name)}"
        for name, own in rows.groupby("dataset", sort=False)
    ]
    seen = f"; the rule was changed after {int(_had_part(rows).sum())} of these had been seen"
    return f"The verdict of {code('ablkit clean')}{by} is right on {listed(parts)}{seen * bool(_had_part(rows).any())}."


def _had_part(rows: pd.DataFrame) -> pd.Series:
    """Which folders had been seen when the settings of today's rule were chosen."""
    return pd.Series(
        [seed in SEEN.get(name, ()) for name, seed in zip(rows["dataset"], rows["seed"], strict=True)], rows.index
    )


def _left_over(kept: pd.DataFrame) -> str:
    """What is left of attacks that were found, beside what a model has that never saw the trigger."""
    left, usual = (
        listed([f"{percent(row[column])} with {_attack(row['attack'])}" for _, row in kept.iterrows()])
        for column in ("attack_success_rate", UNPOISONED)
    )
    return (
        f"In {len(kept)} of the folders whose poison it finds, more attack success is left: {left}. A model that never"
        f" saw the trigger has {usual}."
    )


def _false_alarms(clean: pd.DataFrame) -> str:
    """In how many clean folders a class is suspected, as the end of a sentence; empty where there is none."""
    by_set = [
        f"{int((~own['is_right']).sum())} of {len(own)} of {dataset_title(name)}"
        for name, own in clean.groupby("dataset", sort=False)
    ]
    return f"; of clean folders it suspects a class in {listed(by_set)}" if by_set else ""


def _attack(name: str) -> str:
    return {"": "none", **TITLES, **STRANGE}[name]


def _table(rows: pd.DataFrame) -> Table:
    """A row a folder: by data set, an attack after the other, those without poison last."""
    lines = []
    order = {name: place for column in ("dataset", "attack") for place, name in enumerate(rows[column].unique())}
    own = rows.assign(is_clean=rows["poisoned"] == 0)
    by = {"key": lambda column: column.map(order) if column.name in ("dataset", "attack") else column}
    for _, row in own.sort_values(["dataset", "is_clean", "attack", "seed"], **by).iterrows():
        is_poisoned, suspected = row["poisoned"] > 0, len(row["suspected_classes"])
        failed = is_poisoned and row["attack_success_rate"] > GONE
        verdict = f"{suspected} class{'' if suspected == 1 else 'es'}" if suspected else "no class"
        lines.append(
            (
                dataset_title(row["dataset"]),
                Cell(_attack(row["attack"]), kind="text"),
                str(row["seed"]),
                Cell(verdict, kind="text" if row["is_right"] else "bad text"),
                f"{row['poisoned']:,}",
                f"{row['suspects']:,}",
                *(_percent(row[name]) for name in ("found", "precision")),
                Cell(_percent(row["attack_success_rate"]), kind="bad" if failed else ""),
                _percent(row[UNPOISONED]),
                _percent(row["clean_accuracy"]),
                f"{row['seconds'] / 60:.0f}",
            )
        )
    dates = sorted({str(started)[:10] for started in rows["env_started"]})
    made = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    note = (
        f"Training images: {listed(sorted({f'{n:,}' for n in rows['images']}))} a folder. Recall: share of the poisoned"
        " images that are suspected. Precision: share of the suspects that are poisoned. Attack success: test images of"
        " other classes that the model takes for the attacked class. Success unpoisoned: the same of a model of the"
        " clean folder of this seed, which has never seen the trigger: up to so much is no sign of a backdoor. Clean"
        f" accuracy: on the test images of the folder that are not suspected. Minutes of training, beside"
        f" whatever else the machine did; {rows['seconds'].sum() / 3600:.1f} hours in all. {made} at"
        f" {listed(sorted({literal(name) for name in rows['env_commit']}))}, {hardware_of(rows)}."
    )
    return Table(_COLUMNS, lines, note=note)


def _percent(share: float) -> str:
    return MISSING if share != share else f"{100 * share:.1f}"
