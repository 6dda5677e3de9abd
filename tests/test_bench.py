"""The benchmark measures both pipelines and writes what it prints; speed itself is no matter of tests."""

from __future__ import annotations

import json

import numpy as np
import torch

from ablkit.bench import attacks, sweeps
from ablkit.bench import training as bench
from ablkit.training import hardware


def test_the_benchmark_writes_rates_and_ratios(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "SIZES", (128, 64))
    figures = bench.bench("cpu", "fp32", tmp_path / "bench.json")
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "bench.json").read_text())
    for phase in ("phase1", "finetune", "isolation_pass"):
        assert written[phase] == figures[phase]
        assert figures[phase]["images_per_second"] > 0
        assert phase in printed
    assert written["environment"]["precision"] == "fp32"


def test_the_benchmark_of_attacks_measures_each_closed_form(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(attacks, "ROUNDS", 1)
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
        bench._ours_isolation(place)(images, labels), bench._usual_isolation(place)(images, labels), atol=1e-4
    )


def test_the_conventional_cutout_blanks_at_most_two_by_two():
    cut = bench._usual_cutout(torch.ones(3, 8, 8))
    assert 1 <= (cut[0] == 0).sum() <= 4
