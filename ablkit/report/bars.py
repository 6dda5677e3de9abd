"""Bars beside each other: a bar is the mean over seeds, a marker each seed; hatch and marker tell without colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ablkit.report.style import COLOURS, HATCHES, MARKERS, TINT

_ROOM = 0.8
"""Width of the bars of one category, where 1 is the distance of two categories."""


def draw(
    axes: Axes,
    values: dict[str, dict[str, pd.Series]],
    order: Sequence[str],
    names: dict[str, str],
    *,
    lying: bool = False,
) -> None:
    """Draw groups of bars, one a category.

    Args:
        values: quantity of `COLOURS` -> category -> its values, one a seed; missing ones are passed over.
        order: the categories, from the left, or from the top where bars lie.
        names: quantity -> its name in the legend.
        lying: bars go to the right, so that long names of categories fit.
    """
    width = _ROOM / len(values)
    for place, (quantity, by_category) in enumerate(values.items()):
        at = np.arange(len(order)) - _ROOM / 2 + width * (place + 0.5)
        found = [pd.to_numeric(by_category.get(name, pd.Series(dtype=float))).dropna() for name in order]
        look = {
            "color": COLOURS[quantity],
            "alpha": TINT,
            "hatch": HATCHES[quantity],
            "edgecolor": "white",
            "linewidth": 0,
            "label": names[quantity],
        }
        means = [own.mean() if len(own) else 0.0 for own in found]
        (axes.barh if lying else axes.bar)(at, means, width, **look)
        dots = [np.concatenate([np.full(len(own), x) for x, own in zip(at, found, strict=True)]), np.concatenate(found)]
        axes.plot(
            *(dots[::-1] if lying else dots),
            linestyle="none",
            marker=MARKERS[quantity],
            markersize=4,
            color=COLOURS[quantity],
            markeredgecolor="white",
            markeredgewidth=0.5,
            clip_on=False,
            zorder=3,
        )
    axis = axes.yaxis if lying else axes.xaxis
    axis.set_ticks(range(len(order)), labels=list(order))
    axis.grid(False)
    if lying:
        axes.set_ylim(len(order) - 0.5, -0.5)
    else:
        axes.set_xlim(-0.5, len(order) - 0.5)
