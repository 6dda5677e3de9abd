"""Pages of the notebooks that vary one thing: what each leaves of the backdoor, by case, method and attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from ablkit.defenses import METHODS
from ablkit.report import cases, charts, findings
from ablkit.report.collect import Collection, measured
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.rule import of_earlier_rule
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Cell, Figure, Page, Table, Text, code, listed
from ablkit.report.pages import isolation_rate, missing, turning_epoch
from ablkit.report.verdicts import INTERVAL, RED, counted, over_seeds

_FEWEST = 2
"""Cases of which something can be said about what varies."""
_KNOWN: Mapping[str, Callable[[Collection], tuple[str, list[Block]]]] = {
    "isolation_rate": isolation_rate.known,
    "turning_epoch": turning_epoch.known,
}
"""What the first phases of other runs tell of a question: in a sentence, and as blocks."""
_METRICS = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")


@dataclass(frozen=True)
class Study:
    """A page, and the notebook whose runs it shows."""

    notebook: str
    title: str
    hypothesis: str
    claimed: str
    """The method that the hypothesis is about."""
    short: str = ""
    """In the navigation; empty where another page leads to it."""
    is_of_abl: bool = False
    """Whether it varies what ABL alone reads, so that undefended training is the same in all cases."""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.notebook.replace('_', '-')}.html"


STUDIES = (
    Study(
        "poison_rate",
        "How much poison can there be?",
        "Hypothesis (paper, its stress test): ABL removes the backdoor whether one image in a hundred is poisoned or"
        " seven in ten.",
        "abl",
    ),
    Study(
        "gamma",
        "Does the threshold of local gradient ascent matter?",
        "Hypothesis (the paper uses one gamma for all experiments): ABL removes the backdoor with others, too. With"
        " gamma 0 the loss of phase 1 is the plain one.",
        "abl",
        is_of_abl=True,
    ),
    Study(
        "isolation_rate",
        "How many images must be isolated?",
        "Hypothesis (the paper isolates one image in a hundred in all experiments): ABL removes the backdoor with fewer"
        " and with more, too.",
        "abl",
        is_of_abl=True,
    ),
    Study(
        "turning_epoch",
        "When should images be isolated?",
        "Hypothesis (the paper isolates after a fifth of the epochs in all experiments): ABL removes the backdoor"
        " earlier and later, too. Phase 1 is longer or shorter here, and the fine-tuning shorter or longer by as many"
        " epochs.",
        "abl",
        is_of_abl=True,
    ),
    Study(
        "repairs",
        "Do the repairs get what they need?",
        "Hypothesis: NAD removes the backdoor where it gets as many clean images as in its paper, or another learning"
        " rate. Else its rows in Table 1 here would be owed to our settings. All repairs start from the same undefended"
        " model.",
        "nad",
    ),
    Study(
        "recipes",
        "Why do published numbers of ABL differ?",
        "Hypothesis: ABL removes the backdoor with each recipe that others train it with, so that the recipe is not why"
        " their numbers differ. Images, model and seeds are the same here; a recipe keeps its number of epochs, so that"
        " it takes fewer steps than where it was published. What of it is not known stands as in the paper's.",
        "abl",
    ),
    Study(
        "adaptive",
        "What does an attacker gain who knows the defence?",
        "Hypothesis of this kit: training without the suspects removes the backdoor of an attacker who knows how they"
        " are found, too. Each way of hiding works against a part of the rule: a trigger that is learned later, poison"
        " in several classes, images with the trigger and their true label, a trigger that tells the label half of the"
        " time, and several triggers at once. The rule was changed for four of these pairs after it had missed them on"
        " seed 0: Blend with the weaker trigger, for three classes and with every class a target, BadNets with two"
        " triggers. What it was before is told under Protocol of the page Clean models.",
        "exclude",
        "Adaptive attacks",
    ),
)


def pages(c: Collection) -> list[Page]:
    """A page a study."""
    return [_page(c, study) for study in STUDIES]


def _page(c: Collection, study: Study) -> Page:
    frame, parameters = cases.of_collection(c, study.notebook)
    titles = {name: case.title for name, case in parameters.cases.items()}
    first, early = _KNOWN[study.notebook](c) if study.notebook in _KNOWN else ("", [])
    blocks: list[Block] = [Text(study.hypothesis), *early]
    wanted = {(one.attack, case, one.method) for case, one in parameters.each()}
    known = set(zip(frame["attack"], frame["case"], frame["method"], strict=True))
    runs = f"{len(wanted & known)} of {count(len(wanted), 'combination')} of attack, case and method"
    enough = frame.groupby("method")["case"].nunique() >= _FEWEST
    claimed = next((method for method in (study.claimed, "exclude") if enough.get(method, False)), None)
    if claimed is None:
        left = "What is left of the backdoor is not known yet" if first else "Not known yet"
        finding = f"{first} {left}: {runs} were run.".lstrip()
        blocks += [*(_tables(frame, titles) if len(frame) else []), *_not_run(c, study, wanted - known)]
        return Page(study.name, study.title, finding, blocks, study.short)
    untried = [titles[case] for case in titles if case not in set(frame.loc[frame["method"] == claimed, "case"])]
    finding = findings.of_cases(frame, titles, claimed, _undefended(c) if study.is_of_abl else None)
    finding += f" Not run yet: {listed(untried)}." if untried else ""
    if claimed != study.claimed:
        finding = f"Not known yet of {METHODS[study.claimed]}; of this kit's own method: {finding}"
    varied = frame[frame.groupby("method")["case"].transform("nunique") >= _FEWEST]
    blocks += [_figure(varied, titles, study), *_tables(varied, titles), *_not_run(c, study, wanted - known)]
    told = [
        f"{runs} at quick scale: {listed(sorted(set(frame['place'])))}. {measured(frame)}",
        _same_model(frame),
        of_earlier_rule(frame),
        f"Its notebook: {code(study.notebook + '.ipynb')}.",
    ]
    blocks.append(Text(" ".join(part for part in told if part), "soft"))
    return Page(study.name, study.title, finding, blocks, study.short)


def _undefended(c: Collection) -> dict[str, float]:
    """Attack -> the mean attack success of undefended training as in the preset."""
    runs = c.main.of("none") if c.main else c.runs.iloc[:0]
    return runs.groupby("attack")["attack_success_rate"].mean().to_dict()


def _same_model(frame: pd.DataFrame) -> str:
    """How many of the undefended runs are known from runs that excluded nothing; empty where none is."""
    number = int(frame["is_same_model"].sum())
    if not number:
        return ""
    were = "was" if number == 1 else "were"
    return (
        f"{number} of the undefended runs {were} not made: where nothing is excluded the model is that of undefended"
        " training, and its numbers stand in both columns."
    )


def _not_run(c: Collection, study: Study, lacking: set[tuple[str, str, str]]) -> list[Block]:
    """The command for each attack of which runs are missing; nothing where all are there."""
    names = [name for name in TITLES if any(attack == name for attack, _, _ in lacking)]
    commands = [f"ablkit run {study.notebook} -p attack_names {name}" for name in names]
    if not commands:
        return []
    return missing.not_run(c, f"{count(len(lacking), 'combination')} of attack, case and method", commands)


def _figure(frame: pd.DataFrame, titles: Mapping[str, str], study: Study) -> Figure:
    alt = f"Attack success and accuracy by case, a column an attack: {study.title}"
    caption = f"**{_spread(frame)}** A column an attack, a marker a seed."
    return Figure(f"cases-{study.notebook.replace('_', '-')}", charts.later(cases.drawn, frame, titles), alt, caption)


def _spread(frame: pd.DataFrame) -> str:
    """How far the mean attack success of each method reaches over the cases."""
    told, ran = [], set()
    for method in cases.METHODS:
        own = frame[frame["method"] == method]
        means = own.groupby(["attack", "case"])["attack_success_rate"].mean()
        if len(means):
            ends = dict.fromkeys(f"{100 * value:.0f}" for value in (means.min(), means.max()))
            told.append(f"{' to '.join(ends)} % ({cases.METHODS[method]})")
            ran.add(tuple(means.index))
    apart = (
        ". They were not run on the same ones: do not hold these numbers against one another" if len(ran) > 1 else ""
    )
    return f"Over attacks and cases the mean attack success is {listed(told)}{apart}."


def _tables(frame: pd.DataFrame, titles: Mapping[str, str]) -> list[Block]:
    frame, rows = cases.isolating(frame), []
    methods = [name for name in cases.METHODS if name in set(frame["method"])]
    shares = {"isolation_precision": "isolated, poisoned, %", "exclusion_precision": "suspects, precision, %"}
    shares["exclusion_recall"] = "suspects, recall, %"
    shares = {name: title for name, title in shares.items() if name in frame and frame[name].notna().any()}
    for (attack, case), own in frame.groupby(["attack", "case"], sort=False):
        cells: list[Cell] = []
        for metric in _METRICS:
            for method in methods:
                values = own.loc[own["method"] == method, metric]
                failed = metric == "attack_success_rate" and method != "none" and values.mean() > GONE
                cells.append(over_seeds(values, bad=failed))
        cells += [over_seeds(own[name], digits=0) for name in shares]
        number = counted(*own.groupby("method")["seed"].nunique())
        rows.append((TITLES[attack], Cell(titles[case], kind="text"), *cells, number))
    columns = ("attack", "case", *([cases.METHODS[m] for m in methods] * len(_METRICS)))
    groups = (("", 2), ("attack success, %", len(methods)), ("clean accuracy, %", len(methods)))
    groups += (("target class, %", len(methods)),)
    groups += (("", len(shares) + 1),)
    return [Table((*columns, *shares.values(), "n"), rows, groups, f"Mean over seeds. {INTERVAL} {RED}")]
