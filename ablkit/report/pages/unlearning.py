"""Other ways to use the images that ABL has isolated, and which part of its own unlearning does the work."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ablkit.defenses import named
from ablkit.report import arms, charts, findings
from ablkit.report.collect import Collection, Scale, differences, standard_rate
from ablkit.report.figures import TITLES
from ablkit.report.findings.words import percent
from ablkit.report.page import Block, Cell, Figure, Heading, Page, Table, Text, code
from ablkit.report.pages import missing
from ablkit.report.pages.defenses import of_methods
from ablkit.report.verdicts import INTERVAL, over_seeds
from ablkit.runs import comparisons

_NOTEBOOK = "what_unlearns"
_OF_ARMS = {"carry_momentum", "model"}
"""What arms of the unlearning change of a recipe."""


def page(c: Collection) -> Page:
    """The ways to use the isolated images, beside ABL's gradient ascent."""
    names = ["abl", *named("ways"), "oracle"]
    text = (
        "Hypothesis (paper, comparison of ways to unlearn): of all ways to use the isolated 1 % gradient ascent removes"
        " the backdoor best. Training again without them is the control: 1 % is too little to leave out. The row of"
        " gradient ascent is ABL's own last stage, started without the momentum of the fine-tuning."
    )
    title = "Unlearning: what to do with the isolated images"
    made = of_methods(c, "unlearning.html", title, "Unlearning", names, text, "unlearning", "gradient_ascent")
    return replace(made, blocks=[*made.blocks, *what_unlearns(c)])


def what_unlearns(c: Collection) -> list[Block]:
    """Which part of the ascent does the work, on the attacks whose arms were run at the main scale."""
    blocks: list[Block] = [
        Heading("Is it the ascent that unlearns?", "what-unlearns"),
        Text(
            "Hypothesis (paper, section 3): gradient ascent on the isolated images unlearns the backdoor. In the"
            " authors' code two things happen at once: the weights ascend, and the statistics of batch norm drift to"
            " those of poisoned images. Each arm starts from the same fine-tuned model and has one of the two off, or"
            " another loss or other batches; the arm with group norm has no such statistics."
        ),
    ]
    frame, epochs = of_arms(c)
    if frame.empty:
        return [*blocks, *missing.not_run(c, "the parts of the unlearning on any attack", [f"ablkit run {_NOTEBOOK}"])]
    blocks.append(Text(findings.of_arms(frame)))
    for attack in dict.fromkeys(frame["attack"]):
        drawn = charts.later(charts.arms, epochs[epochs["attack"] == attack])
        own = frame[frame["attack"] == attack]
        caption = (
            f"**{TITLES[attack]}: {_caption(own)}** A panel an arm, a line a seed, from the fine-tuned model (epoch 0)"
            " to a marker where the run ends. Both are measured on all test images, what lies between on a sample."
        )
        alt = f"Attack success and accuracy along the unlearning of {TITLES[attack]}, a panel an arm"
        blocks += [Figure(f"what-unlearns-{attack}", drawn, alt, caption), _table(own)]
    return [*blocks, Text(f"{c.main.title}. {INTERVAL} Its notebook: {code(_NOTEBOOK + '.ipynb')}.", "soft")]


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
