"""Other data sets than CIFAR-10, and larger networks: undefended training, ABL and training without the suspects."""

from __future__ import annotations

import pandas as pd

from ablkit.report.cases import METHODS
from ablkit.report.collect import Collection, dataset_title, measured
from ablkit.report.figures import TITLES
from ablkit.report.findings import GONE
from ablkit.report.findings.rule import of_earlier_rule
from ablkit.report.findings.words import FEWEST, count, is_useless
from ablkit.report.page import Block, Cell, Page, Table, Text, code, link, listed
from ablkit.report.pages import missing
from ablkit.report.text import percent
from ablkit.report.verdicts import INTERVAL, RED, over_seeds

_TITLE, _NAME = "Does it hold on other data sets?", "data-sets.html"
_COMPARED = ("none", "abl", "exclude")
_METRICS = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")
_ASIDE = ("cifar10", "digits")
"""The sets that the other pages are about, and the one that tests are made with."""
_KIND = ["dataset", "attack", "model", "training_images", "place"]
_COMMAND = "ablkit sweep notebooks/sweeps/other_data.yaml"
_MODEL = "wrn-16-1"
"""That of the runs of the first; the other has larger ones."""
_LARGER = "ablkit sweep notebooks/sweeps/larger_networks.yaml"


def page(c: Collection) -> Page:
    """What each method does on each data set."""
    runs = runs_of(c)
    hypothesis = (
        "Hypothesis (paper, Table 1): ABL removes the backdoor on GTSRB and on a part of ImageNet, too. Beside it"
        " stands this kit's own method."
    )
    blocks: list[Block] = [Text(hypothesis)]
    if not (runs["method"].isin(["abl", "exclude"])).any():
        blocks += missing.not_run(c, "any defence on another data set than CIFAR-10", [_COMMAND, _LARGER])
        return Page(
            _NAME, _TITLE, "Not known yet: 0 runs of a defence were made on another data set.", blocks, "Data sets"
        )
    commands = dict.fromkeys(_COMMAND if model == _MODEL else _LARGER for model in runs["model"])
    made = f"{measured(runs)} Made by {listed([code(command) for command in commands])}."
    folders = f"Folders of such images, poisoned or not: {link('unknown trust', 'unknown-trust.html')}."
    blocks += [_table(runs), *_isolated(runs), *_not_run(c, runs), Text(folders), Text(made, "soft")]
    return Page(_NAME, _TITLE, _finding(runs), blocks, "Data sets")


def _not_run(c: Collection, runs: pd.DataFrame) -> list[Block]:
    """The sets of which training without the suspects has too few seeds, and larger networks where none was trained."""
    lacking = [
        f"{dataset_title(dataset)} with {TITLES[attack]}"
        for (dataset, attack), own in runs[runs["model"] == _MODEL].groupby(["dataset", "attack"], sort=False)
        if own.loc[own["method"] == "exclude", "seed"].nunique() < FEWEST
    ]
    blocks: list[Block] = []
    if lacking:
        what = f"training without the suspects on all {FEWEST} seeds of {listed(lacking)}"
        blocks += missing.not_run(c, what, [_COMMAND])
    if (runs["model"] == _MODEL).all():
        blocks += missing.not_run(c, "larger networks and images of 64 pixels", [_LARGER])
    return blocks


def runs_of(c: Collection) -> pd.DataFrame:
    """The runs on other data sets, with the attack as it is and poison, of the methods that are compared."""
    if c.runs.empty:
        return pd.DataFrame(columns=["method"])
    wanted = ~c.runs["dataset"].isin(_ASIDE) & c.runs["method"].isin(_COMPARED) & ~c.runs["is_first_phase"]
    wanted &= (c.runs["poison_rate"] > 0) & (c.runs["attack_settings"] == "") & (c.runs["method_settings"] == "")
    return c.runs[wanted].dropna(subset="attack_success_rate")


def _finding(runs: pd.DataFrame) -> str:
    """On how many runs the backdoor is gone with each defence; a list of what else is known, by data set first."""
    whole, told = [], []
    for method in ("abl", "exclude"):
        if len(own := runs[runs["method"] == method]):
            gone = int((own["attack_success_rate"] <= GONE).sum())
            whole.append(f"with {METHODS[method]} on {gone} of {count(len(own), 'run')}")
    if not whole:
        return "Nothing was measured."
    for dataset, part in runs.groupby("dataset", sort=False):
        for method in ("abl", "exclude"):
            if len(own := part[part["method"] == method]):
                told.append(f"{dataset_title(dataset)}, {METHODS[method]}: {_outcome(own, part)}.")
    same = ["dataset", "attack", "seed"]
    defended = runs[runs["method"] != "none"].drop_duplicates(same)
    alone = ~defended.set_index(same).index.isin(runs[runs["method"] == "none"].set_index(same).index)
    told += [_shared(runs), of_earlier_rule(runs)]
    if alone.any():
        told.append(
            f"For {alone.sum()} of {count(len(alone), 'defended set')} there is no undefended run to compare with."
        )
    lacking = "" if "abl" in set(runs["method"]) else "Not known yet: ABL was not run. "
    first = f"{lacking}At most {percent(GONE, 0)} attack success is left {listed(whole)}."
    return "\n".join([first, "", *(f"- {line}" for line in told if line)])


