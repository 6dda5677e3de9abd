"""Run folders that are damaged or of others: a report takes only their own regular files, and goes on without them."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablkit.cli import main
from ablkit.files import write_json
from ablkit.report import ledger, results, tables
from ablkit.report.site import build, name_of


def test_only_regular_files_of_the_run_join_the_pages(hostile_runs, tmp_path, capsys):
    secret = tmp_path / "secret"
    secret.write_text("confidential")
    own = hostile_runs[1].folder / "figures"
    for name in ("link", "pipe", "acts", "drawn"):
        (own / f"{name}.csv").write_text("a\n1\n")
        (own / f"{name}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><path d='M 0 0'/></svg>")
    (own / "link.csv").unlink()
    (own / "link.csv").symlink_to(secret)
    (own / "pipe.csv").unlink()
    os.mkfifo(own / "pipe.csv")
    (own / "acts.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    (own / 'a"b?.csv').write_text("a\n1\n")
    (own / 'a"b?.svg').write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    build(hostile_runs, tmp_path / "site", "ablkit report", "smoke")
    copied = {path.name for path in (tmp_path / "site" / "files" / name_of(hostile_runs[1])).iterdir()}
    drawn = {"drawn.csv", "drawn.svg", "training-curves.csv", "training-curves.svg"}
    assert copied == {"metrics.json", *drawn, "acts.csv", "link.svg", "pipe.svg"}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert "figures/link.csv is a link" in line and "figures/pipe.csv is no regular file" in line
    assert "figures/acts.svg is an SVG with <script>" in line and "confidential" not in line


def test_a_linked_folder_of_figures_is_left_out(hostile_runs, tmp_path, capsys):
    own = hostile_runs[1].folder / "figures"
    shutil.move(own, tmp_path / "elsewhere")
    own.symlink_to(tmp_path / "elsewhere")
    build(hostile_runs, tmp_path / "site", "ablkit report", "smoke")
    copied = [path.name for path in (tmp_path / "site" / "files" / name_of(hostile_runs[1])).iterdir()]
    assert copied == ["metrics.json"]
    assert "is a link" in capsys.readouterr().out


def linked(path: Path) -> None:
    shutil.move(path, path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "no notebook": ("notebook.ipynb", Path.unlink, "notebook.ipynb cannot be read"),
    "a notebook that does not parse": ("notebook.ipynb", lambda p: p.write_text("{"), "notebook.ipynb cannot be shown"),
    "a notebook of another shape": ("notebook.ipynb", lambda p: p.write_text("[1]"), "notebook.ipynb cannot be shown"),
    "a notebook without cells": ("notebook.ipynb", lambda p: p.write_text("{}"), "notebook.ipynb cannot be shown"),
    "a linked notebook": ("notebook.ipynb", linked, "notebook.ipynb is a link"),
    "a pipe in place of the notebook": ("notebook.ipynb", piped, "notebook.ipynb is no regular file"),
    "a linked environment": ("env.json", linked, "env.json is a link"),
    "metrics of another shape": ("metrics.json", lambda p: p.write_text("[1, 2]"), "metrics.json is damaged"),
    "metrics that are no numbers": (
        "metrics.json",
        lambda p: p.write_text('{"clean_accuracy": "<b>"}'),
        "metrics.json is damaged (&#39;clean_accuracy&#39; is &#39;&lt;b&gt;&#39;)",
    ),
    "a table without its drawing": (
        "figures/training-curves.svg",
        Path.unlink,
        "figures/training-curves.svg is missing",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_costs_its_own_page_alone(name, hostile_runs, tmp_path, capsys):
    file, damage, reason = DAMAGE[name]
    site = tmp_path / "site"
    damaged, good = site / f"{name_of(hostile_runs[1])}.html", site / f"{name_of(hostile_runs[0])}.html"
    site.mkdir()
    damaged.write_text("of an earlier report")
    damage(hostile_runs[1].folder / file)
    build(hostile_runs, site, "ablkit report", "smoke")
    index = (site / "index.html").read_text(encoding="utf-8")
    assert re.search(f"damaged: (figures/)?{re.escape(reason)}", index)
    assert good.exists() and not damaged.exists() and f'href="{damaged.name}"' not in index
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "is damaged" in line]
    assert line.startswith(f"run/{hostile_runs[1].folder.name} is damaged and gets no page: ")


def test_runs_without_damage_have_their_pages(hostile_runs, tmp_path, capsys):
    _, found = build(hostile_runs, tmp_path / "site", "ablkit report", "smoke")
    assert [result.state for result in found] == ["done", "done", "missing"]
    assert capsys.readouterr().out == ""


def test_a_report_with_a_damaged_run_ends_with_its_table(hostile_runs, tmp_path, capsys):
    (hostile_runs[1].folder / "notebook.ipynb").write_text("{")
    assert main(["report", "--preset", "smoke", "--dataset", "evil", "--as-is", "--to", str(tmp_path / "site")]) == 1
    printed = capsys.readouterr().out
    assert "is damaged and gets no page" in printed and "after unlearning" in printed


def test_pages_that_cannot_be_written_are_refused_before_anything_runs(folders, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["report", "--preset", "smoke", "--to", str(target)]) == 2
        assert "set --to to a folder you may write" in capsys.readouterr().err
    assert not folders.exists()


def test_what_could_not_be_measured_is_a_dash(hostile_runs):
    write_json(hostile_runs[0].folder / "metrics.json", {"attack_success_rate": float("nan"), "clean_accuracy": 0.5})
    found = [results.read(job) for job in hostile_runs]
    rows = {row[0]: row for row in ledger.result_rows(found)[1]}
    assert rows["undefended"][1:5] == ["50.0%", "-", "-", "-"]
    (line,) = [line for line in ledger.ledger(found, "smoke") if line["title"] == "undefended, attack success rate"]
    assert (line["here"], line["n"], line["verdict"]) == ("-", 0, "not run")
    frame = pd.DataFrame({"attack": "badnets", **{name: [np.nan, np.nan] for name in tables.UNDEFENDED}})
    whole = pd.DataFrame({"attack": ["badnets"], "clean_accuracy": [np.nan]})
    for table in (tables.attack_results(frame), tables.shown(whole)):
        assert "nan" not in table.to_html() and ">-<" in table.to_html()
    assert f"{float('nan'):.1%}" == "nan%", "what stood there"


def test_pages_have_names_that_addresses_can_hold(hostile_runs):
    (plain,) = {name_of(job) for job in hostile_runs if job.title == "ABL"}
    assert plain == "run-evil-badnets-abl-seed0"
    names = set()
    for dataset in ("a#b?c", "a b", 'a"b', "a%20b", "ä" * 200, "x" * 250):
        changed = replace(
            hostile_runs[1], parameters=hostile_runs[1].parameters.model_copy(update={"dataset": dataset})
        )
        names.add(name_of(changed))
        assert re.fullmatch(r"[\w.-]{1,150}", name_of(changed), re.ASCII)
    assert len(names) == 6
