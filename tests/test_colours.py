"""Series of a figure can be told apart without colour, and by colour also with red-green blindness."""

from __future__ import annotations

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from seeing import MACHADO, apart, ciede2000, lab, linear, seen

from ablkit.report import figures
from ablkit.report.style import COLOURS, DASHES, HATCHES, MARKERS, TINT

LEAST = 20.0
PUBLISHED = [  # of table 1 of Sharma, Wu and Dalal 2005: two colours in CIELAB, and their difference
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]
TOGETHER = (
    ("clean_accuracy", "target_class_accuracy", "attack_success_rate", "isolation_precision"),
    ("clean_loss", "poisoned_loss", "isolation_precision"),
    ("attack", "idea_off"),
    ("loss", "averaged"),
    ("none", "abl", "exclude"),
    ("fine_pruning", "mcr", "nad"),
)
"""What stands in one figure."""
PAIRS = [pair for quantities in TOGETHER for pair in combinations(quantities, 2)]


def tinted(colour: str) -> str:
    """The colour of a bar, drawn over white."""
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(TINT * part + (1 - TINT) * 255):02x}" for part in parts)


@pytest.mark.parametrize(("one", "other", "difference"), PUBLISHED)
def test_the_difference_of_two_colours_is_the_published_one(one, other, difference):
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=5e-5)
    assert ciede2000(np.array(other), np.array(one)) == pytest.approx(difference, abs=5e-5)


def test_the_simulation_leaves_grey_alone_and_takes_red_from_green():
    for kind in MACHADO:
        assert ciede2000(seen("#808080", kind), lab(linear("#808080"))) < 1
    assert min(ciede2000(seen("#2a9d4a", kind), seen("#c8412b", kind)) for kind in MACHADO) < LEAST
    assert ciede2000(seen("#2a9d4a", "normal"), seen("#c8412b", "normal")) > 3 * LEAST


def test_colours_of_one_figure_differ_for_every_eye():
    assert {pair: apart(*(COLOURS[name] for name in pair)) for pair in PAIRS if closer(pair)} == {}
    bars = [pair for pair in PAIRS if set(pair) <= set(HATCHES)]
    assert len(bars) == 4
    # Bars, paler than lines, may come nearer where their hatches tell them apart.
    near = {pair for pair in bars if apart(*(tinted(COLOURS[name]) for name in pair)) < LEAST}
    assert near <= {("clean_accuracy", "target_class_accuracy")}
    assert all(HATCHES[one] != HATCHES[other] for one, other in near)
    # The twin: the green and the red that stood here.
    assert apart("#2a9d4a", "#c8412b") < LEAST


def closer(pair: tuple[str, str]) -> bool:
    return apart(*(COLOURS[name] for name in pair)) < LEAST


def test_what_stands_in_one_figure_differs_without_colour():
    for channel in (MARKERS, DASHES, HATCHES):
        for pair in PAIRS:
            if set(pair) <= set(channel):
                assert channel[pair[0]] != channel[pair[1]], pair
    assert {name for pair in PAIRS for name in pair} <= set(MARKERS) & set(COLOURS)


def drawn() -> dict[str, plt.Figure]:
    """Each figure of series, of made-up numbers."""
    runs = pd.DataFrame(
        {
            "attack": ["cba", "cba", "fc", "fc"],
            "attack_settings": ["", "partner=false", "", "steps=0"],
            "method": ["none", "abl", "none", "abl"],
            "seed": 0,
            "attack_success_rate": [0.9, 0.4, None, 0.3],
            "clean_accuracy": 0.7,
        }
    )
    epochs = pd.DataFrame(
        {
            "stage": ["isolate", "isolate", "unlearn"],
            "method": "abl",
            "epoch": [1, 2, 1],
            **dict.fromkeys(TOGETHER[0], 0.5),
            **dict.fromkeys(TOGETHER[1], 0.25),
        }
    )
    return {
        "attacks": figures.attack_results(runs),
        "twins": figures.twins(runs),
        "methods": figures.methods(runs),
        "curves": figures.training_curves(epochs),
        "connectivity": figures.connectivity(runs.assign(t=0.5)),
    }


def test_every_figure_takes_its_look_from_the_palette_and_says_what_it_counts():
    looks = {(COLOURS[name], MARKERS[name]) for name in COLOURS}
    for name, figure in drawn().items():
        figure.draw_without_rendering()
        series = [line for place in figure.axes for line in place.lines if line.get_marker() not in ("", "None", None)]
        assert len(series) > 1 and {(line.get_color(), line.get_marker()) for line in series} <= looks, name
        labels = [text for place in figure.axes for text in (place.get_xlabel(), place.get_ylabel())]
        assert any("fraction" in text for text in labels) and "share" not in labels, name
        assert len({line.get_marker() for line in series}) > 1, name
        plt.close(figure)


def test_a_bar_is_the_mean_and_a_seed_that_was_not_measured_is_passed_over():
    runs = pd.DataFrame({"attack": "cba", "seed": [0, 1, 2], "attack_success_rate": [0.2, 0.6, None]})
    figure = figures.attack_results(runs.assign(clean_accuracy=None))
    success, accuracy = figure.axes[0].containers
    assert [bar.get_height() for bar in success] == [pytest.approx(0.4)]
    assert [bar.get_height() for bar in accuracy] == [0.0]
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 0]
    assert success[0].get_hatch() != accuracy[0].get_hatch()
    plt.close(figure)
