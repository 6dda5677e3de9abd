"""Does isolation work whatever the architecture? First phases of ABL alone, with several models."""

from __future__ import annotations

import pandas as pd

from ablkit.metrics import summary
from ablkit.report import architectures, charts
from ablkit.report.collect import Collection, differences, measured
from ablkit.report.figures import TITLES
from ablkit.report.findings import of_architectures
from ablkit.report.findings.architectures import model_title
from ablkit.report.findings.words import RELIABLE, count, limit
from ablkit.report.page import Block, Figure, Page, Table, Text, code, listed
from ablkit.report.verdicts import INTERVAL, over_seeds
from ablkit.runs.parameters import OneRun, changed, check

NAME, _TITLE, _SHORT = "architectures.html", "Does isolation work whatever the architecture?", "Architectures"
_VARIED = {"model", "isolation_epochs", "finetune_epochs", "unlearn_epochs", "train_size"}
"""Parameters in which these runs may differ from those of the quick preset."""

_MINUTES = {
    "wrn-16-1": 7,
    "wrn-40-2": 76,
    "resnet-18": 104,
    "resnet-34": 188,
    "preact-resnet-18": 99,
    "vgg-16-bn": 86,
    "mobilenet-v3-small": 7,
    "mobilenet-v3-large": 20,
}
"""Model -> estimated minutes of one run."""
_METRICS = {
    "isolation_precision": "isolated, poisoned, %",
    "isolation_precision_averaged": "by averaged weights, %",
    "attack_success_rate": "attack success, %",
    "clean_accuracy": "clean accuracy, %",
}


def page(c: Collection) -> Page:
    """What phase 1 isolates with each model, and what it has learned."""
    hypothesis = (
        "Hypothesis (paper, section 3): after the turning epoch the images of the lowest loss are the poisoned ones,"
        " whatever network is trained. The paper trains WRN-16-1 and ResNet-34."
    )
    blocks: list[Block] = [Text(hypothesis)]
    wanted = check("architectures", changed("architectures", "quick", {})).runs()
    runs, epochs = first_phases(c, wanted)
    lacking = _lacking(wanted, runs)
    if epochs.empty:
        finding = f"Not known yet: none of the {count(len(wanted), 'run')} that would tell is there."
        return Page(NAME, _TITLE, finding, [*blocks, *lacking], _SHORT)
    verdict, _, rest = of_architectures(epochs).partition("\n")
    size = f"{wanted[0].train_size:,} CIFAR-10 images, {count(wanted[0].isolation_epochs, 'epoch')}"
    blocks += [Text(rest.strip()), *_drawn(epochs, size), *lacking, Text(measured(runs), "soft")]
    return Page(NAME, _TITLE, verdict, blocks, _SHORT)


def first_phases(c: Collection, wanted: list[OneRun]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of phase 1 alone that the notebook compares by default, and their epochs; see `summary.first_phase`."""
    empty = summary.first_phase([], model="", attack="", seed=0)
    runs = c.runs[c.runs["is_first_phase"]] if len(c.runs) else c.runs
    if runs.empty:
        return runs, empty
    same = {(one.attack, one.model, one.seed, one.train_size, one.isolation_epochs, one.poison_rate) for one in wanted}
    names = ["attack", "model", "seed", "train_size", "isolation_epochs", "poison_rate"]
    fits = [
        tuple(run[names]) in same
        and run["dataset"] == "cifar10"
        and not run["attack_settings"]
        and not {*differences(run, "quick")} - _VARIED
        for _, run in runs.iterrows()
    ]
    runs = runs[fits]
    if runs.empty:
        return runs, empty
    # Numbers of two kinds of hardware are not mixed.
    runs = runs[runs["place"] == runs["place"].value_counts().idxmax()]
    order = {one.model: place for place, one in enumerate(wanted)}
    runs = runs.sort_values("model", key=lambda models: models.map(order), kind="stable")
    parts = []
    for _, run in runs.iterrows():
        of = {"model": run["model"], "attack": run["attack"], "seed": run["seed"]}
        parts.append(summary.first_phase(c.history(run).to_dict("records"), **of))
    return runs, pd.concat(parts, ignore_index=True)


def _drawn(epochs: pd.DataFrame, size: str) -> list[Block]:
    first = f"**{size}.** A line a model and attack, a marker a seed; dotted: {limit(RELIABLE)}."
    return [
        Figure(
            "architectures",
            charts.later(architectures.after_phase_1, epochs),
            "Poisoned among the isolated, attack success and clean accuracy after phase 1, by model and attack",
            first,
        ),
        _table(epochs),
        Figure(
            "architectures-epochs",
            charts.later(architectures.by_epoch, epochs),
            "Precision of isolation, attack success and clean accuracy by epoch, a panel a model and attack",
            "**When the backdoor is learned, and what isolation would take then.** A panel a model and attack, a line a"
            " seed. Between the epochs the attack success is measured on a sample of test images.",
        ),
    ]


def _table(epochs: pd.DataFrame) -> Table:
    """A row a model and attack, after the last epoch of phase 1."""
    rows, before = [], ""
    for (model, attack), own in architectures.ends(epochs).groupby(["model", "attack"], sort=False):
        cells = (over_seeds(own[metric]) for metric in _METRICS)
        rows.append((model_title(model) if model != before else "", TITLES[attack], *cells, str(len(own))))
        before = model
    return Table(("model", "attack", *_METRICS.values(), "n"), rows, note=f"Mean over seeds. {INTERVAL}")


def _lacking(wanted: list[OneRun], runs: pd.DataFrame) -> list[Block]:
    """The models of which runs are missing, with the command of each."""
    there = set(zip(runs["attack"], runs["model"], runs["seed"], strict=True)) if len(runs) else set()
    missed = list(dict.fromkeys(one.model for one in wanted if (one.attack, one.model, one.seed) not in there))
    if not missed:
        return []
    lines = []
    for name in missed:
        number = sum(one.model == name for one in wanted)
        cost = f" of about {_MINUTES[name]} minutes" if name in _MINUTES else ""
        lines.append(f"- {code(f'ablkit run architectures -p model_names {name}')}: {count(number, 'run')}{cost}")
    what = f"phase 1 alone with {listed([model_title(name) for name in missed])}, in part or at all"
    how = (
        "Minutes are estimates for one busy core without bf16, from one epoch on 500 images."
        f" {code('ablkit sweep notebooks/sweeps/architectures.yaml')} makes the runs of the cheaper models."
    )
    text = "\n".join(lines)
    return [Text(f"**Not run:** {what}.\n\n{text}", "notice"), Text(how, "soft")]
