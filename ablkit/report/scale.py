"""The page of the runs at the paper's scale: what ABL does there, held against the paper, and why where it fails."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ablkit.errors import UserError
from ablkit.files import write_text
from ablkit.metrics import paper
from ablkit.report import kept, shell
from ablkit.report.figures import TITLES
from ablkit.report.ledger import mean_and_range, verdict
from ablkit.report.text import percent
from ablkit.runs import environment

GONE = 0.05
"""An attack success rate up to which a backdoor counts as removed here."""
LOW = 0.5
"""An isolation precision below which it counts as failed."""
_RAW, _AVERAGED = "loss (the paper)", "averaged weights"
SCORES = {"": _RAW, "_fresh_statistics": "fresh statistics", "_averaged": _AVERAGED}
"""Suffix of the metrics of an isolation score -> its name."""
_METRICS = ("attack_success_rate", "clean_accuracy", "clean_accuracy_non_target", "target_class_accuracy")
_SPEED = ["what", "images_per_second", "measured_by", "hardware", "date"]
_PUBLISHED = ("clean_accuracy_non_target", "attack_success_rate")


def write(data: Path, to: Path) -> Path:
    """Write `paper-scale.html` and its figure into a folder, from committed numbers alone; return the page's path.

    Raises UserError where no committed run has the paper's scale, and for numbers that make no page; nothing is written
    then.
    """
    try:
        page, drawing = _made(data)
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # of a table that somebody has edited
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{data} holds numbers that make no page ({reason}); take it from the repository again"
        ) from None
    write_text(to / "paper-scale.svg", drawing)
    write_text(to / "paper-scale.html", page)
    return to / "paper-scale.html"


def _made(data: Path) -> tuple[str, str]:
    """The page and its figure."""
    runs = kept.load(data)
    runs = runs[(runs["train_size"] == 0) & (runs["isolation_epochs"] + runs["finetune_epochs"] >= 80)]
    if runs.empty:
        raise UserError(f"{data} holds no run at the paper's scale")
    _check(runs)
    runs = runs.sort_values(["attack", "method", "seed"], key=_order)
    epochs = _epochs(runs[runs["method"] == "abl"])
    drawing = io.StringIO()
    figure = _figure(epochs)
    figure.savefig(drawing, format="svg", metadata={"Date": None})
    plt.close(figure)
    first = runs.iloc[0]
    page = shell.render(
        "scale.html.j2",
        finding=finding(runs, epochs),
        rows=[_row(own) for _, own in runs.groupby(["attack", "method"], sort=False)],
        runs=runs.to_dict("records"),
        scores=_scores(epochs),
        titles=TITLES,
        percent=percent,
        date=min(runs["env_started"])[:10],
        hardware=environment.hardware_line({name[4:]: first[name] for name in runs if name.startswith("env_")}),
        speed=_table(data / "gpu-speed.csv", _SPEED).to_dict("records"),
        suspects=_suspects(_table(data / "suspects.csv")),
        alone="exclude" in set(runs["method"]),
    )
    return page, drawing.getvalue()


def _check(runs: pd.DataFrame) -> None:
    """Raise UserError where a run lacks a number that the page shows."""
    for _, run in runs.iterrows():
        for name in (*_METRICS, "images_per_second", "env_wall_seconds"):
            if pd.isna(run.get(name)):
                raise UserError(f"{run['folder']} lacks {name}; take it from the repository again")
        epochs = int((kept.history(run["folder"])["stage"] == "isolate").sum())
        if epochs != run["isolation_epochs"]:
            raise UserError(
                f"{run['folder'] / 'history.csv'} has {epochs} epochs of phase 1 and not"
                f" {run['isolation_epochs']}; take it from the repository again"
            )


def finding(runs: pd.DataFrame, epochs: pd.DataFrame) -> str:
    """What ABL does at this scale, and what its isolation does, each with its numbers."""
    own = runs[runs["method"] == "abl"]
    by_attack = [(TITLES[name], part) for name, part in own.groupby("attack", sort=False)]
    gone = [
        f"{int((part['attack_success_rate'] <= GONE).sum())} of {len(part)} seeds with {name}"
        for name, part in by_attack
    ]
    kept_accuracy = [percent(part["clean_accuracy"].mean()) for _, part in by_attack]
    undefended = runs.loc[runs["method"] == "none", "clean_accuracy"].mean()
    later = epochs[epochs["epoch"] > 1]
    worst = max(dict.fromkeys(later["attack"]), key=lambda name: later.loc[later["attack"] == name, _RAW].std())
    swings = later[later["attack"] == worst]
    low = [f"{int((swings[score] < LOW).sum())}" for score in (_RAW, _AVERAGED)]
    return (
        f"ABL brings the attack success rate to at most {percent(GONE, 0)} on {_listed(gone)}. The clean accuracy"
        f" that is left is {_listed(kept_accuracy)}, where undefended training has {percent(undefended)}. What it"
        f" isolates swings from epoch to epoch: with {TITLES[worst]} less than {percent(LOW, 0)} of it is poisoned"
        f" after {low[0]} of {len(swings)} epochs, and after {low[1]} of them where averaged weights rank the images."
    )


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _order(column: pd.Series) -> pd.Series:
    ranks = {"attack": list(TITLES), "method": ["none", "abl", "exclude"]}.get(column.name)
    return column if ranks is None else column.map({name: rank for rank, name in enumerate(ranks)})


def _row(own: pd.DataFrame) -> dict:
    """A line of the first table: means over seeds with their range, the paper's numbers, and the verdicts."""
    first = own.iloc[0]
    row = {"attack": TITLES[first["attack"]], "method": first["method"], "n": len(own)}
    row |= {
        metric: mean_and_range(list(own[metric].dropna()))
        for metric in (*_METRICS, "isolation_precision")
        if metric in own
    }
    for metric in _PUBLISHED:
        value = paper.lookup(metric, attack=first["attack"], method=first["method"])
        row[f"paper_{metric}"] = "" if value is None else str(value)
        judged = verdict(metric, list(own[metric]), value, full_scale=True)
        row[f"verdict_{metric}"] = judged.partition(":")[0]  # why it is not judged stands below the table
    return row


