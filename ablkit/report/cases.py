"""The figure and the table of notebooks that vary one thing, and the committed runs that are such cases."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pandas.io.formats.style import Styler

from ablkit.report import tables
from ablkit.report.collect import Collection
from ablkit.report.exclusion import METHOD_TITLES
from ablkit.report.figures import TITLES
from ablkit.report.identity import identity
from ablkit.report.style import COLOURS, DASHES, MARKERS
from ablkit.report.text import percent
from ablkit.runs.parameters import Cases, changed, check

METHODS = METHOD_TITLES | {"fine_pruning": "Fine-Pruning", "mcr": "MCR", "nad": "NAD"}
"""Methods that cases are compared by -> what they are called."""
METRICS = {
    "attack_success_rate": "attack success rate",
    "clean_accuracy": "clean accuracy",
    "target_class_accuracy": "target class",
    "isolation_precision": "isolated, poisoned",
    "exclusion_recall": "poison excluded",
}
"""What cases are compared by -> its name."""


def of_collection(c: Collection, notebook: str) -> tuple[pd.DataFrame, Cases]:
    """The committed runs that a notebook compares at quick scale, with their `case`, and its parameters.

    On whatever seed, and undefended ones, too; of one kind of hardware, the one that has most of them. In the order of
    attacks and cases.
    """
    parameters = check(notebook, changed(notebook, "quick", {"seeds": "0"}))
    if c.runs.empty:
        return pd.DataFrame(columns=["attack", "case", "method"]), parameters
    wanted: dict[str, list[str]] = {}
    for case, one in parameters.each():
        values = one.model_dump()
        # Undefended training of the same images tells whether there is a backdoor; settings of a method are not its.
        for same in dict.fromkeys(map(identity, (values, values | {"method": "none", "method_settings": ""}))):
            if case not in wanted.setdefault(same, []):
                wanted[same].append(case)
    cases = [wanted.get(one) for one in c.identities]
    frame = c.runs.assign(case=pd.Series(cases, c.runs.index, dtype=object)).dropna(subset="case").explode("case")
    if "none" not in parameters.methods():  # then undefended training alone answers nothing
        frame = frame[(frame["method"] != "none").groupby([frame["attack"], frame["case"]]).transform("any")]
    if len(frame):
        frame = _on_same_seeds(_with_undefended(frame[frame["place"] == frame["place"].mode()[0]]))
        places = {"attack": list(TITLES).index, "case": list(parameters.cases).index}
        frame = frame.sort_values(list(places), key=lambda own: own.map(places[own.name]), kind="stable")
    return frame, parameters


def _with_undefended(frame: pd.DataFrame) -> pd.DataFrame:
    """The same and undefended runs, marked by `is_same_model`, where `exclude` excluded nothing and none was made.

    Its model is then that of undefended training, bit for bit.
    """
    frame = frame.assign(is_same_model=False)
    if "method_excluded_images" not in frame:
        return frame
    run = pd.MultiIndex.from_frame(frame[["attack", "case", "seed"]])
    # Only where that holds of all runs of a pair that lack one: the others would be known for their failure alone.
    lacks = (frame["method"] == "exclude") & ~run.isin(run[frame["method"] == "none"])
    nothing = (frame["method_excluded_images"] == 0).where(lacks, True)
    same = frame[lacks & nothing.groupby([frame["attack"], frame["case"]]).transform("all")]
    found = {name: float("nan") for name in frame if name.startswith("exclusion_")}
    return pd.concat([frame, same.assign(method="none", is_same_model=True, **found)], ignore_index=True)


def _on_same_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The same without the seeds that one case of an attack and method alone has: else seeds would be compared.

    Undefended runs stay on the seeds that the attack's cases are compared on.
    """
    defended = frame[frame["method"] != "none"]
    pair, cases = ["attack", "method"], defended["case"]
    is_shared = cases.groupby([defended[name] for name in (*pair, "seed")]).transform("nunique") > 1
    is_alone = cases.groupby([defended[name] for name in pair]).transform("nunique") == 1
    kept, shared = defended[is_shared | is_alone], defended[is_shared]
    one = pd.Series(list(zip(frame["attack"], frame["seed"], strict=True)), frame.index)
    stays = one.isin(one[shared.index]) | ~frame["attack"].isin(shared["attack"])
    return frame[frame.index.isin(kept.index) | ((frame["method"] == "none") & stays)]


