"""A run is what its key stands for: this notebook, this package, these parameters; else it is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import ordered, toy
from trivial import DONE, STARTS, job, metrics

from ablkit import data, provenance, runs
from ablkit.attacks import ATTACKS
from ablkit.cli import main
from ablkit.defenses import DEFENSES, METHODS, settings_of
from ablkit.errors import UserError
from ablkit.runs import execute, notebooks
from ablkit.runs.job import Job
from ablkit.runs.parameters import check, defaults


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
    monkeypatch.setattr(provenance, "planned", lambda *_: "text digest")
    with pytest.raises(UserError, match="ablkit has changed since this run was planned; start the same command again"):
        execute.carry_out(job())
    assert job().state == "failed"
    monkeypatch.undo()


def test_other_words_are_the_same_code_and_another_statement_is_not(monkeypatch):
    sources, name = provenance._SOURCES, "ablkit.metrics.definitions"
    monkeypatch.setattr(provenance, "_read", lambda: sources | {name: sources[name] + "\n# more\n"})
    provenance.check_unchanged("ablkit.metrics.summary")
    for changed in (sources[name] + "\nx = 1\n", "half sav(", None):
        now = {**sources, name: changed} if changed else {k: v for k, v in sources.items() if k != name}
        monkeypatch.setattr(provenance, "_read", lambda now=now: now)
        with pytest.raises(UserError, match=r"ablkit\.metrics\.definitions has changed since this process imported it"):
            provenance.check_unchanged("ablkit.metrics.summary")
    # What decides no result may change.
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"ablkit.cli": "x = 1"})
    provenance.check_unchanged("ablkit.metrics.summary")


def test_a_key_stands_for_what_is_named_in_a_sweep_file_and_for_the_words_of_a_verdict(monkeypatch):
    def stands_for(notebook: str) -> set[str]:
        return set(provenance.everything(*check(notebook, defaults(notebook)).modules()))

    assert {"ablkit.attacks.badnets", "ablkit.attacks.dfst.style", "ablkit.defenses.training"} <= stands_for("sweep")
    assert "ablkit.report.findings.your_data" in stands_for("your_data")
    # The twins: what shows the results of others has no part in them.
    assert not any(name.startswith("ablkit.report") for name in stands_for("sweep") | stands_for("run"))
    own = check("sweep", defaults("sweep"))
    first = own.outside()
    assert own.outside() == first
    monkeypatch.setattr(data, "digest", lambda name: "another")
    assert own.outside() != first


def test_a_digest_is_that_of_the_code_that_was_imported(tmp_path):
    copy = tmp_path / "ablkit"
    shutil.copytree(Path(provenance.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import pathlib; from ablkit import provenance; f = pathlib.Path(provenance.__file__).with_name('errors.py')"
        "; f.write_text(f.read_text() + 'x = 1\\n'); print(provenance.digest('ablkit.errors'))"
    )
    asked = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    first, second = (
        subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, env=asked, check=True)
        for _ in range(2)
    )
    assert first.stdout.strip() == provenance.digest("ablkit.errors") != second.stdout.strip()


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


MADE = {
    "a badnets run": (("ablkit.runs.methods", "ablkit.attacks.badnets"), {}),
    "an lba run": (("ablkit.runs.methods", "ablkit.attacks.lba"), {"attack": "lba"}),
    "an oracle run": (("ablkit.runs.methods",), {"method": "oracle"}),
    "an nad run": (("ablkit.runs.methods", "ablkit.defenses.repairs.nad"), {"method": "nad"}),
}
"""What is made -> modules that surely have a part in it, and the parameters."""


def import_lines(source: str) -> set[str]:
    """The modules that a source imports, read from its lines and not from its syntax tree as the package does."""
    joined = re.sub(r"\(\s*([^)]*?)\s*\)", lambda m: " ".join(m[1].split()), source)
    found = set()
    for package, names in re.findall(r"^\s*from (ablkit[\w.]*) import ([\w ,]+)", joined, re.MULTILINE):
        for name in (word.split()[0] for word in names.split(",") if word.strip()):
            found.add(f"{package}.{name}" if f"{package}.{name}" in provenance._SOURCES else package)
    return found


def part_of(made: str) -> set[str]:
    """The modules that have a part in what is made, found without the package's own search."""
    _, changes = MADE[made]
    cells = "\n".join("".join(cell["source"]) for cell in notebooks.cells(notebooks.path_of("run")))
    left = {module for module in import_lines(cells) if not module.startswith("ablkit.report")}
    left |= {f"ablkit.attacks.{changes.get('attack', 'badnets')}"}
    left |= {"ablkit.defenses.repairs.nad"} if changes.get("method") == "nad" else set()
    found = set()
    while left:
        found |= left
        left = {more for one in left for more in import_lines(provenance._SOURCES[one])} - found
    return found


def with_change(monkeypatch, name: str) -> None:
    """Let this process have imported a module with one statement more."""
    sources = provenance._SOURCES
    monkeypatch.setattr(provenance, "_SOURCES", sources | {name: sources[name] + "\nx = 1\n"})
    provenance._imported.cache_clear()
    provenance.digest.cache_clear()


