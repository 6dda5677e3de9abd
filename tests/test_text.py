"""Text from data in tables and figures: shown as it is, escaped, on its line and in its place."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from crafted import DOT, NAMES, hostile_set

from ablkit import paths
from ablkit.report import figures, tables, text
from ablkit.runs import drawings, environment


def test_every_table_escapes():
    bold = "<b>name</b> $x^2$ \u202e"
    _, poisoned = hostile_set(names=(bold, bold + "b", "c"))
    frame = pd.DataFrame(
        {
            "attack": "cba",
            "attack_settings": ["", bold],
            "method": "none",
            "dataset": "digits",
            "seed": 0,
            "poison_rate": 0.1,
            **dict.fromkeys(tables.UNDEFENDED, 0.5),
            **dict.fromkeys(tables.COMPARED, 0.5),
        }
    )
    made = {
        "poisoning": tables.poisoning(poisoned),
        "making": tables.making({"badnets": poisoned}),
        "twins": tables.twins(frame),
        "methods": tables.methods(frame, {"nad": bold}),
        "shown": tables.shown(frame.rename(columns={"dataset": bold})),
    }
    for name, table in made.items():
        assert "<b>" not in table.to_html() and "&lt;b&gt;" in table.to_html(), name
        assert "\u202e" not in table.to_html() and "tex2jax_ignore" in table.to_html(), name
    assert "<b>" in frame.style.to_html(), "as it is without escaping"


def svg_of(names: tuple[str, ...], path: Path) -> str:
    train, poisoned = hostile_set(names=names)
    figure = figures.poisoned_images(train, poisoned)
    figure.savefig(path)
    plt.close(figure)
    drawings.check(path.read_bytes())
    return path.read_text(encoding="utf-8")


def test_figures_draw_dollar_signs_and_keep_their_size(tmp_path):
    drawn = {element.text for element in ElementTree.fromstring(svg_of(NAMES, tmp_path / "a.svg")).iter()}
    for name in ("$x^2$", "$\\foo", "N" * 11 + "…", "a \\u2067b c…"):
        assert name in drawn
    plain = svg_of(tuple("abcdefghij"), tmp_path / "b.svg")
    long = svg_of(tuple(letter * 300 for letter in "abcdefghij"), tmp_path / "c.svg")

    def size(drawing: str) -> np.ndarray:
        return np.array(ElementTree.fromstring(drawing).get("viewBox").split()[2:], dtype=float)

    np.testing.assert_allclose(size(long), size(plain), rtol=0.02)
    # As it was: a title of 300 letters makes the picture as wide as the title is.
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.set_title("a" * 300)
    figure.savefig(tmp_path / "d.svg")
    plt.close(figure)
    assert size((tmp_path / "d.svg").read_text())[0] > 5 * 144


def test_a_matplotlibrc_of_the_users_changes_no_figure():
    ours = dict(plt.rcParams)
    plt.rcParams.update({"text.usetex": True, "figure.figsize": (1, 1), "font.size": 40, "text.parse_math": True})
    assert dict(plt.rcParams) != ours
    importlib.reload(figures)
    assert dict(plt.rcParams) == ours
    assert not ours["text.usetex"] and not ours["text.parse_math"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\x00\u202eb\u2066\ufeff\ud800\u2028", "a\\x00\\u202eb\\u2066\\ufeff\\ud800\\u2028"),
        ("two\r\nlines\tand more", "two\nlines\tand more"),
        ("می‌روم 👩‍💻 é 猫", "می‌روم 👩‍💻 é 猫"),
    ],
)
def test_harmless_text_shows_what_is_not_seen(before, after):
    assert text.harmless(before) == after


def test_labels_are_cut_to_what_fits():
    assert text.label("automobile", 10) == "automobile"
    assert text.label("automobiles", 10) == "automobil…"
    assert text.label("猫" * 9, 10) == "猫猫猫猫…"
    assert text.label(" a\n b ", 10) == "a b"


def test_folders_of_this_machine_become_names(monkeypatch, tmp_path):
    monkeypatch.setenv("ABLKIT_RUNS", str(tmp_path / "link"))
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for before, after in {
        f"broke ({tmp_path}/link/run/abc)": "broke (runs/run/abc)",
        f"broke ({tmp_path / 'there'}/run/abc).": "broke (runs/run/abc).",
        f"\x1b[32m{paths.project()}/ablkit/cli.py\x1b[0m:3": "\x1b[32m./ablkit/cli.py\x1b[0m:3",
        "File '/home/al/thesis/x.py', line 3": "File '…/x.py', line 3",
        r"File C:\Users\al\x.py": r"File …\x.py",
        "file:///home/al/x.py": "…/x.py",
    }.items():
        assert text.without_folders(before) == after
    for same in ("images/s", "https://arxiv.org/abs/2110.11571", "1/2", "</b><i>", f"<img src='{DOT}'>", "runs/run/a"):
        assert text.without_folders(same) == same
    assert text.without_folders("data:image/jpeg;base64,/9j/4AAQ/SkZ") == "data:image/jpeg;base64,/9j/4AAQ/SkZ"


def test_times_of_the_attacker_s_models_are_one_crafting_time():
    _, poisoned = hostile_set()
    record = {"surrogate_accuracy": 0.5, "surrogate_seconds": 4.04, "perturbed_seconds": 80.05}
    (fact,) = tables.making({"badnets": replace(poisoned, record=record)}).data["attacker's own model"]
    assert fact == "surrogate accuracy 50.0%, crafting time 84 s"
    (nothing,) = tables.making({"badnets": poisoned}).data["attacker's own model"]
    assert nothing == ""


@pytest.mark.parametrize(
    ("cores", "line"), [(1, "a, 1 core, torch 2, "), (2, "a, 2 cores, "), ("unknown", "unknown cores")]
)
def test_one_core_is_no_plural(cores, line):
    facts = {"processor": "a", "gpu": "none", "cores": cores, "torch": "2", "python": "3"}
    assert line in environment.hardware_line(facts)
