"""Does isolation depend on luck? First phases of ABL alone, ranked by every score after each epoch."""

from __future__ import annotations

from functools import partial

import pandas as pd

from ablkit.attacks import ATTACKS
from ablkit.metrics import summary
from ablkit.report import charts, isolators
from ablkit.report.collect import Collection, differences
from ablkit.report.figures import TITLES
from ablkit.report.findings import PRECISE, RELIABLE
from ablkit.report.findings.isolators import (
    SCORES,
    SETTLED,
    at_the_end,
    in_short,
    loss_title,
    of_losses,
    of_scores,
    on_all_losses,
    settled,
)
from ablkit.report.findings.words import count, limit
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code, link, listed
from ablkit.report.pages import missing
from ablkit.report.verdicts import percent_number
from ablkit.runs.parameters import changed, check, defaults, losses

_TITLE, _NAME = "Does isolation depend on luck?", "isolation.html"
LOSSES = "lga-0.5 plain flooding-0.5 lga-0.25 lga-1 lga-0.5-per-sample"
"""The losses of phase 1 that the page compares; scores are compared under the first."""
_LONGEST = 20
"""Epochs of phase 1 of the runs that compare all of these losses."""
_COMMANDS = (
    "ablkit run isolators",
    f"ablkit run isolators -p attack_names 'badnets blend sig' -p losses '{LOSSES}' -p epochs {_LONGEST}",
)
_OTHERWISE = {"isolation_epochs", "finetune_epochs", "unlearn_epochs", *losses.SETTINGS}
"""Parameters in which these runs may differ from those of the quick preset."""
_KEPT = {"fresh_statistics", "averaged"}
"""What a run keeps in whose phase 1 scores may be compared."""


_HOW = {
    "loss": "the loss of each image under the weights at the end of the epoch",
    "fresh_statistics": "the same, once the statistics of batch norm are computed anew on training images",
    "averaged": "the same under an average of the weights over the last steps",
    "median": "the median of each image's loss over the epochs so far",
    "last_three": "the mean of its log-loss over the last three epochs",
    "class_first": "images of the class whose averaged losses split best into two groups come first, then by loss",
}


AIM = 0.95
"""Share of the isolated images that should be poisoned on every seed, before anything is unlearned."""


def page(c: Collection) -> Page:
    """What each score isolates after each epoch, and what the loss of phase 1 adds."""
    hypothesis = (
        "Hypothesis (paper, section 3): after the turning epoch the images of the lowest loss are the poisoned ones;"
        " local gradient ascent (LGA) makes it so."
    )
    blocks: list[Block] = [Text(hypothesis)]
    frame = first_phases(c)
    main = frame[frame["loss"] == frame["loss"].iloc[0]] if len(frame) else frame
    if frame.empty:
        number = len(check("isolators", changed("isolators", "quick", {})).runs())
        finding = f"Not known yet: none of the {count(number, 'run')} that would tell is there."
        nothing = missing.not_run(c, "first phases that keep their scores", list(_COMMANDS))
        return Page(_NAME, _TITLE, finding, [*blocks, *nothing], "Isolation")
    blocks += [_words(main), _scores(frame), Text(at_the_end(main, AIM)), *_figures(main)]
    blocks += [*_losses(frame), *_not_run(c, frame)]
    runs = count(len(frame.groupby(["attack", "loss", "seed"])), "run")
    blocks.append(
        Text(
            f"Numbers: phase 1 of {runs} ({frame['place'].iloc[0]}; runs on other hardware are not mixed in), in"
            " data/KEY/history.csv; what came after it, if anything, is another matter."
            f" The same at the paper's scale: {link('there', 'paper-scale.html')}. What a failed isolation does to the"
            f" outcome: {link('settings', 'settings.html')}."
            f" {link('Every run with its command', 'runs.html')}.",
            "soft",
        )
    )
    return Page(_NAME, _TITLE, in_short(frame), blocks, "Isolation")


def _words(main: pd.DataFrame) -> Text:
    """What each score is, and when one counts as reliable or as luck."""
    lines = [f"- **{name}**: {_HOW[score]}" for score, name in SCORES.items() if score in set(main["score"])]
    rule = (
        f"After an epoch a score is reliable where at least {limit(RELIABLE)} of what it would isolate is poisoned, and"
        f" a run where it is so after every epoch from {SETTLED} on. It is luck where a run has one such epoch and"
        f" another below {limit(PRECISE)}."
    )
    return Text("\n".join([rule, "", *lines]))