def _outcome(own: pd.DataFrame, part: pd.DataFrame) -> str:
    """On how many runs of a method on a data set the backdoor is gone, where not, and the price.

    Args:
        part: all runs on the data set.
    """
    gone, seeds = int((own["attack_success_rate"] <= GONE).sum()), own["seed"].nunique()
    few = f" on {count(seeds, 'seed')}, a demonstration" if seeds < FEWEST else ""
    return "; ".join(filter(None, (f"{gone} of {count(len(own), 'run')}{few}", _missed(own), _price(own, part))))


def _missed(own: pd.DataFrame) -> str:
    """With which attacks more is left, and on how many runs each; empty where with none."""
    is_left = own["attack_success_rate"] > GONE
    found = [
        f"{TITLES[name]} on {part.sum()} of {len(part)}"
        for name, part in is_left.groupby(own["attack"], sort=False)
        if part.any()
    ]
    return f"missed: {listed(found)}" if found else ""


def _price(own: pd.DataFrame, part: pd.DataFrame) -> str:
    """The clean accuracy that a defence costs, in the mean over its runs with an undefended one of the same set, and
    how many of the models without a backdoor are of no use."""
    same = ["attack", "model", "train_size", "seed"]
    base = part[part["method"] == "none"].drop_duplicates(same).set_index(same)["clean_accuracy"]
    lost = own[same].join(base, on=same)["clean_accuracy"] - own["clean_accuracy"]
    gone = own["attack_success_rate"] <= GONE
    useless = int((gone & is_useless(lost, own["target_class_accuracy"])).sum())
    words = f"{useless} of the {gone.sum()} models without a backdoor {'is' if useless == 1 else 'are'} of no use"
    told = [words] * bool(useless)
    if len(lost := lost.dropna()):
        mean, most = (round(100 * value) for value in (lost.mean(), lost.max()))
        what = f"{count(mean, 'point')} of clean accuracy lost" if mean > 0 else "no clean accuracy lost"
        told.insert(0, f"{what} in the mean, {max(most, 0)} at most" if len(lost) > 1 else what)
    return "; ".join(told)


def _shared(runs: pd.DataFrame) -> str:
    """That attacks which poison the same images share a model where exactly these are excluded; empty where none do."""
    own = runs[runs["method"] == "exclude"]
    same = own[own.duplicated(["dataset", "model", "seed", *_METRICS[1:]], keep=False)]
    if same.empty:
        return ""
    names = listed(list(dict.fromkeys(TITLES[name] for name in same["attack"])))
    return f"{names} poison the same images, so that the model without them is one, tried with each trigger."


def _isolated(runs: pd.DataFrame) -> list[Block]:
    """How much of what ABL isolates is poisoned, where the backdoor is gone afterwards and where not."""
    own = runs[(runs["method"] == "abl") & runs["isolation_precision"].notna()]
    is_gone = own["attack_success_rate"] <= GONE
    parts = []
    for part, what in ((own[is_gone], "after which the backdoor is gone"), (own[~is_gone], "after which it is not")):
        if len(part):
            ends = (percent(getattr(part["isolation_precision"], end)(), 0) for end in ("min", "max"))
            parts.append(f"{' to '.join(dict.fromkeys(ends))} is poisoned in the {count(len(part), 'run')} {what}")
    return [Text(f"Of what ABL isolates, {listed(parts)}.")] if parts else []


_LEFT_OUT = {"abl": "isolation", "exclude": "exclusion"}
"""Method -> how the metrics begin of what it does not train on."""


def _table(runs: pd.DataFrame) -> Table:
    """A row for each method that was run on a data set, attack, network and number of images."""
    rows = []
    runs = pd.concat(part for _, part in runs.groupby("dataset", sort=False))
    for (dataset, attack, model, images, place), group in runs.groupby(_KIND, sort=False):
        scale = f"{model}, {images:,.0f} images, target {group['target'].iloc[0]}, {place}"
        named = (f"{dataset_title(dataset)}, {TITLES[attack]}", Cell(scale, kind="text"))
        for method in (name for name in _COMPARED if (group["method"] == name).any()):
            own = group[group["method"] == method]
            cells = []
            for metric in _METRICS:
                failed = metric == "attack_success_rate" and method != "none" and own[metric].mean() > GONE
                cells.append(over_seeds(own[metric], bad=failed))
            left_out = _LEFT_OUT.get(method, "")
            cells += [over_seeds(own.get(f"{left_out}_{what}", [])) for what in ("precision", "recall")]
            rows.append((*named, METHODS[method], *cells, str(own["seed"].nunique())))
            named = ("", "")
    groups = (("", 3), ("attack success", 1), ("accuracy", 2), ("isolated or suspected", 2), ("", 1))
    columns = (
        "data set, attack",
        "scale",
        "method",
        "%",
        "clean, %",
        "target class, %",
        "precision, %",
        "recall, %",
        "n",
    )
    return Table(columns, rows, groups, f"Mean over seeds. {INTERVAL} {RED}")