def _epochs(own: pd.DataFrame) -> pd.DataFrame:
    """Isolation precision after each epoch of phase 1: attack, seed, epoch, and a column for each score."""
    parts = []
    for _, run in own.iterrows():
        first = kept.history(run["folder"]).query("stage == 'isolate'")
        found = {name: first[f"isolation_precision{suffix}"] for suffix, name in SCORES.items()}
        parts.append(first[["epoch"]].assign(attack=run["attack"], seed=run["seed"], **found))
    return pd.concat(parts, ignore_index=True)


def _scores(epochs: pd.DataFrame) -> list[dict]:
    """For each attack and score: precision at the turning epoch, and in how many epochs after the first it is low."""
    rows = []
    later = epochs[epochs["epoch"] > 1]
    last = epochs[epochs["epoch"] == epochs["epoch"].max()]
    for attack in dict.fromkeys(epochs["attack"]):
        for name in SCORES.values():
            values = later.loc[later["attack"] == attack, name]
            at_end = last.loc[last["attack"] == attack, name]
            rows.append(
                {
                    "attack": TITLES[attack],
                    "score": name,
                    "turning": mean_and_range(list(at_end)),
                    "mean": percent(values.mean()),
                    "lowest": percent(values.min()),
                    "low": f"{int((values < LOW).sum())} of {len(values)}",
                }
            )
    return rows


def _table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The committed table at `path`, all of it or some columns; an empty one where there is none."""
    return pd.read_csv(path, keep_default_na=False, usecols=columns) if path.is_file() else pd.DataFrame()


def _suspects(table: pd.DataFrame) -> list[dict]:
    """For each attack and score: after how many epochs a class is suspected, which, and how much of the poison."""
    rows = []
    for (attack, score), own in table.groupby(["attack", "score"], sort=False) if len(table) else ():
        judged = own[own["classes"] != ""]
        wrong = judged[judged["classes"] != judged["target"].astype(str)]
        recall = pd.to_numeric(judged["isolation_recall"])
        rows.append(
            {
                "attack": TITLES[attack],
                "score": SCORES[f"_{score}"],
                "judged": f"{len(judged)} of {len(own)}",
                "at_end": f"{int((judged['epoch'] == own['epoch'].max()).sum())} of {own['seed'].nunique()}",
                "wrong": str(len(wrong)),
                "precision": mean_and_range(list(pd.to_numeric(judged["isolation_precision"]))),
                "recall": mean_and_range(list(recall)),
            }
        )
    return sorted(rows, key=lambda row: (list(TITLES.values()).index(row["attack"]), row["score"]))


def _figure(epochs: pd.DataFrame) -> Figure:
    attacks = list(dict.fromkeys(epochs["attack"]))
    figure, axes = plt.subplots(
        len(SCORES), len(attacks), figsize=(2.5 * len(attacks), 5.4), sharex=True, sharey=True, squeeze=False
    )
    colours = ["#7a4fa3", "#1b6ca8", "#2a9d4a", "#c8412b", "#8c8c8c"]
    for row, name in zip(axes, SCORES.values(), strict=True):
        for place, attack in zip(row, attacks, strict=True):
            for colour, (seed, own) in zip(colours, epochs[epochs["attack"] == attack].groupby("seed"), strict=False):
                place.plot(own["epoch"], own[name], color=colour, label=f"seed {seed}", linewidth=1.1)
            place.yaxis.set_major_formatter(PercentFormatter(1.0))
            place.set(ylim=(-0.04, 1.04))
        row[0].set_ylabel(name)
    for place, attack in zip(axes[0], attacks, strict=True):
        place.set_title(TITLES[attack])
    for place in axes[-1]:
        place.set_xlabel("epoch of phase 1")
        place.set_xticks([1, 5, 10, 15, 20])
    axes[0, 0].legend(fontsize=7, loc="lower right")
    return figure
