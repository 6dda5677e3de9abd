"""Runs are taken into the committed numbers whole or not at all, and spoilt numbers make no page."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from committed import DATA, RUN

from ablkit.cli import main
from ablkit.errors import UserError
from ablkit.report import data, site
from ablkit.report.collect import Collection, collect
from ablkit.report.pages import unlearning
from ablkit.report.render import markdown
from ablkit.runs import seals
from ablkit.runs.records import Damaged

DOT = b"\x89PNG\r\n\x1a\n" + bytes(40)


def told(capsys, *arguments: object) -> str:
    assert main(["report", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said) < 700
    return said


# Taking runs in


def test_a_finished_run_is_taken_in_without_weights(made, few):
    one = made(0)
    count = len(data.load(few))
    assert main(["report", "--from", str(few), "--add", one.folder.name]) == 0
    folder = few / one.folder.name
    kept = sorted(path.name for path in folder.iterdir())
    records = ["env.json", "history.csv", "metrics.json", "params.json"]
    assert kept == sorted([*records, "losses.npy", "poisoned.npy", "isolated-images.png"])
    assert data.history(folder)[["stage", "epoch"]].to_dict("records") == [{"stage": "isolate", "epoch": 1}]
    assert (
        json.loads((folder / "env.json").read_text())["folder_bytes"]
        > (one.folder / "model.safetensors").stat().st_size
    )
    assert one.folder.name in (few / "runs.csv").read_text()
    assert len(data.load(few)) == count + 1
    assert one.folder.name in (few.parent / "runs.html").read_text()


def test_an_option_that_is_given_twice_names_both(made, few):
    keys = [made(number).folder.name for number in (0, 1)]
    assert main(["report", "--from", str(few), "--add", keys[0], "--add", keys[1]]) == 0
    assert all((few / key / "metrics.json").exists() for key in keys)


def test_what_is_too_large_is_left_out_and_said(made, few, capsys):
    one = made(0)
    np.save(one.folder / "losses.npy", np.random.default_rng(0).random(data.LARGEST))
    seals.seal(one.folder, one.folder / "metrics.json")
    assert main(["report", "--from", str(few), "--add", one.folder.name]) == 0
    assert "without losses.npy: larger than 100,000 bytes" in capsys.readouterr().out
    assert not (few / one.folder.name / "losses.npy").exists()


def test_pictures_come_along_when_they_are_pictures(made, tmp_path):
    one = made(0)
    (one.folder / "figures" / data.PICTURES[0]).write_bytes(DOT)
    folder, _ = data.add(one.folder, tmp_path / "data")
    assert (folder / data.PICTURES[0]).read_bytes() == DOT
    (one.folder / "figures" / data.PICTURES[0]).write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(Damaged, match="is no PNG"):
        data.add(one.folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "change", [{"carry_momentum": False}, {"finetune_epochs": 0}, {"gamma": 0.7}, {"poison_rate": 0.3}, {"target": 1}]
)
def test_abl_with_fresh_momentum_phase_1_alone_and_what_is_varied_bring_no_losses_and_pictures(made, tmp_path, change):
    other, usual = (data.add(made(0, **own).folder, tmp_path / "data")[0] for own in (change, {}))
    assert not [name for name in (*data.ARRAYS, *data.PICTURES) if (other / name).exists()]
    assert [name for name in (*data.ARRAYS, *data.PICTURES) if (usual / name).exists()]  # the twin


def test_no_link_leads_out_of_a_run(made, tmp_path):
    one = made(0)
    (tmp_path / "secret.png").write_bytes(DOT)
    (one.folder / "figures" / data.PICTURES[0]).unlink(missing_ok=True)
    os.symlink(tmp_path / "secret.png", one.folder / "figures" / data.PICTURES[0])
    folder, _ = data.add(one.folder, tmp_path / "data")
    assert not (folder / data.PICTURES[0]).exists()


def test_a_run_that_is_taken_in_by_half_counts_for_none_and_is_taken_in_again(made, few, monkeypatch):
    one, before = made(0), len(data.load(few))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("write_text", "write_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(data, name, full)
            with pytest.raises(OSError, match="No space"):
                data.add(one.folder, few)
        assert len(data.load(few)) == before
    data.add(one.folder, few)  # the twin
    assert len(data.load(few)) == before + 1


def test_a_damaged_run_is_not_taken_in(made, few):
    one = made(0)
    (one.folder / "history.jsonl").write_text('{"stage": "isolate", "epoch": 2}\n')
    with pytest.raises(Damaged, match="is not what the run wrote"):
        data.add(one.folder, few)
    assert not (few / one.folder.name).exists()


# Spoilt numbers


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (f"{RUN}/metrics.json", '{"clean_accuracy": 7}', "is damaged"),
        (f"{RUN}/history.csv", "a,b\n1,2\n", "has no column stage or epoch"),
        (f"{RUN}/history.csv", "\x00", "has no column stage or epoch"),
        (f"{RUN}/params.json", "[", "is damaged"),
        ("gpu-speed.csv", "", "cannot be read"),
        ("gpu-speed.csv", "what,images_per_second,measured_by\na,b,c\n", "make no page"),
        ("gpu-unfinished.csv", "key,attack\na,b\n", "make no page"),
        ("suspects.csv", f"key,attack\n{RUN},b\n", "make no page"),
        ("bench.json", "{}", "holds no benchmark"),
    ],
)
def test_spoilt_numbers_make_no_page_and_are_told_in_one_line(few, tmp_path, capsys, name, content, message):
    (few / name).write_text(content)
    assert message in told(capsys, "--from", few, "--to", tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


def test_what_cannot_be_made_is_told_in_one_line(few, tmp_path, capsys, folders):
    (tmp_path / "empty").mkdir()
    assert "holds no numbers of runs" in told(capsys, "--from", tmp_path / "empty")
    assert "is no folder" in told(capsys, "--from", tmp_path / "nowhere")
    assert "needs --from" in told(capsys, "--add", "abc")
    assert "begins 0 runs" in told(capsys, "--from", few, "--add", "abc")
    assert "lies within" in told(capsys, "--from", few, "--to", few / "pages")
    assert not (few / "pages").exists()


def test_a_run_that_lacks_numbers_has_dashes_in_their_place(few, tmp_path):
    (few / RUN / "metrics.json").write_text("{}")
    assert main(["report", "--from", str(few), "--to", str(tmp_path)]) == 0
    text = (tmp_path / "runs.html").read_text()
    row = re.search(f"<tr><th>[^<]*</th>[^<]*<td[^>]*><a href=.data/{RUN}/params.json.*?</tr>", text)[0]
    assert row.count("<td>-</td>") >= 4 and "nan" not in text


@pytest.fixture(scope="module")
def whole() -> Collection:
    return collect(DATA)


PARTS = {
    "undefended": "method == 'none' and seed == 0 and preset == 'quick'",
    "ABL alone": "method == 'abl' and seed == 0 and preset == 'quick'",
    "one run": f"key == '{RUN}'",
    "the paper's size": "preset == 'paper'",
    "other seeds": "attack == 'blend' and preset == 'quick' and seed == 1 - (method == 'abl')",
    "one attack": "attack == 'sig' and preset == 'quick'",
    "no ABL at the paper's size": "attack == 'badnets' and (preset == 'quick' or method == 'none')",
}
NONSENSE = (
    r"\bnan\b|(?<=at )None|\b1 (?:runs|seeds|times|epochs)\b|\bof 0\b(?!\.)|-\s?\d+ points of accuracy|\bon \.|\bis ;"
)


def sentences(runs: pd.DataFrame, folder: Path) -> str:
    """All that the pages of some runs say."""
    for run in runs["folder"]:
        shutil.copytree(run, folder / run.name)
    return "\n".join(markdown(page) for page in site.pages(collect(folder)))


@pytest.mark.parametrize("part", PARTS)
def test_whatever_runs_there_are_no_page_says_nonsense(whole, part, tmp_path):
    runs = whole.runs.query(PARTS[part])
    assert len(runs)
    assert re.findall(f".*(?:{NONSENSE}).*", sentences(runs, tmp_path)) == []


def test_an_attack_without_the_claimed_method_has_no_part_in_a_page_of_methods(whole):
    def finding(without: str) -> str:
        scales = [replace(scale, runs=scale.runs[scale.runs["method"] != without]) for scale in whole.scales]
        return unlearning.page(replace(whole, scales=scales)).finding

    assert finding("gradient_ascent") == "None of these methods was run yet."
    assert finding("pixel_noise").startswith("On BadNets") and "On Blend" not in finding("pixel_noise")  # the twin


def test_nonsense_is_found():
    for text in ("costs nan points", "Measured 2026 at None", "in 1 runs", "in 0 of 0 runs", "at most 5 % on . The"):
        assert re.search(NONSENSE, text)


def test_what_was_not_measured_counts_neither_as_removed_nor_as_missed(whole, tmp_path):
    sentences(whole.runs.query("attack == 'sig' and preset == 'quick' and place == 'CPU, bf16'"), tmp_path)
    for path in tmp_path.glob("*/metrics.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"attack_success_rate": None}))
    text = "\n".join(markdown(page) for page in site.pages(collect(tmp_path)))
    assert "nothing to compare" in text
    assert "removes the SIG" not in text and "leaves the SIG" not in text


def test_an_unknown_attack_is_told(few, tmp_path, capsys):
    record = json.loads((few / RUN / "params.json").read_text())
    record["parameters"]["attack"] = "nonesuch"
    (few / RUN / "params.json").write_text(json.dumps(record))
    assert "names the attack 'nonesuch'" in told(capsys, "--from", few, "--to", tmp_path / "pages")


def test_a_link_among_the_numbers_is_refused_and_nothing_is_copied(few, tmp_path, capsys):
    os.symlink("/etc/hostname", few / "leak.txt")
    assert "leak.txt is a link" in told(capsys, "--from", few, "--to", tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize("more", ["--as-is", "--dataset digits", "--seeds 1 2", "--preset paper", "--attacks all"])
def test_what_has_no_effect_is_refused(few, capsys, more):
    assert "leave" in told(capsys, "--from", few, *more.split())


def test_pages_beside_the_numbers_or_elsewhere_are_the_same(few, tmp_path):
    for to in (few.parent, tmp_path / "elsewhere"):
        assert main(["report", "--from", str(few), "--to", str(to)]) == 0
    here, there = (sorted(p.relative_to(r) for p in r.rglob("*")) for r in (few.parent, tmp_path / "elsewhere"))
    assert here == there


def test_an_unfinished_folder_of_numbers_is_an_error_only_where_it_is_used(few):
    (few / "0123456789ab").mkdir()
    assert len(data.load(few)) == len(list(few.glob("*/metrics.json")))
    with pytest.raises(UserError):
        data.table(few / RUN)


# Where the copy of the numbers goes


def kept(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


STRANGERS = ("digits/train_images.npy", "notes.txt", f"{RUN}/model.safetensors", f"{RUN}/more/params.json", "a/b.csv")


@pytest.mark.parametrize("name", STRANGERS)
def test_a_folder_that_holds_something_else_is_not_replaced(few, tmp_path, capsys, name):
    own = tmp_path / "pages" / "data"
    shutil.copytree(few / RUN, own / RUN)
    data.check(few, tmp_path / "pages")  # the twin: an earlier copy is replaced
    (own / name).parent.mkdir(parents=True, exist_ok=True)
    (own / name).write_text("precious")
    before = kept(tmp_path)
    assert f"{name}' in it is of no site; give another --to" in told(capsys, "--from", few, "--to", tmp_path / "pages")
    assert kept(tmp_path) == before


def test_what_the_committed_numbers_hold_is_known():
    assert {path.name for path in DATA.iterdir() if path.is_file()} <= set(data.BESIDE)
    assert {path.name for path in DATA.glob("*/*")} == set(data.OF_A_RUN)


def test_the_folder_of_data_sets_is_not_replaced_and_takes_no_runs(few, made, roots, capsys):
    key = made(0).folder.name
    before, sets = kept(few), kept(roots)
    for more in (("--from", few), ("--from", few, "--add", key), ("--as-is",)):
        said = told(capsys, *more, "--to", roots.parent)
        assert f"{roots} is where data sets are kept, so no pages' numbers go there; give another --to" in said
    assert kept(roots) == sets and kept(few) == before
    data.check(few, roots.parent / "pages")  # the twin: another folder is fine


def test_a_link_in_the_place_of_the_copy_is_refused(few, tmp_path, capsys):
    (tmp_path / "pages").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "pages" / "data").symlink_to(tmp_path / "precious")
    assert "is no folder" in told(capsys, "--from", few, "--to", tmp_path / "pages")
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["data"]


def test_a_copy_that_is_stopped_leaves_the_former_one(few, tmp_path, monkeypatch):
    class Killed(BaseException):
        """What nothing between catches, as a kill."""

    def stopped(path: Path, to: Path) -> None:
        shutil.copy(path / RUN / "metrics.json", to.parent)
        raise Killed

    own = data.copy(few, tmp_path)
    before = kept(own)
    (few / "more.csv").write_text("a")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(data.shutil, "copytree", stopped)
        data.copy(few, tmp_path)
    assert kept(own) == before
    # The twin: one that is not stopped is there, and nothing beside it.
    data.copy(few, tmp_path)
    assert kept(own) == {**before, "more.csv": b"a"} and [p.name for p in tmp_path.glob(".*")] == []