def _scores(frame: pd.DataFrame) -> Table:
    """How often each score is reliable, and how often by luck."""
    counts = of_scores(frame)
    rows = [
        (
            Cell(SCORES[name], kind="text"),
            *(str(row[column]) for column in ("epochs", "runs", "luck")),
        )
        for name, row in counts.iterrows()
    ]
    epochs, runs = (int(counts[column].iloc[0]) for column in ("of_epochs", "of_runs"))
    columns = ("score", f"reliable, of {count(epochs, 'epoch')}", f"reliable, of {count(runs, 'run')}", "luck, runs")
    return Table(columns, rows)


def _not_run(c: Collection, frame: pd.DataFrame) -> list[Block]:
    """The losses, the lengths and the attacks that no first phase is there of, each with the command that makes it."""
    blocks: list[Block] = []
    lacking = [name for name in LOSSES.split() if name not in set(frame["loss"])]
    left = [f"other losses of phase 1 ({listed(lacking)})"] if lacking else []
    if (frame.groupby("loss")["epoch"].max() < _LONGEST).any():
        left.append(f"longer first phases ({_LONGEST} epochs)")
    if left:
        blocks += missing.not_run(c, " and ".join(left), list(_COMMANDS[1:]))
    known = set(frame.loc[frame["loss"] == frame["loss"].iloc[0], "attack"])
    attacks = [TITLES[name] for name in ATTACKS if name not in known]
    if attacks:
        blocks += missing.not_run(c, f"first phases with {listed(attacks)}", list(_COMMANDS[:1]))
    return blocks


def first_phases(c: Collection) -> pd.DataFrame:
    """What each score isolates in phase 1 of the runs that kept them all; see `comparisons.isolators`.

    Phase 1 is the same whatever comes after it. LGA as in the paper comes first.
    """
    parts = [summary.isolators([], attack="", loss="", seed=0, poisoned=0.0)]
    runs = c.runs
    if len(runs):  # an undefended run has no loss of phase 1 but the plain one, whatever its parameters say
        keeps = runs["trajectories"].map(lambda kept: set(kept.split()) >= _KEPT)
        runs = runs[keeps & runs["method"].isin(["abl", "exclude"])]
    longest = runs.sort_values("isolation_epochs", ascending=False, kind="stable") if len(runs) else runs
    same = ["dataset", "attack", "seed", "place", "poison_rate", "attack_settings", "model", "train_size"]
    same += losses.SETTINGS
    for _, run in longest.drop_duplicates(same).sort_index().iterrows():
        loss = losses.name_of(run["isolation_loss"], run["gamma"], run["per_sample"])
        standard = run["poison_rate"] == ATTACKS[run["attack"]].quick_rate and not run["attack_settings"]
        if standard and run["dataset"] == "cifar10" and not {*differences(run, "quick")} - _OTHERWISE:
            of = {"attack": run["attack"], "loss": loss, "seed": run["seed"]}
            share = run.get("poisoned_images", float("nan")) / run["training_images"]
            history = c.history(run).to_dict("records")
            parts.append(summary.isolators(history, **of, poisoned=share).assign(place=run["place"]))
    frame = pd.concat(parts[1:] or parts, ignore_index=True)
    if frame.empty:
        return frame
    # Numbers of two kinds of hardware are not mixed.
    frame = frame[frame["place"] == frame.groupby("place")["seed"].count().idxmax()]
    order = {name: place for place, name in enumerate(LOSSES.split())}
    return frame.sort_values("loss", key=lambda names: names.map(order).fillna(len(order)), kind="stable")


def _figures(main: pd.DataFrame) -> list[Block]:
    """The scores by epoch, and how low each falls."""
    seeds = count(main["seed"].nunique(), "seed")
    how = f"A panel an attack, a line a seed; dotted: {limit(RELIABLE)}."
    first = f"**{_steadier(main)}** {how}"
    last = main[main["epoch"] == main["epoch"].max()]
    auroc = last.groupby("score")["auroc"].median()
    ranked = (
        f"**As a ranking of all images, the median AUROC after epoch {main['epoch'].max()} is {auroc['loss']:.3f} by"
        f" the loss and {auroc['averaged']:.3f} by averaged weights.** A line a seed; dotted: chance."
    )
    every = (
        f"**{_counts(main)}** A panel an attack, a dot for each seed and epoch from {SETTLED} on, a bar at the median;"
        f" dotted: {limit(RELIABLE)}."
    )
    drawn = {
        "isolation-precision": (isolators.by_epoch, first, "Poisoned among the isolated after each epoch, two scores"),
        "isolation-scores": (
            isolators.by_score,
            every,
            "Poisoned among the isolated by score, epochs and seeds as dots",
        ),
        "isolation-auroc": (partial(isolators.by_epoch, metric="auroc"), ranked, "AUROC after each epoch, two scores"),
    }
    blocks: list[Block] = [Heading("The isolated images")]
    for name, (draw, caption, alt) in drawn.items():
        blocks.append(Figure(name, charts.later(draw, main), f"{alt}, a panel an attack, {seeds}", caption))
    blocks.append(Heading("How low each score falls"))
    for metric, what in (
        ("precision", f"the first {limit(defaults('run')['isolation_rate'])} isolated"),
        ("precision_at_5", f"the first {limit(0.05)} isolated"),
        ("precision_at_10", f"the first {limit(0.1)} isolated"),
        ("auroc", "AUROC"),
    ):
        blocks.append(_spread(main, metric, what))
    return blocks


