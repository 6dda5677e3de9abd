"""Runs that were made before, with other code or data, are told before they are made anew."""

from __future__ import annotations

import json

import pytest
from trivial import DONE, job

from ablkit.cli import main
from ablkit.files import write_json
from ablkit.runs import before, execute
from ablkit.runs.key import folder_of

LINE = "1 run was made before with other code, and may come out otherwise; made anew, beside the old"


def test_a_run_of_other_code_is_told_before_it_is_made_anew(cells, tmp_path, capfd):
    cells(DONE)
    first = execute.carry_out(job()).folder
    assert before.told([job()]) == []  # it is done
    cells(DONE + "pass")
    assert job().folder != first and before.told([job(), job()]) == [LINE]
    # The twins: another seed was never made; what is damaged, or from JupyterLab, tells nothing.
    assert before.told([job(seed=1)]) == []
    facts = json.loads((first / "params.json").read_text())
    for changed in ("{", json.dumps(facts | {"code": "interactive"}), json.dumps(facts | {"code": "forged"})):
        (first / "params.json").write_text(changed)
        assert before.told([job()]) == []
    (first / "params.json").write_text(json.dumps(facts))
    # A sweep counts them before it starts, and a single run says it.
    file = tmp_path / "one.yaml"
    file.write_text("notebook: run\npreset: smoke\nparams: {precision: fp32}\ngrid: {seed: [0, 1]}\n")
    assert main(["sweep", str(file), "--dry-run"]) == 0
    assert capfd.readouterr().out.splitlines()[:2] == [f"{file}: 2 runs, 0 of them done", LINE]
    assert main(["run", "run", "--preset", "smoke", "-p", "precision", "fp32"]) == 0
    assert capfd.readouterr().out.startswith(f"{LINE}\n")
    assert before.told([job()]) == []


@pytest.mark.parametrize(
    ("name", "word"), [("data", "data"), ("place", "device or precision"), ("package", "code"), ("attack", "files")]
)
def test_what_differs_is_named(name, word, cells):
    cells(DONE)
    wanted = job()
    facts = json.loads(json.dumps(wanted.facts))
    earlier = facts | {name: "other"}
    write_json(folder_of(earlier) / "params.json", earlier)
    write_json(folder_of(earlier) / "metrics.json", {})
    assert before.told([wanted]) == [LINE.replace("code", word)]
