"""Pages of the notebooks that vary one thing: what each leaves of the backdoor, by case, method and attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from ablkit.defenses import METHODS
from ablkit.report import cases, charts, findings
from ablkit.report.collect import Collection, measured
from ablkit.report.figures import TITLES
from ablkit.report.findings import ANSWERED, DEAR, GONE
from ablkit.report.findings.cases import REMOVED, judged, outcomes, places, removes
from ablkit.report.findings.rule import of_earlier_rule
from ablkit.report.findings.words import count, limit
from ablkit.report.page import Block, Cell, Figure, Page, Table, Text, code, link, listed
from ablkit.report.pages import isolation_rate, missing, turning_epoch
from ablkit.report.verdicts import INTERVAL, RED, counted, over_seeds
from ablkit.runs.parameters import USUAL, Cases

_FEWEST = 2
"""Cases of which something can be said about what varies."""
_KNOWN: Mapping[str, Callable[[Collection], tuple[str, list[Block]]]] = {
    "isolation_rate": isolation_rate.known,
    "turning_epoch": turning_epoch.known,
}
"""What the first phases of other runs tell of a question: in a sentence, and as blocks."""
_METRICS = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")
_SHARES = {
    "isolation_precision": "isolated, poisoned, %",
    "exclusion_precision": "suspects, precision, %",
    "exclusion_recall": "suspects, recall, %",
}


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
        " rate, so that its rows in Table 1 here are owed to our settings. All repairs start from the same undefended"
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


@dataclass(frozen=True)
class Studied:
    """A study and the committed runs of its cases."""

    study: Study
    frame: pd.DataFrame
    parameters: Cases
    claimed: str | None
    """The method that is judged: that of the hypothesis or this kit's own; None where neither has cases enough."""
    undefended: pd.DataFrame
    """By attack, the mean numbers of undefended training as in the preset."""

    @property
    def titles(self) -> dict[str, str]:
        """Case -> what it is called."""
        return {name: case.title for name, case in self.parameters.cases.items()}


def studied(c: Collection) -> list[Studied]:
    """What is known of each study."""
    runs = c.main.of("none") if c.main else c.runs.iloc[:0].reindex(columns=["attack", *_METRICS])
    undefended = runs.groupby("attack")[list(_METRICS)].mean()
    return [_studied(c, study, undefended) for study in STUDIES]


def _studied(c: Collection, study: Study, undefended: pd.DataFrame) -> Studied:
    frame, parameters = cases.of_collection(c, study.notebook)
    varied = frame[frame.groupby("method")["case"].transform("nunique") >= _FEWEST]
    tried = set(varied.loc[~varied["case"].isin(USUAL), "method"])
    claimed = next((method for method in (study.claimed, "exclude") if method in tried), None)
    return Studied(study, frame, parameters, claimed, undefended)


def overview(found: list[Studied]) -> Table:
    """A row a study of a setting: in which cases the backdoor is removed on every seed, and in which not."""
    rows = []
    for one in found:
        if one.study.short:
            continue
        question = Cell(link(one.study.title, one.study.name), kind="text")
        if one.claimed is None:
            rows.append((question, "", Cell("not known yet", kind="soft text"), "", "", ""))
            continue
        told = _outcomes(one)
        gone = told["outcome"] == REMOVED
        seeds = counted(*(int(number) for number in told["seeds"]))
        parts = [Cell(places(list(own.index), one.titles), kind="text") for own in (told[gone], told[~gone])]
        rows.append((question, cases.METHODS[one.claimed], f"{gone.sum()} of {len(gone)}", *parts, seeds))
    note = (
        f"Removed: on every seed at most {limit(GONE)} attack success, less than {100 * DEAR:.0f} points of clean"
        f" accuracy lost against undefended training, and at least {limit(ANSWERED)} accuracy in the target class."
        f" Where more is lost the model is of no use ({link('words', 'method.html#terms')})."
    )
    return Table(
        ("question", "method", "removed, pairs", "removed with", "left, or the model of no use, with", "n"),
        rows,
        note=note,
    )


