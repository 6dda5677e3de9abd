"""Finished runs travel as one archive: always the same bytes, never weights, and nothing that pages need is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from finished import names, packed, refusal

from ablkit.cli import main
from ablkit.files import write_text
from ablkit.runs import arrays, bundle, seals
from ablkit.training import checkpoint


def test_an_archive_holds_what_pages_and_tables_need_and_no_weights(made, tmp_path):
    one = made(0)
    found = {name.split("/", 2)[2] for name in names(packed(tmp_path))}
    figures = {"figures/loss-gap.csv", "figures/loss-gap.svg", "figures/isolated-images.png"}
    arrays = {"isolated.npy", "losses.npy", "poisoned.npy", "trajectories.npz"}
    kept = {"params.json", "env.json", "metrics.json", "history.jsonl", "files.json", "left_out.json", "notebook.ipynb"}
    assert found == kept | arrays | figures
    size = (one.folder / "model.safetensors").stat().st_size
    assert json.loads(bundle.files_of(one.folder)["left_out.json"]) == {"model.safetensors": size}


def test_the_same_runs_always_give_the_same_bytes(made, tmp_path):
    ones = [made(seed) for seed in range(3)]
    first = packed(tmp_path).read_bytes()
    for one in ones:
        for path in one.folder.rglob("*"):
            os.utime(path, (1, 1))
    keys = [one.folder.name for one in ones]
    assert packed(tmp_path, *keys[::-1], keys[0][:11]).read_bytes() == first  # in any order, each once
    assert packed(tmp_path, *keys[:2]).read_bytes() != first  # the twin


def test_a_sweep_gives_those_of_its_runs_that_are_done(made, tmp_path, capsys):
    ones = [made(seed) for seed in (0, 1)]
    made(5)
    path = tmp_path / "sweep.yaml"
    path.write_text("notebook: run\npreset: smoke\nparams: {precision: fp32}\ngrid: {seed: [0, 1, 2]}\n")
    keys = {name.split("/")[1] for name in names(packed(tmp_path, "--sweep", str(path)))}
    assert keys == {one.folder.name for one in ones}
    assert "2 of 3 runs are done" in capsys.readouterr().out


def test_what_does_not_fit_is_named_with_the_command_that_bundles_it(made, tmp_path, capsys, monkeypatch):
    ones = sorted((made(seed) for seed in range(3)), key=lambda one: one.folder)
    monkeypatch.setattr(bundle, "MOST", int(1.2 * packed(tmp_path, ones[0].folder.name).stat().st_size))
    capsys.readouterr()
    to = str(tmp_path / "small.tar.gz")
    assert main(["runs", "bundle", "--to", to]) == 1
    out = capsys.readouterr().out
    assert "1 run in" in out and Path(to).stat().st_size <= bundle.MOST
    (line,) = [line for line in out.splitlines() if line.startswith("left out")]
    assert f"`ablkit runs bundle {ones[1].folder.name} {ones[2].folder.name} --to ANOTHER_FILE`" in line
    assert main(["runs", "bundle", ones[2].folder.name, "--to", to]) == 0


def test_a_large_notebook_stays_and_a_large_history_is_refused(made, tmp_path, capsys, monkeypatch):
    one = made(0)
    monkeypatch.setattr(bundle, "MOST_OF_A_FILE", 4000)
    (one.folder / "notebook.ipynb").write_text(json.dumps({"cells": ["x" * 5000]}))
    seals.seal(one.folder, one.folder / "metrics.json")
    archive = packed(tmp_path)
    assert not any("notebook" in name for name in names(archive))
    assert set(json.loads(bundle.files_of(one.folder)["left_out.json"])) == {"model.safetensors", "notebook.ipynb"}
    checkpoint.write_history(one.folder, [{"stage": "isolate", "epoch": k} for k in range(200)])
    seals.seal(one.folder, one.folder / "metrics.json")
    told = refusal(capsys, "runs", "bundle", "--to", str(archive))
    assert "history.jsonl has more than" in told


def test_what_is_not_whole_is_not_bundled_and_a_former_archive_stays(made, tmp_path, capsys, monkeypatch):
    one, other = made(0), made(1)
    archive = packed(tmp_path)
    before = archive.read_bytes()
    (one.folder / "isolated.npy").write_bytes(b"changed")
    assert "isolated.npy is damaged" in refusal(capsys, "runs", "bundle", one.folder.name, "--to", str(archive))
    (one.folder / "metrics.json").unlink()
    assert "only finished runs" in refusal(capsys, "runs", "bundle", one.folder.name, "--to", str(archive))
    assert archive.read_bytes() == before
    monkeypatch.setattr(os, "replace", None)  # as killed before the last step
    with pytest.raises(TypeError):
        bundle.write(archive, [other.folder])
    monkeypatch.undo()
    assert archive.read_bytes() == before and not list(tmp_path.glob(".*.tmp"))


def test_damaged_runs_are_named_and_the_others_bundled(made, tmp_path, capsys):
    one, other = made(0), made(1)
    (one.folder / "losses.npy").unlink()
    assert main(["runs", "bundle", "--to", str(tmp_path / "a.tar.gz")]) == 1
    assert one.folder.name in capsys.readouterr().err
    assert {name.split("/")[1] for name in names(tmp_path / "a.tar.gz")} == {other.folder.name}


def test_every_sealed_file_travels_or_may_stay():
    assert set(seals.SEALED) - {"model.safetensors"} <= set(bundle.NAMES)


def test_what_was_excluded_travels(made, tmp_path, elsewhere):
    one = made(0)
    np.save(one.folder / "excluded.npy", np.array([4, 2]))
    seals.seal(one.folder, one.folder / "metrics.json")
    archive = packed(tmp_path)
    there = elsewhere()
    assert main(["runs", "add", str(archive)]) == 0
    assert arrays.excluded(there / "run" / one.folder.name, 20).tolist() == [4, 2]


def test_which_images_are_poisoned_and_their_picture_travel(made, tmp_path, elsewhere):
    one = made(0)
    picture = (one.folder / "figures" / "isolated-images.png").read_bytes()
    archive = packed(tmp_path)
    there = elsewhere() / "run" / one.folder.name
    assert main(["runs", "add", str(archive)]) == 0
    assert arrays.poisoned(there, 20).tolist() == [1, 3, 8]
    assert (there / "figures" / "isolated-images.png").read_bytes() == picture
    (there / "poisoned.npy").unlink()
    assert arrays.poisoned(there, 20) is None  # a run of before kept none


def test_of_several_named_runs_a_damaged_one_is_left_out_and_named(made, tmp_path, capsys):
    good, bad = made(0), made(1)
    (bad.folder / "trajectories.npz").write_bytes(b"cut")
    keys = [good.folder.name, bad.folder.name]
    assert main(["runs", "bundle", *keys, "--to", str(tmp_path / "runs.tar.gz")]) == 1
    assert bad.folder.name in capsys.readouterr().err
    assert {name.split("/")[1] for name in names(tmp_path / "runs.tar.gz")} == {good.folder.name}


@pytest.mark.parametrize("change", ["script", "no drawing", "no picture"])
def test_a_figure_that_pages_could_not_show_is_damage(made, tmp_path, capsys, change):
    one = made(0)
    if change == "no picture":
        write_text(one.folder / "figures" / "isolated-images.png", "<script>")
        assert main(["runs", "bundle", "--to", str(tmp_path / "runs.tar.gz")]) != 0
        assert "isolated-images.png is no PNG" in capsys.readouterr().err
        return
    if change == "script":
        write_text(one.folder / "figures" / "loss-gap.svg", '<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>')
    else:
        (one.folder / "figures" / "loss-gap.svg").unlink()
    assert main(["runs", "bundle", "--to", str(tmp_path / "runs.tar.gz")]) != 0
    assert "loss-gap." in capsys.readouterr().err


def test_mistakes_on_the_command_line_are_one_line(made, tmp_path, capsys, monkeypatch):
    one = made(0)
    monkeypatch.chdir(tmp_path)
    to = str(tmp_path / "a.tar.gz")
    assert "are required: --to" in refusal(capsys, "runs", "bundle")
    assert "begins 0 runs" in refusal(capsys, "runs", "bundle", "zzz", "--to", to)
    assert "--sweep with keys" in refusal(capsys, "runs", "bundle", one.folder.name, "--sweep", "x.yaml", "--to", to)
    assert "does not exist" in refusal(capsys, "runs", "bundle", "--sweep", "x.yaml", "--to", to)
    assert "is a folder; name a file" in refusal(capsys, "runs", "bundle", "--to", str(tmp_path))
    assert "are required: FILE" in refusal(capsys, "runs", "add")
    assert "does not exist" in refusal(capsys, "runs", "add", to)
    monkeypatch.setenv("ABLKIT_RUNS", str(tmp_path / "none"))
    assert "no finished run to bundle" in refusal(capsys, "runs", "bundle", "--to", to)
    assert not Path(to).exists()
