"""Nothing that lies about on the machine has a part in a run, and a run leaves nothing lying about."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trivial import DONE, command, job

from ablkit.errors import UserError
from ablkit.runs import environment, execute, private, process

SPIES = ("psutil", "torch", "pandas", "papermill", "IPython", "json", "ablkit", "sitecustomize")


def test_no_file_is_imported_from_the_current_folder_nor_the_notebooks_nor_the_runs(cells, folders, tmp_path):
    cells("import psutil, pandas, json", DONE)
    key = job().folder
    for place in (tmp_path / "here", tmp_path / "notebooks", key):
        place.mkdir(exist_ok=True, parents=True)
        for name in SPIES:
            (place / f"{name}.py").write_text(f"raise SystemExit(print('RAN', {name!r}))")
    done = subprocess.run(command("-p", "precision", "fp32"), cwd=tmp_path / "here", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RAN" not in done.stdout + done.stderr + (key / "log.txt").read_text()
    # The twin: the same files do run where Python is told to look there.
    spied = subprocess.run(
        [sys.executable, "-c", "import psutil"], cwd=tmp_path / "here", capture_output=True, text=True
    )
    assert "RAN psutil" in spied.stdout


def test_settings_of_the_user_for_other_notebooks_do_not_reach_a_run(cells, tmp_path, monkeypatch):
    cells("assert 'PROJECT' not in globals()", DONE)
    home = tmp_path / "home"
    startup = home / ".ipython" / "profile_default" / "startup" / "00.py"
    kernel = home / ".local" / "share" / "jupyter" / "kernels" / "python3" / "kernel.json"
    config = home / ".jupyter" / "jupyter_config.py"
    for path, text in (
        (startup, "PROJECT = 'thesis'"),
        (kernel, json.dumps({"argv": ["/nowhere/python"], "display_name": "mine", "language": "python"})),
        (config, "raise RuntimeError"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    for name in [name for name in os.environ if name.startswith(("JUPYTER", "IPYTHON"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    execute.carry_out(job())
    assert job().state == "done"
    assert sorted(p.name for p in (home / ".ipython" / "profile_default").iterdir()) == ["startup"]  # nothing added


def test_a_folder_of_torch_that_somebody_else_has_taken_does_no_harm(folders, own_temporary, tmp_path, monkeypatch):
    (own_temporary / f"torchinductor_{getpass.getuser()}").touch()
    optimise = "import torch; torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)"
    start = "from ablkit import runs; runs.start('run', {'dataset': 'digits'}); "
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # of a run that started in this process
    asked = {**os.environ, "ABLKIT_CACHE": str(tmp_path / "cache")}
    good = subprocess.run([sys.executable, "-c", start + optimise], capture_output=True, text=True, env=asked)
    assert good.returncode == 0, good.stderr
    # The twin: without a start it is met.
    bare = subprocess.run([sys.executable, "-c", optimise], capture_output=True, text=True, env=asked)
    assert "FileExistsError" in bare.stderr


def test_a_long_folder_for_temporary_files_does_no_harm(cells, tmp_path, monkeypatch):
    cells(DONE)
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    execute.carry_out(job())
    assert job().state == "done"
    with pytest.raises(UserError, match="set TMPDIR to one"), private.private_folder(longest=1):
        pass


def test_variables_that_would_reach_into_a_run_are_kept_from_it(monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", "mine.py")
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}relative{os.pathsep}/absolute{os.pathsep}")
    made = process.variables({})
    assert "PYTHONSTARTUP" not in made
    assert made["PYTHONPATH"].split(os.pathsep) == [os.path.abspath("relative"), "/absolute"]


def test_braces_in_a_path_are_no_names_of_parameters(cells, tmp_path, monkeypatch):
    cells(DONE)
    monkeypatch.setenv("ABLKIT_RUNS", str(tmp_path / "r-{seed}-{x}"))
    execute.carry_out(job())
    assert (tmp_path / "r-{seed}-{x}" / "run" / job().folder.name / "notebook.ipynb").is_file()


def test_threads_of_the_surroundings_are_not_overridden_in_silence(monkeypatch, capsys):
    monkeypatch.setattr(environment, "_say_other", environment._say_other.__wrapped__)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert set(process.threads(1).values()) == {"1"}
    assert capsys.readouterr().err == ""
    assert process.threads(3)["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS=1 has no effect" in capsys.readouterr().err


# Whose commit it is


def git(folder: Path, *arguments: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *own, *arguments], check=True, capture_output=True)


def test_the_commit_of_another_repository_is_not_taken_for_ones_own(tmp_path, monkeypatch):
    outer = tmp_path / "outer"
    inner = outer / "unpacked"
    inner.mkdir(parents=True)
    git(outer, "init", "-q")
    git(outer, "commit", "-q", "--allow-empty", "-m", "theirs")
    monkeypatch.setattr(environment, "project", lambda: inner)
    assert environment.commit() == "unknown: no clone of its own, but within another repository"
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))  # as in a hook of theirs
    assert environment.commit() == "unknown: no clone of its own, but within another repository"
    monkeypatch.setattr(environment, "project", lambda: tmp_path)
    assert environment.commit() == "unknown: no clone"
    monkeypatch.setattr(environment, "project", lambda: outer)
    assert environment.commit() == "unknown: the package is a copy that lies outside of the clone"
    monkeypatch.setattr(environment, "__file__", str(outer / "ablkit" / "runs" / "environment.py"))
    assert len(environment.commit()) == 10
    (outer / "notebooks").mkdir()
    (outer / "notebooks" / "a").write_text("a")
    assert environment.commit().endswith("+changes")
