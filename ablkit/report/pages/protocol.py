"""How training without the suspects works, and how its rule came about: the words of the page on clean models."""

from __future__ import annotations

import pandas as pd

from ablkit.exclusion import rule
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.beside import NEAR
from ablkit.report.findings.rule import CHANGES, UNSEEN, UNSEEN_BY, is_earlier
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Cell, Heading, Table, Text, code, link, listed
from ablkit.report.text import percent

_POINTS = {metric: f"{100 * limit:.0f}" for metric, limit in NEAR.items()}

_COMMAND = "ablkit run run -p method exclude"
_RULE = rule.Settings()
_STEPS = (
    "**Phase 1 of ABL** is trained, its weights averaged along the way.",
    "**First look.** The images of each class are cut in two. A group starts from the lowest losses under the averaged"
    " model, or from the first principal components of what its layers see, or from clusters in these. A linear"
    " discriminant then says anew which image belongs to it, until none moves. It is fitted on one half of the images"
    " and applied to the other; look-alikes are in one half.",
    f"**A class is suspected** where its two groups lie {_RULE.least_separation:g} deviations apart or more, with a"
    " valley between them. A deviation is the spread inside the groups along the discriminant. A valley is a place"
    f" midway with at most {percent(_RULE.most_valley, 0)} as many images as the middle of a group has. The halves are"
    f" drawn {_RULE.draws} times, and the draw of the middle valley counts. The smaller group has"
    f" {_RULE.least_group} images or more, and at least {percent(_RULE.least_part, 0)} of the class. It is spread over"
    f" {_RULE.least_looks:g} groups of about twenty look-alikes or more, as some films make a group, too; that is not"
    " asked for where a group looks like its class no more often than by chance. A class of fewer than"
    f" {_RULE.least_images} images is not judged.",
    "**The suspects** are the group whose images look like those of other classes, as most attackers take them from"
    " there. This is told by small grey thumbnails, without the half of their cells in which the groups differ most:"
    " of each image, how many of the five that look most like it have its label, above chance. In the one group that"
    f" has to be less than {percent(_RULE.most_own, 0)} of what it is in the other. Where the look does not tell, the"
    " groups need to lie"
    f" {_RULE.least_separation_alike:g} deviations apart, and the suspects are the group that lies farther from the"
    " images of all other classes. What is left of the class is cut again, until no group stands out: several triggers"
    " are several groups.",
    "**Training without the suspects.** Fresh weights are trained without the suspects of classes whose groups lie"
    f" {_RULE.least_separation_at_end:g} deviations apart or more. What is left of such a class is repeated until it is"
    " as large as the others.",
    "**Second look.** What that model sees is judged in the same way, of all images that were not left out;"
    f" {_RULE.least_separation_at_end:g} deviations are asked for. Of a class of which nothing was left out, and that"
    " both looks suspect, the second counts.",
    "**Training once more**, where suspects of either look were not left out yet.",
)
_CHANGED = (
    (
        "2",
        "Dynamic, seed 0, with 5.4 deviations",
        "5 deviations are enough, in place of 6. Look-alikes are in one half and the middle of five draws decides, as"
        " frames of films were taken for poison on GTSRB, seeds 100 and 101",
    ),
    ("3", "Dynamic, seed 1, whose losses are no longer the lowest at the end", "the lowest medians start a group, too"),
    (
        "4",
        "Blend for three classes, seed 0, where no start by losses leads to the poison",
        "groups also start from the features, and the one less like the other classes is left out",
    ),
    (
        "5",
        "Blend with a weak trigger, seed 0, which phase 1 is too short to learn",
        "a second look, at the end",
    ),
    ("6", "4 of 10 classes of Blend with every class a target, seed 0", "the second look always happens"),
    (
        "7",
        "one of two triggers of BadNets, seed 0",
        "groups start from clusters of the features, too; what is left of a suspected class is cut again, in the"
        " second look as well",
    ),
    (
        "7",
        "nothing; but 82 ships were suspected on seed 1 of DFST, 81 of them decoys of the attacker",
        "six clusters beside three were dropped again",
    ),
    (
        "8",
        "on folders of GTSRB, seed 0, the clean half of Blend's class was left out in place of the poison, and clean"
        " classes were suspected",
        "the look says which group is the poison; where it does not, 6.5 deviations are asked for; a group that is"
        " spread over few look-alikes does not count; classes of fewer than 200 images are not judged",
    ),
)
"""Number of the rule, what of the reported runs an earlier one had missed, and what was changed."""