def isolating(frame: pd.DataFrame) -> pd.DataFrame:
    """The same without the isolation precision of methods that make nothing of what would be isolated."""
    if "isolation_precision" not in frame:
        return frame
    return frame.assign(isolation_precision=frame["isolation_precision"].where(frame["method"] == "abl"))


def drawn(frame: pd.DataFrame, titles: Mapping[str, str], varies: str = "") -> Figure:
    """A row a metric, a column an attack that has several cases: a marker for each seed of each method.

    Where the cases are numbers a line goes through the means.

    Args:
        frame: columns `attack`, `case`, `method`, `seed` and those of METRICS.
        titles: case -> its name, in the order of the axis.
        varies: what the cases are values of, below the axis.
    """
    frame = _several(isolating(frame))
    metrics = [name for name in METRICS if name in frame and frame[name].notna().any()]
    attacks = list(dict.fromkeys(frame["attack"]))
    orders = {name: _order(frame[frame["attack"] == name], titles) for name in attacks}
    methods = [name for name in METHODS if name in set(frame["method"])]
    longest = max(len(titles[case]) for order in orders.values() for case in order)
    widths = [max(2.4, 0.45 * len(order) + 0.4) for order in orders.values()]
    size = (1.0 + sum(widths), 0.95 + 0.055 * longest + 1.45 * len(metrics))
    grid = {"sharex": "col", "sharey": True, "squeeze": False, "width_ratios": widths}
    figure, axes = plt.subplots(len(metrics), len(attacks), figsize=size, **grid)
    for line, metric in zip(axes, metrics, strict=True):
        for place, (attack, order) in zip(line, orders.items(), strict=True):
            _panel(place, frame[frame["attack"] == attack], metric, methods, order, titles)
        line[0].set_ylabel(METRICS[metric], fontsize=8)
    turned = {"rotation": 90} if longest > 6 else {}
    for top, bottom, (attack, order) in zip(axes[0], axes[-1], orders.items(), strict=True):
        top.set_title(TITLES[attack], fontsize=9, loc="left")
        bottom.set_xticks(range(len(order)), [titles[case] for case in order], fontsize=8, **turned)
        bottom.set_xlim(-0.5, len(order) - 0.5)
        bottom.set_xlabel(varies, fontsize=8)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=8)
    return figure


def _several(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of the attacks that have several cases, or all where none has."""
    own = frame[frame.groupby("attack")["case"].transform("nunique") > 1]
    return own if len(own) else frame


def _order(own: pd.DataFrame, titles: Mapping[str, str]) -> list[str]:
    return [case for case in titles if case in set(own["case"])]


def _panel(
    place: Axes, frame: pd.DataFrame, metric: str, methods: list[str], order: list[str], titles: Mapping[str, str]
) -> None:
    """One metric of one attack."""
    is_line = all(titles[case][:1].isdigit() for case in order)
    for number, method in enumerate(methods):
        own = frame[frame["method"] == method]
        aside = 0.16 * (number - (len(methods) - 1) / 2)
        if is_line:
            means = own[metric].astype(float).groupby(own["case"]).mean().reindex(order)
            look = {"color": COLOURS[method], "linestyle": DASHES[method], "linewidth": 1.1}
            place.plot([at + aside for at in range(len(order))], means, **look)
        dots = {"facecolors": "white" if method == "none" else COLOURS[method], "edgecolors": COLOURS[method]}
        dots |= {"marker": MARKERS[method], "s": 16, "linewidths": 0.9, "zorder": 3}
        at = own["case"].map(order.index).astype(float) + aside
        place.scatter(at, own[metric].astype(float), label=METHODS[method], **dots)
    place.set_ylim(-0.04, 1.04)
    place.yaxis.set_major_formatter(PercentFormatter(1.0))


def table(frame: pd.DataFrame, titles: Mapping[str, str]) -> Styler:
    """Mean over seeds (lowest to highest) by attack, case and method."""
    rows = []
    for (attack, case, method), own in isolating(frame).groupby(["attack", "case", "method"], sort=False):
        row = {"attack": TITLES[attack], "case": titles[case], "method": METHODS[method]}
        row |= {title: _spread(own[name]) for name, title in METRICS.items() if name in own}
        rows.append(row | {"n": len(own)})
    return tables.shown(pd.DataFrame(rows))


def _spread(values: pd.Series) -> str:
    found = values.dropna().astype(float)
    if found.empty:
        return ""
    mean = percent(found.mean())
    return mean if len(found) == 1 else f"{mean} ({percent(found.min())} to {percent(found.max())})"
