"""What runs and their stages take: in the table and the figure of stages, on the page of costs, in its list of replaced
runs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from ablkit.metrics import summary
from ablkit.report import costs, data, stages
from ablkit.report.collect import Collection, Scale, collect
from ablkit.report.page import Page, Table
from ablkit.report.pages import cost
from ablkit.report.render import markdown
from ablkit.runs import comparisons, execute, records
from ablkit.runs.parameters import changed, check

TAKEN = {"none": (("isolate", 2.0), ("finetune", 8.0)), "abl": (("isolate", 4.0), ("unlearn", 11.0))}
ROOT = Path(__file__).parents[1]
DATA = ROOT / "reports" / "data"


def history(method: str) -> list[dict]:
    """Two epochs of each stage, half of its seconds each, and as much again for measuring."""
    return [
        {"stage": stage, "epoch": epoch, "seconds": seconds / 2, "evaluation_seconds": seconds / 2}
        for stage, seconds in TAKEN[method]
        for epoch in (1, 2)
    ]


def frame(**more: float) -> pd.DataFrame:
    parts = [summary.stages(history(name), attack="sig", method=name, seed=seed) for name in TAKEN for seed in (0, 1)]
    return pd.concat(parts, ignore_index=True).assign(mib=500.0, **more)


def test_seconds_and_epochs_of_a_stage_add_up():
    own = summary.stages(history("abl"), method="abl")
    assert own["stage"].tolist() == ["isolate", "unlearn"] and own["epochs"].tolist() == [2, 2]
    assert own["seconds"].tolist() == own["measuring"].tolist() == [4.0, 11.0]
    # The twin: what was not recorded counts as nothing, and its method has no place in what follows.
    unknown = summary.stages([{"stage": "isolate", "epoch": 1}], method="abl")
    assert unknown["seconds"].tolist() == [0.0]


def test_what_is_isolated_is_trained_on_once_and_a_column_is_of_the_main_data_set():
    # 9,900 images an epoch of fine-tuning, and 100 of unlearning, beside 10,000 of phase 1.
    assert costs.images_of("quick") == 6 * 10_000 + 14 * 9_900 + 20 * 100
    found = collect(DATA)
    places = [scale.place for scale in found.scales if scale.dataset == "cifar10" and not scale.is_peers]
    assert len(found.scales) > len(places)  # the twin: there are others
    _, table = cost._scales(found)
    assert list(table.columns[2:]) == [f"minutes, {place}" for place in places]


def test_a_method_is_held_against_the_undefended_training_of_its_attack_and_seed():
    assert stages.ratios(frame())["abl"].mean == pytest.approx(1.5)
    assert "ABL 1.50 times (n = 2)" in stages.said(frame())
    other = frame()
    assert stages.said(other[other["method"] == "abl"]).startswith("Not known yet")
    assert stages.said(frame(seconds=0.0)).startswith("Not known yet")


def test_the_table_has_a_row_a_stage_and_the_figure_a_dot_a_run():
    table = stages.table(frame())
    assert table["of the method"].tolist() == ["20%", "80%", "27%", "73%"]
    assert table["stage"].tolist() == ["phase 1", "fine-tuning", "phase 1", "unlearning"]
    # Memory is that of the run that took most, and is called so; the twin: by a mean it would be less.
    least = frame().assign(mib=[500.0] * 7 + [100.0])
    assert set(stages.table(least)["memory, MiB, highest run"]) == {"500"}
    assert least[least["method"] == "abl"]["mib"].mean() < 500
    figure = stages.drawn(frame())
    assert [len(dots.get_offsets()) for dots in figure.axes[0].collections] == [2, 2]
    plt.close(figure)


def test_the_costs_of_runs_are_read_from_their_folders_and_one_that_cannot_be_had_is_said(monkeypatch, capsys):
    def need(notebook: str, wanted: object) -> str:
        if wanted.method == "nad":
            raise execute.NotRunError("there is no network")
        return wanted.method

    monkeypatch.setattr(execute, "need", need)
    monkeypatch.setattr(records, "history", history)
    monkeypatch.setattr(records, "environment", lambda folder: {"peak_memory_bytes": 2**21})
    wanted = check("cost", changed("cost", "quick", {"method_names": "abl nad", "seeds": "0"}))
    found = comparisons.costs(wanted)
    assert set(found["method"]) == {"none", "abl"} and (found["mib"] == 2.0).all()
    assert "there is no network" in capsys.readouterr().out
    assert summary.of_cost(found) == {
        "seconds_badnets_none": 10.0,
        "mib_badnets_none": 2.0,
        "seconds_badnets_abl": 15.0,
        "mib_badnets_abl": 2.0,
    }


# The page


def ran(method: str, attack: str, seed: int, **more: object) -> dict:
    """A committed run of five minutes of training."""
    recipe = {"isolation_epochs": 6, "finetune_epochs": 14, "unlearn_epochs": 20, "train_size": 10_000}
    known = {"seconds": 300.0, "poisoning_seconds": 480.0 * (attack == "dynamic"), "env_device": "cpu"}
    key = f"{method}-{attack}-{seed}"
    return {"key": key, "method": method, "attack": attack, "seed": seed, **recipe, **known, **more}


def collection(folder: Path, runs: list[dict], *, seconds: tuple[str, ...] = ()) -> Collection:
    """Committed runs with their histories, which have seconds for the methods that are named."""
    for run in runs:
        run["folder"] = folder / run["key"]
        run["folder"].mkdir(parents=True)
        epochs = pd.DataFrame({"stage": ["isolate", "finetune"], "epoch": 1})
        if run["method"] in seconds:
            epochs = epochs.assign(seconds=150.0)
        epochs.to_csv(run["folder"] / "history.csv", index=False)
    frame = pd.DataFrame(runs)
    return Collection(folder, frame, [Scale("quick", "cifar10", "CPU, bf16", frame)])


def tables(page: Page) -> dict[str, Table]:
    """By the name of the first column, or of the first two where methods are told twice."""
    return {" ".join(block.columns[:2]): block for block in page.blocks if isinstance(block, Table)}


def words(row: tuple) -> list[str]:
    return [getattr(cell, "markdown", cell) for cell in row]


def test_methods_are_held_beside_each_other_by_their_training_and_their_attacks_are_named(tmp_path):
    runs = [ran("none", "badnets", seed, env_peak_memory_bytes=2**30 * (1 + seed)) for seed in (0, 1, 2)]
    runs += [ran("none", "dynamic", 0), ran("oracle", "dynamic", 0), ran("oracle", "dynamic", 1)]
    table = tables(cost.page(collection(tmp_path, runs)))["method attacks"]
    rows = {row[0]: dict(zip(table.columns, words(row), strict=True)) for row in table.rows}
    undefended, clean = rows["undefended"], rows["trained on clean data"]
    assert undefended["minutes of training"] == clean["minutes of training"] == "5.0"
    assert undefended["attacks"] == "BadNets (3), Dynamic (1)" and clean["attacks"] == "Dynamic (2)"
    assert undefended["memory, MiB, highest run"] == "3,072"
    assert "Not all methods were run on the same attacks." in table.note
    # The twins: with the making of the poison the two differ, and methods on the same attacks are said to be nothing.
    whole = costs.minutes(pd.DataFrame(runs)).groupby(pd.DataFrame(runs)["method"]).median()
    assert whole["oracle"] == 13 and whole["none"] == 5
    same = cost.page(collection(tmp_path / "same", [ran("none", "sig", 0), ran("abl", "sig", 0)]))
    assert "Not all methods" not in markdown(same)


def test_a_method_without_stages_is_named_with_the_reason(tmp_path):
    runs = [ran("none", "sig", 0), ran("abl", "sig", 0), ran("abl", "cl", 0), ran("oracle", "sig", 0)]
    page = markdown(cost.page(collection(tmp_path / "some", runs, seconds=("oracle",))))
    assert "There are no rows of undefended and ABL: of these 3 runs the seconds of the whole are known" in page
    assert "Attacks, in brackets the runs: trained on clean data: SIG (1)." in page
    # The twin: where each epoch has its seconds, nothing is missing.
    page = markdown(cost.page(collection(tmp_path / "all", runs, seconds=("oracle", "none", "abl"))))
    assert "There are no rows of" not in page and "undefended: SIG (1); ABL: SIG (1), CL (1)" in page


def test_replaced_runs_are_counted_from_their_list_and_a_training_that_stands_is_told_apart(tmp_path, monkeypatch):
    one = {"started": "2026-11-27T00:00:00+00:00", "commit": "a", "attack": "sig", "method": "exclude", "seed": 0}
    listed = pd.DataFrame(
        [
            {**one, "seconds": 300.0, "poisoning_seconds": 60},  # the training of a committed run
            {**one, "seconds": 120.0, "poisoning_seconds": 0},
            {**one, "seconds": 120.0, "poisoning_seconds": 0, "commit": "b"},  # the training of the run above
            {**one, "seconds": 60.0, "commit": costs.NEVER_COMMITTED},
            {**one, "seconds": 60.0, "commit": costs.NEVER_COMMITTED, "seed": 1},  # by chance
        ]
    )
    made = collection(tmp_path, [ran("exclude", "sig", 0)])
    monkeypatch.setattr(data, "load", lambda folder: made.runs)

    def told(runs: pd.DataFrame) -> str:
        runs.to_csv(tmp_path / "discarded.csv", index=False)
        return markdown(cost.page(made))

    page = told(listed)
    assert "| replaced by later code or settings | 5 | 12 | 0 |" in page
    assert "Of the 5 replaced runs 2 have their whole training in common with" in page
    assert "The other 3 trained for at most 4 minutes. 2 of the replaced runs were never committed" in page
    # The twin: a run less, and one whose time is not known.
    page = told(listed.iloc[1:].assign(seconds=[120.0, None, 60.0, 60.0]))
    assert "| replaced by later code or settings | 4 | 4 | 1 |" in page


def removed() -> dict[str, str]:
    """Key -> when it started, of each run whose folder was ever taken out, by the history of this clone."""
    git = ["git", "-C", str(ROOT)]
    asked = subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True, check=False)
    if asked.stdout.strip() != "false" or not (ROOT / ".git").exists():
        pytest.skip("no clone with its whole history")
    log = [*git, "log", "--no-renames", "--diff-filter=D", "-p", "--format=%h", "--", "reports/data/*/env.json"]
    shown = subprocess.run(log, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r'^--- a/reports/data/(\w+)/env.json$.*?^- *"started": "([^"]+)"', shown, re.M | re.S))


def absent(started: list[str], listed: pd.DataFrame) -> list[str]:
    """The starts that a list of replaced runs has less often than they are there."""
    counts = listed["started"].value_counts()
    return [one for one, number in pd.Series(started).value_counts().items() if counts.get(one, 0) < number]


def test_every_run_that_was_taken_out_is_in_the_list_of_replaced_ones_and_none_that_stands():
    listed = data.table(DATA / "discarded.csv")
    assert not listed.duplicated().any() and listed["seconds"].notna().all()
    standing = data.load(DATA)
    both = listed.merge(standing, left_on=["started", "attack", "seed"], right_on=["env_started", "attack", "seed"])
    assert both.empty
    started = [when for key, when in removed().items() if key not in set(standing["key"])]
    assert started and absent(started, listed) == []
    # The twin: without one of them the list is not whole.
    assert absent(started, listed[listed["started"] != started[0]]) == [started[0]]