def how(own: pd.DataFrame) -> list[Block]:
    """The steps of the method, and by which rule the runs shown were made.

    Args:
        own: the runs shown.
    """
    given = f"Neither clean images nor the poisoning rate nor the target class is given to {code(_COMMAND)}."
    return [
        Heading("How it works", "how"),
        Text("\n".join(f"- {step}" for step in _STEPS)),
        Text(" ".join(filter(None, [given, _made_before(own)]))),
    ]


def blocks(own: pd.DataFrame, full: pd.DataFrame, stopped: pd.DataFrame) -> list[Block]:
    """The protocol, and what of it was changed when.

    Args:
        own: the runs shown.
        full: those at the paper's scale.
        stopped: those that were begun there and did not end; see `paper_scale`.
    """
    lines = (
        "Settings were chosen on seeds 100 and 101 with BadNets, Blend, SIG and CBA and on one clean set; before the"
        " changes below the other six attacks had no part in it. Seeds 0 and up are reported, each run once by a rule;"
        f" on the poisoned sets of seeds {listed([str(seed) for seed in UNSEEN])} it was run for the first time by rule"
        f" {UNSEEN_BY}. The settings of rule 8 were chosen on GTSRB, seeds 100 and 101, and on the reported folders of"
        f" {link('unknown trust', 'unknown-trust.html')}.",
        _at_paper_scale(full, stopped),
        f"A backdoor counts as removed up to {percent(GONE, 0)} attack success. A model counts as like one trained on"
        f" clean data within {_POINTS['clean_accuracy']} points of clean accuracy and"
        f" {_POINTS['target_class_accuracy']} in the target class.",
        "Groups in feature space are no new idea: spectral signatures, activation clustering and SCAn look for them in"
        " finished models, which the second look does, too. New here are an early averaged model and its losses as"
        " further starts, that an image is judged by a discriminant fitted on the other half of the images, where none"
        " looks like it by its thumbnail, and how it is told which group is the poison.",
    )
    lines += (
        f"How it does against attackers who know it: {link('adaptive attacks', 'adaptive.html')}; on folders of"
        f" unknown trust: {link('unknown trust', 'unknown-trust.html')}.",
    )
    changed = f"**The rule was changed {CHANGES} times after reported runs had been seen**, on 2026-11-27 to 29:"
    return [
        Heading("Protocol", "protocol"),
        Text("\n".join(f"- {line}" for line in lines if line)),
        Text(changed),
        Table(("rule", "what was missed", "what was changed"), [(n, *map(_words, row)) for n, *row in _CHANGED]),
    ]


def _words(text: str) -> Cell:
    return Cell(text, kind="text")


def _made_before(own: pd.DataFrame) -> str:
    """That an earlier rule made some of the runs, and where it is told in what it differs; empty where none."""
    made = own[own["method_rule"].astype(float) != rule.RULE] if "method_rule" in own else own
    if made.empty:
        return ""
    numbers = sorted({int(number) for number in made.get("method_rule", pd.Series(dtype=float)).dropna()})
    by = f"rule{'s' * (len(numbers) > 1)} {listed([str(number) for number in numbers])}" if numbers else "earlier rules"
    return (
        f"These are the steps of rule {rule.RULE}; {len(made)} of {count(len(own), 'run')} shown are by {by}. What was"
        f" changed since stands under {link('Protocol', 'exclusion.html#protocol')}."
    )


def _at_paper_scale(full: pd.DataFrame, stopped: pd.DataFrame) -> str:
    """What this page does not show: how often the method was run at the paper's scale, by which rule, what it left."""
    there = link("at the paper's scale", "paper-scale.html")
    begun = f" {_stopped(stopped)}" if len(stopped) else ""
    if full.empty:
        return f"It was not run {there} yet.{begun}"
    left = [
        f"{percent(run['attack_success_rate'])} attack success on {TITLES[run['attack']]}, seed {run['seed']}"
        f"{' (an earlier rule)' if is_old else ''}"
        for (_, run), is_old in zip(full.iterrows(), is_earlier(full), strict=True)
    ]
    return f"{count(len(full), 'run')} ended {there}: {listed(left)}.{begun}"


def _stopped(runs: pd.DataFrame) -> str:
    """How many runs did not end, and in how many poisoned sets their first look found nothing."""
    poisoned = runs[runs["poison_rate"] > 0]
    unseen = poisoned[poisoned["left_out_images"] == 0]
    names = listed([f"{TITLES[run['attack']]}, seed {run['seed']}" for _, run in unseen.iterrows()])
    found = f"found nothing in {len(unseen)} of {count(len(poisoned), 'poisoned set')}{f' ({names})' if names else ''}"
    return f"{count(len(runs), 'run')} more did not end; their first look {found}."