def _steadier(main: pd.DataFrame) -> str:
    """How often each of the two scores of the first figure fails."""
    rows = settled(main)
    low = {s: int((rows.loc[rows["score"] == s, "precision"] < PRECISE).sum()) for s in isolators.FOLLOWED}
    number = int((rows["score"] == "loss").sum())
    return (
        f"From epoch {SETTLED} on, less than {limit(PRECISE)} of the isolated images are poisoned after {low['loss']}"
        f" of {count(number, 'epoch')} by the loss, and after {low['averaged']} by averaged weights."
    )


def _counts(main: pd.DataFrame) -> str:
    """After how many epochs each score is reliable."""
    rows = settled(main)
    good = (rows["precision"] >= RELIABLE).groupby(rows["score"]).sum()
    told = listed([f"{name} {int(good[score])}" for score, name in SCORES.items() if score in good])
    number = int((rows["score"] == "loss").sum())
    return f"Epochs after which a score is reliable, of {number}: {told}."


def _spread(main: pd.DataFrame, metric: str, what: str) -> Table:
    found, poisoned = isolators.spread(main, metric), main.groupby("attack")["poisoned"].mean()
    scores = [name for name in SCORES if name in set(main["score"])]
    rows = []
    for attack, own in found.items():
        cells = [_cell(*own.get(score, (None, None)), metric) for score in scores]
        rows.append((TITLES[attack], Cell(percent_number(poisoned[attack], 1)), *cells))
    groups = (("", 2), (f"{what}{'' if metric == 'auroc' else ', poisoned, %'}", len(scores)))
    note = f"Median over seeds and epochs from {SETTLED} on; below it the lowest."
    if metric == "precision":
        note += f" Red: less than {limit(PRECISE)} on some seed after some epoch."
    if metric.startswith("precision_at"):
        note += " More than all poisoned images cannot be found, whatever the score."
    return Table(("attack", "poisoned, % of the set", *(SCORES[score] for score in scores)), rows, groups, note)


def _cell(median: float | None, lowest: float | None, metric: str) -> Cell:
    if median is None or median != median:
        return Cell("-", kind="soft")
    shown = [f"{v:.3f}" if metric == "auroc" else f"{100 * v:.0f}" for v in (median, lowest)]
    return Cell(shown[0], f"lowest {shown[1]}", "bad" if metric == "precision" and lowest < PRECISE else "")


def _losses(frame: pd.DataFrame) -> list[Block]:
    """The same trainings under other losses of phase 1; nothing for a single loss."""
    counts = of_losses(frame)
    if counts.empty:
        return []
    own = on_all_losses(frame)
    runs, epochs = len(own.groupby(["attack", "seed"])), int(counts["of_epochs"].iloc[0])
    told = "; ".join(f"{row['loss']} with {loss_title(loss)}" for loss, row in counts.iterrows())
    caption = (
        f"**Epochs after which the loss isolates reliably, of {epochs}: {told}.** A row an attack, a column a loss of"
        f" phase 1, a line a seed; the same {count(runs, 'run')} in each column. {code('gamma=0')} would be plain"
        " training: no mean loss lies below it."
    )
    alt = "Isolation precision after each epoch, a panel for each attack and loss of phase 1"
    rows = [
        (Cell(loss_title(loss), kind="text"), *map(str, row[["loss", "averaged"]])) for loss, row in counts.iterrows()
    ]
    return [
        Heading("What the loss of phase 1 adds"),
        Table(
            ("loss of phase 1", "by the loss", "by averaged weights"),
            rows,
            (("", 1), (f"reliable, of {epochs} epochs", 2)),
        ),
        Figure("isolation-losses", charts.later(isolators.by_epoch, own), alt, caption),
    ]
