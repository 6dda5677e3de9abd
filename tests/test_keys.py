"""A run is what its key stands for: this notebook, this package, these parameters; else it is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from trivial import DONE, STARTS, job, metrics

from ablkit import execute, notebooks, provenance, runs
from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.jobs import Job
from ablkit.parameters import check


def test_a_notebook_that_is_edited_after_its_key_is_known_runs_as_it_was(cells):
    cells(DONE)
    wanted = job()
    key = wanted.folder.name
    cells(DONE.replace("seed}", "-1}"))
    outcome = execute.carry_out(wanted)
    assert outcome.folder == wanted.folder and wanted.state == "done"
    assert metrics(wanted) == {"seed_seen": 0}
    # The twin: what is planned now is another run.
    assert job().folder.name != key
    assert metrics(Job("run", "", execute.execute("run", wanted.parameters) and wanted.parameters)) == {"seed_seen": -1}


def test_a_process_that_imports_other_code_than_the_runners_refuses(cells, monkeypatch):
    cells(DONE)
    monkeypatch.setattr(provenance, "planned", lambda: "text digest")
    with pytest.raises(UserError, match="ablkit has changed since this run was planned; start the same command again"):
        execute.carry_out(job())
    assert job().state == "failed"
    monkeypatch.undo()


def test_other_words_are_the_same_code_and_another_statement_is_not(monkeypatch):
    sources = provenance._SOURCES
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"metrics.py": sources["metrics.py"] + "\n# more\n"})
    provenance.check_unchanged()
    for changed in (sources["metrics.py"] + "\nx = 1\n", "half sav(", None):
        now = {**sources, "metrics.py": changed} if changed else {k: v for k, v in sources.items() if k != "metrics.py"}
        monkeypatch.setattr(provenance, "_read", lambda now=now: now)
        with pytest.raises(UserError, match=r"ablkit/metrics\.py has changed since this process imported it"):
            provenance.check_unchanged()
    # What decides no result may change.
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"cli.py": "x = 1"})
    provenance.check_unchanged()


def test_a_digest_is_that_of_the_code_that_was_imported(tmp_path):
    copy = tmp_path / "ablkit"
    shutil.copytree(Path(provenance.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import pathlib; from ablkit import provenance; f = pathlib.Path(provenance.__file__).with_name('metrics.py')"
        "; f.write_text(f.read_text() + 'x = 1\\n'); print(provenance.package_digest('metrics.py'))"
    )
    asked = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    first, second = (
        subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, env=asked, check=True)
        for _ in range(2)
    )
    assert first.stdout.strip() == provenance.package_digest("metrics.py") != second.stdout.strip()


def test_the_number_of_threads_is_part_of_the_key():
    assert job(threads=1).folder == job().folder != job(threads=2).folder
    for wrong in (0, -1, 10**6):
        with pytest.raises(UserError, match=r"threads .* must be a whole number from 1 to 1024"):
            check("run", {"threads": wrong})


def test_a_notebook_that_sets_other_parameters_than_the_planned_ones_is_refused(cells):
    cells("seed = 7", STARTS)
    with pytest.raises(UserError, match=r"not the one that was planned: seed = 7 differs"):
        execute.carry_out(job())
    assert json.loads((job().folder / "params.json").read_text())["parameters"]["seed"] == 0
    # The twin: the same cell with the planned value is no other run.
    cells("seed = 0", STARTS)
    assert execute.carry_out(job()).was_done is False


def test_what_is_done_is_never_relabelled(cells):
    cells(DONE)
    wanted = job(seed=3)
    execute.carry_out(wanted)
    record = wanted.folder / "params.json"
    other = json.loads(record.read_text())
    other["parameters"]["seed"] = 4
    record.write_text(json.dumps(other))
    assert execute.carry_out(job(seed=3)).was_done is False  # it was made again
    assert execute.carry_out(job(seed=3)).was_done is True


@pytest.mark.parametrize("name", ["methods.py", "parameters/models.py", "settings.py", "attacks/sig.py"])
def test_whatever_decides_a_run_is_in_its_digest(name, monkeypatch):
    def digest() -> str:
        provenance.package_digest.cache_clear()
        return provenance.package_digest()

    before = digest()
    sources = provenance._SOURCES
    monkeypatch.setattr(provenance, "_SOURCES", sources | {name: sources[name] + "\nx = 1\n"})
    assert digest() != before
    # The twin: what decides none is not.
    monkeypatch.setattr(provenance, "_SOURCES", sources | {"cli.py": sources["cli.py"] + "\nx = 1\n"})
    assert digest() == before
    provenance.package_digest.cache_clear()


def test_what_a_parameters_cell_does_beside_setting_parameters_is_in_the_key(cells):
    def key(extra: str) -> str:
        path = cells(DONE)
        made = nbformat.read(path, as_version=4)
        made.cells[0].source += extra
        nbformat.write(made, path)
        return notebooks.read("run").digest

    assert key("\nFACTOR = 1.0") != key("\nFACTOR = 2.0") != key("")
    assert key("\nseed: int = 5  # another default") == key("")


@pytest.mark.parametrize("name", ["notebook.ipynb", "env.json", "metrics.json", "files.json"])
def test_a_done_run_without_one_of_its_files_is_made_again(cells, name):
    cells('import os, pathlib\npathlib.Path(os.environ["ABLKIT_RUN_FOLDER"], "env.json").write_text("{}")', DONE)
    execute.carry_out(job())
    (job().folder / name).write_text('{"seed_seen": 1}')
    assert execute.carry_out(job()).was_done is False
    assert metrics(job()) == {"seed_seen": 0}
    assert execute.carry_out(job()).was_done is True


# Notebooks that cannot be run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "run.ipynb, line 1 is no JSON, so no notebook (it is empty)"),
        ('{\n "cells": [\n<<<<<<< ours\n', "run.ipynb, line 3 is no JSON, so no notebook (it holds the marks of a me"),
        ("[1]", "run.ipynb is no notebook: it has no list of cells"),
        ('{"cells": [3]}', "run.ipynb: cell 1 is no cell of a notebook"),
        ('{"cells": [{"source": "1"}]}', "run.ipynb: cell 1 is no cell of a notebook"),
        ('{"cells": [{"cell_type": "code", "source": [1]}]}', "cell 1 is no cell"),
        ('{"cells": [{"cell_type": "code", "source": "", "metadata": {"tags": 5}}]}', "cell 1 is no cell"),
        ('{"cells": [], "metadata": [1]}', "its metadata are no object"),
        ("[" * 100_000, "is no JSON, so no notebook"),
        (b"\xff\xfe\x00", "is damaged: it is no text"),
    ],
)
def test_a_damaged_notebook_is_named_with_its_line(cells, folders, tmp_path, capsys, content, message):
    path = cells(DONE)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["run", "run", "--preset", "smoke"]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not folders.exists()


def test_a_notebook_without_its_tag_is_refused_before_anything_starts(cells, folders, capsys):
    path = cells(DONE)
    made = nbformat.read(path, as_version=4)
    made.cells[0].metadata.pop("tags")
    nbformat.write(made, path)
    assert main(["run", "run", "--preset", "smoke", "-p", "seed", "3"]) == 2
    assert "has 0 cells with the tag 'parameters'" in capsys.readouterr().err
    assert not folders.exists()


def test_a_byte_order_mark_and_missing_metadata_do_no_harm(cells):
    path = cells(DONE)
    content = json.loads(path.read_text())
    content["metadata"] = {}
    path.write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    execute.carry_out(job(seed=5))
    assert metrics(job(seed=5)) == {"seed_seen": 5}


def test_a_run_in_jupyter_after_an_edit_of_the_package_asks_for_a_new_kernel(folders, monkeypatch):
    sources = provenance._SOURCES
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"metrics.py": "x = 1"})
    with pytest.raises(UserError, match="restart the kernel"):
        runs.start("run", dict(job().parameters))
    assert not folders.exists()


def test_the_copy_that_runs_holds_both_notebooks(tmp_path):
    source = notebooks.read("loss_gap")
    assert source.write(tmp_path / "copy").name == "loss_gap.ipynb"
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["loss_gap.ipynb", "run.ipynb", "sweeps"]
    assert (tmp_path / "copy" / "sweeps" / "smoke.yaml").is_file()
