"""Every mistake on the command line: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from ablkit.cli import main
from ablkit.runs import durations
from ablkit.runs.parameters import defaults

ATTACKS = ["run", "attacks", "--preset", "smoke"]
DIGITS = ["run", "run", "--preset", "smoke"]
CLEAN = [*DIGITS, "-p", "poison_rate", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "runn"], "'runn' is no notebook; did you mean 'run'?"),
        ([*DIGITS, "-p", "gama", "1"], "'gama' is no parameter of run; did you mean 'gamma'?"),
        ([*DIGITS, "-p", "gamma", "high"], "parameter gamma of run: input should be a valid number"),
        ([*DIGITS, "-p", "attack", "badnet"], "'badnet' is no attack; did you mean 'badnets'?"),
        ([*DIGITS, "-p", "dataset", "digit"], "'digit' is no dataset; did you mean 'digits'?"),
        ([*DIGITS, "-p", "poison_rate", "1.5"], "poison_rate 1.5 is outside [0, 1)"),
        (
            [*DIGITS, "-p", "poison_rate", "0.0001"],
            "poisons none of 600 training images; raise it, or give 0",
        ),
        ([*DIGITS, "-p", "attack_settings", "cover=0.9"], "cover 0.9 asks for 540 images, but only"),
        (
            [*DIGITS, "-p", "poison_rate", "0", "-p", "attack", "cba", "-p", "attack_settings", "class_a=0"],
            "must be three classes",
        ),
        ([*DIGITS, "-p", "monitor_images", "-1"], "monitor_images -1 is too few to measure"),
        ([*DIGITS, "-p", "poison_rate", "0.99"], "may be poisoned (not of the target class)"),
        ([*DIGITS, "-p", "target", "10"], "target 10 is no class of digits; choose 0 to 9"),
        ([*DIGITS, "-p", "isolation_rate", "0.0001"], "isolation_rate 0.0001 selects 0 of 600 training images"),
        ([*DIGITS, "-p", "train_size", "9999"], "train_size 9999"),
        ([*DIGITS, "-p", "model", "wrn-17-1"], "model 'wrn-17-1'"),
        ([*DIGITS, "-p", "method", "nda"], "'nda' is no method; did you mean 'nad'"),
        ([*DIGITS, "-p", "device", "tpu"], "'tpu' is no device"),
        ([*DIGITS, "-f", "missing.yaml"], "missing.yaml does not exist"),
        (["run", "run", "--preset", "quik"], "'quik' is no preset; did you mean 'quick'?"),
        (["report", "--preset", "smoke", "--seeds", "0", "0"], "seeds 0 0 name one twice"),
        (["report", "--preset", "smoke", "--seeds", "-1"], "--seeds '-1' must be a whole number from 0"),
        (["data", "imagenet"], "'imagenet' is no dataset"),
        ([*DIGITS, "-p", "method", "nad", "-p", "held_out", "0"], "held_out 0.0 leaves 0 clean images"),
        ([*DIGITS, "-p", "momentum", "2"], "momentum 2.0 never converges"),
        ([*DIGITS, "-p", "model", "wrn-10-999"], "is larger than any that is trained here"),
        (["run", "table1", "--preset", "released", "-p", "dataset", "digits"], "leaves 0 clean images"),
        ([*ATTACKS, "-p", "changes", "target=17"], "target 17 is no class of digits"),
        ([*ATTACKS, "-p", "target", "17"], "target is no parameter of attacks; set it in changes, as 'target=...'"),
        ([*ATTACKS, "-p", "preset", "paper"], "preset is given twice, 'smoke' and 'paper'; leave one out"),
        ([*ATTACKS, "-p", "seeds", "0 00"], "must name one or more, each once"),
        (["run", "sweep", "-p", "file", "/etc/passwd"], "must be the name of a file in notebooks/sweeps"),
        (["run", "sweep", "-p", "file", "slurm.sh"], "slurm.sh"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folders, capsys, as_users_run_it, arguments, message):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("ablkit: ")
    assert printed.err.count("\n") == 1
    assert not folders.exists()


def test_a_current_folder_that_is_gone_is_one_line(folders, tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["attacks"]) == 2
    assert capsys.readouterr().err == ("ablkit: the current folder does not exist any more; change to one that does\n")


def test_the_home_folder_may_be_written_as_a_tilde(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--as-is", "--preset", "smoke", "--to", "~/pages"]) == 0
    assert (tmp_path / "home" / "pages" / "index.html").is_file() and not (tmp_path / "~").exists()


def test_damaged_data_are_named_before_anything_starts(folders, tmp_path, monkeypatch, capsys, data_root):
    import shutil

    monkeypatch.setenv("ABLKIT_DATA", str(tmp_path / "data"))
    shutil.copytree(data_root / "digits", tmp_path / "data" / "digits")
    path = tmp_path / "data" / "digits" / "train_labels.npy"
    labels = np.load(path)
    labels[0] = (labels[0] + 1) % 10
    np.save(path, labels)
    assert main(DIGITS) == 2
    error = capsys.readouterr().err
    assert "train_labels.npy" in error
    assert error.count("\n") == 1
    assert not folders.exists()


def test_a_loss_that_is_not_finite_is_one_line(folders, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / "cache"))
    assert main([*DIGITS, "-p", "train_size", "200", "-p", "finetune_learning_rate", "1e30"]) == 2
    error = capsys.readouterr().err
    assert "in stage finetune, epoch 1; lower its learning rate" in error
    assert error.count("\n") == 1
    (folder,) = (folders / "run").iterdir()
    assert not (folder / "metrics.json").exists()
    assert durations.has_checkpoint(folder)


def test_a_stage_of_other_parameters_is_dropped_with_a_line(folders, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / "cache"))
    wrong = [*DIGITS, "-p", "train_size", "200", "-p", "finetune_learning_rate", "1e30"]
    assert main([*wrong, "-p", "gamma", "0.5"]) == 2
    (own,) = (tmp_path / "cache" / "stages").glob("*/checkpoint.safetensors")
    assert main([*wrong, "-p", "gamma", "0.4"]) == 2
    (other,) = {*(tmp_path / "cache" / "stages").glob("*/checkpoint.safetensors")} - {own}
    other.write_bytes(own.read_bytes())
    capsys.readouterr()
    assert main([*wrong, "-p", "gamma", "0.4"]) == 2
    said = capsys.readouterr()
    assert "is dropped: it belongs to a training with other data or settings" in said.out
    assert "the loss is" in said.err  # of its own training, which has started again


def test_parameters_from_a_file_and_from_the_line_end_in_one_run(folders, tmp_path, capsys):
    (tmp_path / "p.yaml").write_text("train_size: 200\nunlearn_learning_rate: 1e-3\nseed: 5\n")
    assert main([*DIGITS, "-f", str(tmp_path / "p.yaml"), "-p", "seed", "7"]) == 0
    assert "attack_success_rate" in capsys.readouterr().out
    (folder,) = (folders / "run").iterdir()
    values = json.loads((folder / "params.json").read_text())["parameters"]
    assert (values["train_size"], values["unlearn_learning_rate"], values["seed"]) == (200, 1e-3, 7)
    assert main([*DIGITS, "-f", str(tmp_path / "p.yaml"), "-p", "seed", "7"]) == 0
    assert capsys.readouterr().out.startswith("done before:")


def test_the_parameters_command_prints_what_papermill_reads(capsys):
    assert main(["parameters", "run", "--preset", "released"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == defaults("run", "released")


def test_the_command_is_installed_and_quick_to_refuse(tmp_path):
    command = [str(Path(sys.executable).with_name("ablkit")), "run", "runn"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ablkit: 'runn' is no notebook; did you mean 'run'?\n"


def test_the_way_out_without_a_download_works(folders, capsys, tmp_path):
    from ablkit.report.plan import jobs

    needed = jobs("quick", [0], {"dataset": "digits"})
    assert [job.parameters.train_size for job in needed if job.notebook == "run"] == [0, 0]
    quickest = ["-p", "isolation_epochs", "1", "-p", "finetune_epochs", "0", "-p", "unlearn_epochs", "1"]
    assert main(["run", "run", "-p", "dataset", "digits", "-p", "model", "wrn-10-1", *quickest]) == 0
    assert "training_images                      1365" in capsys.readouterr().out  # of 1437; 5 % are held out


def test_a_run_that_another_process_fills_is_left_alone(folders, capsys):
    import fcntl

    assert main([*DIGITS, "-p", "train_size", "200", "-p", "finetune_learning_rate", "1e30"]) == 2
    (folder,) = (folders / "run").iterdir()
    capsys.readouterr()
    with open(folder / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main([*DIGITS, "-p", "train_size", "200", "-p", "finetune_learning_rate", "1e30"]) == 2
    assert "is being filled by another process" in capsys.readouterr().err