def _outcomes(one: Studied) -> pd.DataFrame:
    runs, _ = judged(one.frame, one.claimed or "")
    return outcomes(runs, one.claimed or "", one.undefended)


def pages(c: Collection, found: list[Studied]) -> list[Page]:
    """A page a study."""
    return [_page(c, one) for one in found]


def _page(c: Collection, one: Studied) -> Page:
    study, frame, titles = one.study, one.frame, one.titles
    first, early = _KNOWN[study.notebook](c) if study.notebook in _KNOWN else ("", [])
    blocks: list[Block] = [Text(study.hypothesis), *early]
    wanted = {(run.attack, case, run.method) for case, run in one.parameters.each()}
    known = set(zip(frame["attack"], frame["case"], frame["method"], strict=True))
    runs = f"{len(wanted & known)} of {count(len(wanted), 'combination')} of attack, case and method"
    if one.claimed is None:
        left = "What is left of the backdoor is not known yet" if first else "Not known yet"
        finding = f"{first} {left}: {runs} were run.".lstrip()
        blocks += [*(_tables(frame, titles) if len(frame) else []), *_not_run(c, study, wanted - known)]
        return Page(study.name, study.title, finding, blocks, study.short)
    untried = [titles[case] for case in titles if case not in set(frame.loc[frame["method"] == one.claimed, "case"])]
    finding = findings.of_cases(frame, titles, one.claimed, one.undefended, is_of_abl=study.is_of_abl)
    if untried:
        finding += ("\n- " if "\n" in finding else "\n\n- ") + f"Not run yet: {listed(untried)}."
    if one.claimed != study.claimed:
        finding = f"Not known yet of {METHODS[study.claimed]}; of this kit's own method: {finding}"
    varied = frame[frame.groupby("method")["case"].transform("nunique") >= _FEWEST]
    blocks += [_figure(varied, one), *_tables(varied, titles), *_not_run(c, study, wanted - known)]
    told = [
        f"{runs} at quick scale: {listed(sorted(set(frame['place'])))}. {measured(frame)}",
        _same_model(frame),
        of_earlier_rule(frame),
        f"Its notebook: {code(study.notebook + '.ipynb')}.",
    ]
    blocks.append(Text(" ".join(part for part in told if part), "soft"))
    return Page(study.name, study.title, finding, blocks, study.short)


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


def _figure(frame: pd.DataFrame, one: Studied) -> Figure:
    alt = f"Attack success and accuracy by case, a column an attack: {one.study.title}"
    told = removes(_outcomes(one), one.claimed or "")
    caption = f"**{told}** A column an attack with several cases, a marker a seed."
    drawn = charts.later(cases.drawn, frame, one.titles, one.parameters.varies)
    return Figure(f"cases-{one.study.notebook.replace('_', '-')}", drawn, alt, caption)


def _tables(frame: pd.DataFrame, titles: Mapping[str, str]) -> list[Block]:
    """A row for each method of each attack and case."""
    frame, rows, before = cases.isolating(frame), [], ("", "")
    shares = {name: title for name, title in _SHARES.items() if name in frame and frame[name].notna().any()}
    for (attack, case), part in frame.groupby(["attack", "case"], sort=False):
        for method, title in cases.METHODS.items():
            own = part[part["method"] == method]
            if own.empty:
                continue
            cells = []
            for metric in (*_METRICS, *shares):
                failed = metric == "attack_success_rate" and method != "none" and own[metric].mean() > GONE
                cells.append(over_seeds(own[metric], bad=failed, digits=0 if metric in shares else 1))
            first = (TITLES[attack] if attack != before[0] else "", titles[case] if (attack, case) != before else "")
            before = attack, case
            rows.append((first[0], *(Cell(text, kind="text") for text in (first[1], title)), *cells, str(len(own))))
    columns = ("attack", "case", "trained", "attack success, %", "clean accuracy, %", "target class, %")
    return [Table((*columns, *shares.values(), "n"), rows, note=f"Mean over seeds. {INTERVAL} {RED}")]
