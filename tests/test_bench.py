"""The benchmark measures both pipelines and writes what it prints; speed itself is no matter of tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ablkit import cli
from ablkit.report.collect import Collection
from ablkit.report.pages import cost
from ablkit.training import hardware
from benchmarks import attacks, conventional, limits, scaling, sweeps, whole
from benchmarks import training as bench
from benchmarks.__main__ import parser


def test_the_benchmark_writes_rates_and_ratios(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "SIZES", (128, 64))
    figures = bench.bench("cpu", "fp32", tmp_path / "bench.json")
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "bench.json").read_text())
    for phase in ("phase1", "finetune", "isolation_pass", "recipe"):
        assert written[phase] == figures[phase]
        assert figures[phase]["images_per_second"] > 0
        assert phase in printed
    assert written["environment"]["precision"] == "fp32"


def test_the_benchmark_of_attacks_measures_each_closed_form(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(attacks, "ROUNDS", 1)
    monkeypatch.setattr(attacks, "IMAGES", 2_000)
    figures = attacks.bench(tmp_path / "bench.json")
    assert set(figures) == {"(copy)", "badnets", "trojan", "blend", "sig"}
    assert all(rate > 0 for rate in figures.values())
    assert json.loads((tmp_path / "bench.json").read_text())["blend"] == figures["blend"]
    assert capsys.readouterr().out.count("images/s") == 5


def test_the_benchmark_of_sweeps_measures_both_sides(folders, tmp_path, capsys):
    figures = sweeps.bench(tmp_path / "bench.json", count=2)
    assert figures["overhead_seconds"] == figures["sweep_seconds"] - figures["papermill_seconds"]
    assert figures["load_2000_seconds"] > 0
    assert "overhead_seconds" in capsys.readouterr().out
    # The user's own runs are left alone.
    assert not folders.exists()


def test_the_conventional_pass_computes_the_same_losses():
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(20) % 10
    place = hardware.choose("cpu", "fp32")
    np.testing.assert_allclose(
        bench.isolation_pass(place, bench.RECIPE)(images, labels),
        conventional.isolation_pass(place, bench.RECIPE)(images, labels),
        atol=1e-4,
    )


def test_the_conventional_cutout_blanks_at_most_two_by_two():
    cut = conventional.cutout(torch.ones(3, 8, 8))
    assert 1 <= (cut[0] == 0).sum() <= 4


def test_a_recipe_takes_as_long_as_its_phases():
    quick = bench.RECIPE
    ours, usual = bench._whole(quick, ((100.0, 50.0), (200.0, 50.0), (1000.0, 50.0)))
    epochs = quick.isolation_epochs + 0.2, quick.finetune_epochs, 1
    assert ours == pytest.approx(sum(epochs) / (epochs[0] / 100 + epochs[1] / 200 + 1 / 1000))
    assert usual == pytest.approx(50)


def test_what_a_step_needs_grows_with_the_network():
    place = hardware.choose("cpu", "fp32")
    small, large = (limits._step(place, replace(bench.RECIPE, model=f"wrn-16-{width}")) for width in (1, 2))
    # Twice the channels are four times the products of nearly all convolutions, and twice the values.
    assert 3 < large[0] / small[0] < 4
    assert 1.5 < large[1] / small[1] < 2
    # By hand: 26.6 million products forward, counted as two operations each, and twice as much backwards.
    assert small[0] == pytest.approx(6 * 26.6e6, rel=0.05)


def test_what_the_page_of_speed_shows_is_measured(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "SIZES", (64, 64))
    for name, value in {"IMAGES": (64,), "BATCHES": (32, 64), "WIDTHS": (1,), "_IMAGES": 64, "_ROUNDS": 1}.items():
        monkeypatch.setattr(scaling, name, value)
    monkeypatch.setattr(scaling, "RUNS", {"cpu": (1,)})
    monkeypatch.setattr(limits, "_SIDE", {"cpu": 64})
    monkeypatch.setattr(limits, "_COPIED", {"cpu": 2**16})
    monkeypatch.setattr(limits, "_ROUNDS", 1)
    monkeypatch.setattr(whole, "_PROFILED", 64)
    written = whole.write(tmp_path / "bench", "cpu", "fp32")
    assert "aten::" in (written.parent / "profile.txt").read_text()
    numbers = json.loads(written.read_text())
    assert numbers["growth"].keys() == {"images", "batch", "width", "runs"}
    assert numbers["growth"]["batch"].keys() == {"32", "64"}
    assert numbers["limits"]["share_of_copy_ceiling"] > 0
    assert {path.name for path in written.parent.iterdir()} == {"bench.json", "profile.txt"}
    # And the page shows it.
    page = cost.page(Collection(written.parent, pd.DataFrame(), []))
    assert any(block.block == "heading" and block.name == "speed" for block in page.blocks)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["training", "--json", "folder"], "is a folder; name a file"),
        (["training", "--json", os.devnull], "is no regular file"),
        (["attacks", "--json", "file/x"], "is no folder; set --json to a folder"),
        (["training", "--to", "file"], "is no folder; set --to to a folder"),
        (["training", "--json", "a.json", "--to", "folder"], "not allowed with argument --json"),
        (["attacks", "--to", "x"], "unrecognized arguments: --to x"),
        (["training", "--device", "tpu"], "'tpu' is no device"),
        (["trainings"], "invalid choice"),
        ([], "the following arguments are required: WHAT"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folders, tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert cli.main(given, parser()) == 2
    told = capsys.readouterr()
    assert message in told.err and told.err.count("\n") == 1 and told.out == ""


def test_it_runs_as_a_module_from_the_clone(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "training", "--help"]
    shown = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True).stdout
    assert "--device" in shown and "conventional" not in shown.splitlines()[0]