@pytest.fixture
def forgets():
    yield
    provenance._imported.cache_clear()
    provenance.digest.cache_clear()


@pytest.mark.parametrize("made", MADE)
def test_a_key_changes_with_each_module_that_is_imported_and_with_no_other(made, monkeypatch, forgets):
    surely, changes = MADE[made]
    key = job(**changes).folder.name
    expected = part_of(made)
    assert set(surely) <= expected < set(provenance._SOURCES)
    for name in provenance._SOURCES:
        with monkeypatch.context() as changed:
            with_change(changed, name)
            assert (job(**changes).folder.name != key) == (name in expected), name


@pytest.mark.parametrize("maker", ["_train_model", "_train_injector"])
def test_the_cache_of_an_attacker_changes_with_what_its_maker_imports(maker, monkeypatch, forgets):
    from ablkit.attacks.attacker import cache
    from ablkit.attacks.dfst import detoxification

    order = ordered(toy(20, 0), np.arange(2))

    def key() -> str:
        return cache._key(order, {}, partial(partial(getattr(detoxification, maker), 1), 2))

    first = key()
    for name, has_a_part in (("ablkit.attacks.attacker.features", True), ("ablkit.attacks.lba", False)):
        with monkeypatch.context() as changed:
            with_change(changed, name)
            assert (key() != first) == has_a_part, name
    with pytest.raises(ValueError, match="no module of this package"):  # it would be found again whatever it does
        cache._key(order, {}, partial(partial))


@pytest.mark.parametrize("magic", ["%matplotlib inline", "!ls", "if True:\n    %time x = 1"])
def test_a_magic_before_the_imports_takes_none_of_them_from_the_key(magic):
    cell = "from ablkit.runs import methods\nif True:\n    from ablkit import attacks"
    assert notebooks._imports(f"{magic}\n{cell}") == {"ablkit.runs.methods", "ablkit.attacks"}
    # What cannot be read at all stands for everything; the twin: a cell without imports for nothing.
    assert notebooks._imports(f"{cell}\nthis is no code") == set(provenance.every_module())
    assert notebooks._imports("x = 1") == set()


def test_what_is_put_into_a_registry_brings_the_modules_of_its_functions(monkeypatch):
    monkeypatch.setitem(ATTACKS, "mine", ATTACKS["blend"])
    assert ATTACKS.module("mine") == ("ablkit.attacks.attack", "ablkit.attacks.blend")
    monkeypatch.setitem(ATTACKS, "badnets", ATTACKS["blend"])
    assert "ablkit.attacks.blend" in ATTACKS.module("badnets")
    monkeypatch.undo()
    assert ATTACKS.module("badnets") == ("ablkit.attacks.badnets",)  # the twin
    with pytest.raises(KeyError):
        del ATTACKS["nope"]


def test_a_defence_that_is_put_in_is_a_method(monkeypatch):
    assert "mine" not in METHODS  # the twin
    monkeypatch.setitem(DEFENSES, "mine", DEFENSES["nad"])
    assert METHODS["mine"] == METHODS["nad"] == "NAD" and list(METHODS)[-1] == "mine"
    assert settings_of("mine", "") == settings_of("nad", "")


def test_the_cache_of_an_attacker_knows_of_threads(monkeypatch):
    from ablkit.attacks.attacker import cache

    def key() -> str:
        order = ordered(toy(20, 0), np.arange(2))
        return cache._key(order, {}, cache.own_seed)

    first = key()
    assert key() == first  # the twin
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert key() != first


def test_all_that_drives_a_training_is_in_the_keys_of_its_stages():
    room = {name for name in provenance._SOURCES if name.startswith("ablkit.training.")}
    assert room <= set(provenance.everything("ablkit.training"))


def test_no_module_is_imported_in_a_way_that_the_keys_do_not_see():
    """Twin: what names its modules at run time is a Registry, and each of those is in the key where it is used."""
    dynamic = [name for name, source in provenance._SOURCES.items() if "import_module(" in source]
    assert sorted(dynamic) == ["ablkit.data.vision", "ablkit.provenance", "ablkit.runs"]  # the first: torchvision's
    assert not [name for name, source in provenance._SOURCES.items() if re.search(r"^\s*from \.", source, re.M)]


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
    monkeypatch.setattr(provenance, "_read", lambda: sources | {"ablkit.metrics.definitions": "x = 1"})
    with pytest.raises(UserError, match="restart the kernel"):
        runs.start("run", dict(job().parameters))
    assert not folders.exists()


def test_the_copy_that_runs_holds_both_notebooks(tmp_path):
    source = notebooks.read("loss_gap")
    assert source.write(tmp_path / "copy").name == "loss_gap.ipynb"
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["loss_gap.ipynb", "run.ipynb", "sweeps"]
    assert (tmp_path / "copy" / "sweeps" / "smoke.yaml").is_file()
