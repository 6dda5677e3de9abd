"""Runs on the disk are listed, shown, cleared away and exported as they are."""

from __future__ import annotations

import pandas as pd
import pytest

from ablkit.cli import main
from ablkit.files import write_json
from ablkit.runs import key
from ablkit.runs.parameters import check, defaults


@pytest.fixture
def three(folders):
    """A done, a failed and an unfinished run."""
    made = []
    for seed in range(3):
        parameters = check("run", defaults("run", "smoke") | {"seed": seed})
        folder = key.folder_of(key.facts_of("run", parameters, None))
        write_json(folder / "params.json", {"notebook": "run", "parameters": parameters.model_dump()})
        made.append(folder)
    write_json(made[0] / "metrics.json", {"clean_accuracy": 0.75, "attack_success_rate": 0.5})
    write_json(made[1] / "failure.json", {"message": "cell train: it broke"})
    (made[2] / "history.jsonl").write_text('{"stage": "finetune", "epoch": 3}\n')
    return made


def told(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_every_run_is_listed_with_its_state(three, capsys):
    text = told(capsys, "runs")
    assert f"{three[0].name}  done" in text
    assert "CA 75.0%, ASR 50.0%" in text
    assert "cell train: it broke" in text
    assert "unfinished" in text
    assert "finetune 3" in text
    assert "3 runs in" in text


def test_lists_are_filtered_by_state_and_parameter(three, capsys):
    assert "1 runs in" in told(capsys, "runs", "--state", "failed")
    assert three[2].name in told(capsys, "runs", "-p", "seed", "2")
    assert "0 runs in" in told(capsys, "runs", "-p", "seed", "9")
    assert "3 runs in" in told(capsys, "runs", "-p", "poison_rate", "0.10", "-p", "released", "false")
    assert main(["runs", "-p", "sed", "2"]) == 2
    assert "did you mean 'seed'" in capsys.readouterr().err


def test_one_run_is_shown_by_the_beginning_of_its_key(three, capsys):
    text = told(capsys, "runs", three[0].name[:8])
    assert "isolation_epochs" in text
    assert "clean_accuracy                       0.75" in text
    assert main(["runs", "zzz"]) == 2
    assert "'zzz' begins 0 runs" in capsys.readouterr().err


def test_only_failed_runs_are_deleted(three, capsys):
    assert three[1].name in told(capsys, "runs", "--delete-failed")
    assert [folder.exists() for folder in three] == [True, False, True]


def test_finished_runs_are_exported_alike_as_csv_and_parquet(three, tmp_path, capsys):
    written = [str(tmp_path / "results.csv"), str(tmp_path / "results.parquet")]
    for name in ("results", "results.csv"):  # an ending that is given is not given twice
        assert told(capsys, "export", "run", "--to", str(tmp_path / name)).split() == written
    table, exact = pd.read_csv(tmp_path / "results.csv"), pd.read_parquet(tmp_path / "results.parquet")
    assert table["clean_accuracy"].tolist() == exact["clean_accuracy"].tolist() == [0.75]
    assert exact["key"].tolist() == [three[0].name]
    assert main(["export", "loss_gap"]) == 2
    assert "no finished run of loss_gap" in capsys.readouterr().err


def test_what_an_attack_costs_is_read_from_its_runs_with_default_settings_on_the_largest_set(folders, capsys):
    facts = [
        ("trojan", "", 1_000, 4.0),
        ("trojan", "", 10_000, 30.0),
        ("trojan", "", 10_000, 40.0),
        ("trojan", "steps=1", 10_000, 1.0),
        ("blend", "", 10_000, 0.0),
    ]
    for seed, (attack, settings, images, seconds) in enumerate(facts):
        own = {"attack": attack, "attack_settings": settings, "seed": seed}
        parameters = check("run", defaults("run", "smoke") | own)
        folder = key.folder_of(key.facts_of("run", parameters, None))
        write_json(folder / "params.json", {"notebook": "run", "parameters": parameters.model_dump()})
        write_json(folder / "metrics.json", {"training_images": images, "poisoning_seconds": seconds})
    text = told(capsys, "attacks")
    assert "cost: 35 s to make on 10,000 images (median of 2 runs here)" in text
    assert "cost: nothing to train or optimise" in text
    assert "cost: unknown before a run; ablkit run run -p attack badnets" in text
    assert "without a mixing partner: partner=false" in text
