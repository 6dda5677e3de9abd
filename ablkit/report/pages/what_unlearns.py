"""Which part of ABL's unlearning does the work: its ascent, or the drift of the batch norm statistics under it."""

from __future__ import annotations

import pandas as pd

from ablkit.report import arms, charts, findings
from ablkit.report.collect import Collection, Scale, differences, measured, standard_rate
from ablkit.report.figures import TITLES
from ablkit.report.findings.words import count, percent
from ablkit.report.page import Block, Cell, Figure, Page, Table, Text, code
from ablkit.report.pages import missing
from ablkit.report.verdicts import INTERVAL, over_seeds
from ablkit.runs import comparisons
from ablkit.runs.parameters.arms import ARMS

_NAME, _TITLE, _SHORT = "what-unlearns.html", "Is it the ascent that unlearns?", "What unlearns"
_NOTEBOOK = "what_unlearns"
_OF_ARMS = {"carry_momentum", "unlearn_batchnorm", "model"}
"""What arms of the unlearning change of a recipe."""


def page(c: Collection) -> Page:
    """The arms on the attacks where they were run at the main scale."""
    blocks: list[Block] = [
        Text(
            "Hypothesis (paper, section 3): gradient ascent on the isolated images unlearns the backdoor. In the"
            " authors' code two things happen at once: the weights ascend, and the statistics of batch norm drift to"
            " those of poisoned images. Each arm starts from the same fine-tuned model and has one of the two off, or"
            " another loss or other batches. The verdict is about the schedule of ABL and about joint batches."
        ),
    ]
    frame, epochs = of_arms(c)
    if frame.empty:
        asked = missing.not_run(c, "the parts of the unlearning on any attack", [f"ablkit run {_NOTEBOOK}"])
        return Page(_NAME, _TITLE, "Not known yet: 0 of its runs were made.", [*blocks, *asked], _SHORT)
    for attack in dict.fromkeys(frame["attack"]):
        drawn = charts.later(charts.arms, epochs[epochs["attack"] == attack])
        own = frame[frame["attack"] == attack]
        caption = (
            f"**{TITLES[attack]}: {_caption(own)}** A panel an arm, a line a seed, from the fine-tuned model (epoch 0)"
            " to a marker where the run ends; one arm may have more epochs. Start and end are measured on all test"
            " images, what lies between on a sample."
        )
        alt = f"Attack success and accuracy along the unlearning of {TITLES[attack]}, a panel an arm"
        blocks += [Figure(f"what-unlearns-{attack}", drawn, alt, caption), _table(own)]
    blocks += [
        Text(
            "Ascent: the authors' code. Statistics alone: the same batches with learning rate 0, so that no weight"
            " changes. Frozen: the running statistics are used and kept while the weights ascend; *more"
            " epochs*: until few isolated images keep their label; that arm was added after the others had been seen."
            " Statistics of kept images: taken anew once, without any training. What each arm does is said in"
            f" {code(_NOTEBOOK + '.ipynb')}."
        ),
        *_not_run(c, frame),
        Text(f"{c.main.title}. {measured(frame)} {INTERVAL} {code(f'ablkit run {_NOTEBOOK}')} makes them all.", "soft"),
    ]
    return Page(_NAME, _TITLE, findings.of_arms(frame), blocks, _SHORT)


def _not_run(c: Collection, frame: pd.DataFrame) -> list[Block]:
    """The arms that lack an attack of the page, each with the command that runs it."""
    commands = []
    for arm in ARMS:
        own = set(frame.loc[frame["arm"] == arm, "attack"])
        if lacks := " ".join(name for name in dict.fromkeys(frame["attack"]) if name not in own):
            named = f"'{lacks}'" if " " in lacks else lacks
            commands.append(f"ablkit run {_NOTEBOOK} -p arm_names {arm} -p attack_names {named}")
    return missing.not_run(c, f"{count(len(commands), 'arm')} on some attacks", commands) if commands else []


def of_arms(c: Collection) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of arms at the main scale, of attacks and seeds that have more than ABL itself, and their epochs."""
    if c.main is None:
        return pd.DataFrame(), pd.DataFrame()
    known = c.runs[[_is_comparable(run, c.main) for _, run in c.runs.iterrows()]]
    histories = {run["key"]: c.history(run).to_dict("records") for _, run in known.iterrows()}
    frame, epochs = comparisons.with_epochs(known, histories)
    poisoned_set = ["attack", "seed"]
    tried = frame.loc[frame["method"] == "unlearn", poisoned_set].drop_duplicates()
    if tried.empty:
        return pd.DataFrame(), pd.DataFrame()
    return frame.merge(tried, on=poisoned_set), epochs.merge(tried, on=poisoned_set)


def _is_comparable(run: pd.Series, scale: Scale) -> bool:
    """Whether a run is of the scale but for what an arm changes."""
    rate = standard_rate(scale.preset, run["attack"])
    own = (run["dataset"], run["place"], run["poison_rate"], run["attack_settings"])
    same = own == (scale.dataset, scale.place, rate, "") and run["method"] in ("abl", "unlearn")
    return same and set(differences(run, scale.preset)) <= _OF_ARMS


def _caption(own: pd.DataFrame) -> str:
    """What the ascent, statistics alone and the ascent with frozen statistics leave, in a sentence."""
    left = own.groupby("arm")["attack_success_rate"].mean()
    names = [name for name in ("train", "statistics", "frozen") if name in left]
    told = [f"{findings.ARM_TITLES[name]} {percent(left[name])}" for name in names]
    return f"attack success left: {'; '.join(told)}."


def _table(own: pd.DataFrame) -> Table:
    columns = ("arm", *(f"{title}, %" for title in arms.SHARES), "epochs", "n")
    rows = [
        (row.title, *(over_seeds(values) for values in row.shares.values()), Cell(row.epochs, kind="soft"), str(row.n))
        for row in arms.rows(own)
    ]
    return Table(columns, rows)
