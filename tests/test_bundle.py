"""Finished runs travel as one archive: always the same bytes, never weights, and adding one loses nothing."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, NO_FILE
from trivial import DONE, job

from ablkit import adding, bundle, execute, models, records, runs, seals
from ablkit.cli import main
from ablkit.files import write_json, write_text
from ablkit.jobs import Job
from ablkit.lock import locked
from ablkit.training import checkpoint


@pytest.fixture
def made(cells, folders):
    """Finish a run of 20 images without running it, and return it."""
    cells(DONE)

    def make(seed: int, **changes: object) -> Job:
        one = job(**{"seed": seed} | changes)
        folder = one.folder
        write_json(folder / "params.json", one.facts)
        write_json(folder / "env.json", {"device": "cpu", "torch": "2", "wall_seconds": 3.5})
        checkpoint.write_history(folder, [{"stage": "isolate", "epoch": 1}])
        checkpoint.write(folder / "model.safetensors", models.build("wrn-10-1", 10, seed=seed).state_dict(), {})
        np.save(folder / "isolated.npy", np.array([3, 1, 2]))
        np.save(folder / "losses.npy", np.linspace(0, 1, 20, dtype=np.float32))
        np.savez(folder / "trajectories.npz", first=np.zeros(3), second=np.arange(4))
        write_json(folder / "notebook.ipynb", {"cells": [], "metadata": {}})
        for name in ("loss-gap.csv", "loss-gap.png"):
            write_text(folder / "figures" / name, f"{name} of {seed}")
        write_text(
            folder / "figures" / "loss-gap.svg", f'<svg xmlns="http://www.w3.org/2000/svg"><desc>{seed}</desc></svg>'
        )
        write_text(folder / "log.txt", "what it printed")
        write_json(folder / "metrics.json", {"clean_accuracy": 0.5, "seed_seen": seed})
        seals.seal(folder, folder / "metrics.json")
        assert one.is_done()
        return one

    return make


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Go to another machine, whose folder of runs is returned."""

    def go() -> Path:
        monkeypatch.setenv("ABLKIT_RUNS", str(tmp_path / "there"))
        return tmp_path / "there"

    return go


def packed(tmp_path: Path, *options: str) -> Path:
    assert main(["runs", "bundle", *options, "--to", str(tmp_path / "runs.tar.gz")]) == 0
    return tmp_path / "runs.tar.gz"


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        return opened.getnames()


def content(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refusal(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and len(told) < 700 and "unexpected" not in told
    return told


# What is in it


def test_an_archive_holds_what_pages_and_tables_need_and_no_weights(made, tmp_path):
    one = made(0)
    found = {name.split("/", 2)[2] for name in names(packed(tmp_path))}
    figures = {"figures/loss-gap.csv", "figures/loss-gap.svg"}
    arrays = {"isolated.npy", "losses.npy", "trajectories.npz"}
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
    assert "1 runs in" in out and Path(to).stat().st_size <= bundle.MOST
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


# Adding


def test_an_added_run_counts_as_done_and_is_read_like_any_other(made, tmp_path, elsewhere, capsys):
    one, other = made(0), made(1)
    archive, before = packed(tmp_path), content(one.folder)
    there = elsewhere()
    assert main(["runs", "add", str(archive)]) == 0
    assert "2 runs added to" in capsys.readouterr().out
    assert one.folder.is_relative_to(there) and one.is_done() and one.state == "done"
    assert set(runs.load("run")["seed_seen"]) == {0, 1}
    assert runs.history(one.folder)["epoch"].tolist() == [1]
    own = content(one.folder)
    assert set(before) - set(own) == {"model.safetensors", "log.txt", "figures/loss-gap.png"}
    assert all(before[name] == own[name] for name in set(own) - {"left_out.json"})
    assert main(["runs", other.folder.name]) == 0
    text = capsys.readouterr().out
    assert "left_out.json\n  model.safetensors" in text and "damaged" not in text
    assert packed(tmp_path).read_bytes() == archive.read_bytes()  # and travels on


def test_what_is_there_already_is_skipped_and_what_differs_is_refused_by_name(made, tmp_path, elsewhere, capsys):
    same, differs, new = made(0), made(1), made(2)
    archive = packed(tmp_path)
    elsewhere()
    made(0)
    made(1)
    write_json(differs.folder / "metrics.json", {"clean_accuracy": 0.75})
    seals.seal(differs.folder, differs.folder / "metrics.json")
    before = content(same.folder), content(differs.folder)
    told = refusal(capsys, "runs", "add", str(archive))
    assert f"{differs.folder.name}: there already with another result, and left as they are" in told
    assert same.folder.name not in told and new.folder.name not in told
    assert new.is_done()
    assert (content(same.folder), content(differs.folder)) == before
    import shutil

    shutil.rmtree(differs.folder)
    assert main(["runs", "add", str(archive)]) == 0
    assert "1 runs added to" in (out := capsys.readouterr().out) and "2 were there already" in out


def test_an_unfinished_run_is_replaced_by_the_finished_one_unless_a_process_has_it(made, tmp_path, elsewhere, capsys):
    one = made(0)
    archive = packed(tmp_path)
    elsewhere()
    write_text(one.folder / "failure.json", "{}")
    write_text(one.folder / "checkpoint.safetensors", "x")
    (one.folder / "figures").mkdir()
    (one.folder / "figures" / "linked.csv").symlink_to(archive)
    before = content(one.folder)
    with locked(one.folder):
        assert "in hand of another process" in refusal(capsys, "runs", "add", str(archive))
        assert content(one.folder) == before
    assert main(["runs", "add", str(archive)]) == 0
    assert one.is_done() and not (one.folder / "failure.json").exists()
    assert not (one.folder / "figures" / "linked.csv").is_symlink() and archive.is_file()


@pytest.mark.parametrize("writes", range(1, 12, 2))
def test_adding_that_is_killed_leaves_no_run_and_the_next_one_completes_it(
    made, tmp_path, elsewhere, capsys, monkeypatch, writes
):
    one = made(0)
    archive = packed(tmp_path)
    there = elsewhere()
    count = iter(range(1000))
    write = adding.write_bytes

    def dies(path: Path, value: bytes) -> None:
        if there in path.parents and next(count) >= writes:
            raise KeyboardInterrupt
        write(path, value)

    monkeypatch.setattr(adding, "write_bytes", dies)
    assert main(["runs", "add", str(archive)]) == 130
    assert records.folders(None, "metrics.json") == []
    assert records.folders() == ([one.folder] if writes == 11 else [])  # for a moment unfinished, as any killed run
    monkeypatch.setattr(adding, "write_bytes", write)
    assert main(["runs", "add", str(archive)]) == 0
    assert one.is_done()


def test_a_run_whose_model_others_need_is_made_again_and_no_other(made, tmp_path, elsewhere, capsys):
    base = made(0, method="none")
    archive = packed(tmp_path)
    elsewhere()
    assert main(["runs", "add", str(archive)]) == 0
    comparing, defence = base.parameters, job(seed=0, method="nad").parameters
    assert execute.need("run", comparing) == base.folder
    assert records.metrics(base.folder)["clean_accuracy"] == 0.5 and (base.folder / "left_out.json").exists()
    capsys.readouterr()
    assert execute.need("run", defence, method="none") == base.folder
    assert "was added without its model, which others start from, and is made again" in capsys.readouterr().out
    assert records.metrics(base.folder) == {"seed_seen": 0}
    assert not (base.folder / "left_out.json").exists()


def test_only_what_an_archive_may_leave_out_may_be_missing(made):
    one = made(0)
    (one.folder / "model.safetensors").unlink()
    assert not one.is_done()
    write_json(one.folder / "left_out.json", {"model.safetensors": 7})
    assert one.is_done() and not one.is_done(with_model=True)  # the twin
    write_json(one.folder / "left_out.json", {"model.safetensors": 7, "history.jsonl": 7})
    assert not one.is_done()
    write_json(one.folder / "left_out.json", {"model.safetensors": 7})
    (one.folder / "model.safetensors").write_bytes(b"of another run")
    assert not one.is_done()


@pytest.mark.parametrize("damage", ["a pipe", "no text", "deep", "nested"])
def test_a_damaged_note_of_what_is_left_out_is_named_and_the_run_made_again(made, capsys, damage):
    one = made(0)
    write_json(one.folder / "left_out.json", {"model.safetensors": 7})
    assert one.is_done()  # the twin
    DAMAGES[damage](one.folder / "left_out.json")
    assert not one.is_done()
    assert main(["runs", one.folder.name]) == 0
    assert "left_out.json " in capsys.readouterr().out
    assert execute.carry_out(one, show=lambda line: None).was_done is False
    assert one.is_done()


# An archive of anybody


def entry(name: str, value: bytes = b"{}", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(value)
    for fact, of in facts.items():
        setattr(info, fact, of)
    return info, value


def archived(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for info, value in entries:
            archive.addfile(info, io.BytesIO(value))
    return stream.getvalue()


KEY = "run/0123456789ab"
FOREIGN = {
    "a path outside": (archived(entry("../evil")), "is no file of a run"),
    "an absolute path": (archived(entry("/tmp/evil")), "is no file of a run"),
    "a path through a run": (archived(entry(f"{KEY}/figures/../../evil.csv")), "is no file of a run"),
    "a path through figures": (archived(entry(f"{KEY}/figures/..csv")), "is no file of a run"),
    "another notebook": (archived(entry("rnu/0123456789ab/params.json")), "is no file of a run"),
    "another key": (archived(entry("run/evil/params.json")), "is no file of a run"),
    "weights": (archived(entry(f"{KEY}/model.safetensors")), "is no file of a run"),
    "a pickle": (archived(entry(f"{KEY}/model.pkl")), "is no file of a run"),
    "a checkpoint": (archived(entry(f"{KEY}/checkpoint.safetensors")), "is no file of a run"),
    "a page": (archived(entry(f"{KEY}/figures/a.html")), "is no file of a run"),
    "a link": (
        archived(entry(f"{KEY}/env.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
        "is no file of a run",
    ),
    "a hard link": (
        archived(entry(f"{KEY}/env.json", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
        "is no file of a run",
    ),
    "a pipe": (archived(entry(f"{KEY}/env.json", b"", type=tarfile.FIFOTYPE)), "is no file of a run"),
    "a folder": (archived(entry(f"{KEY}/figures", b"", type=tarfile.DIRTYPE)), "is no file of a run"),
    "a control character": (archived(entry("run/\x1b[31m\n")), "is no file of a run"),
    "a file twice": (archived(entry(f"{KEY}/env.json"), entry(f"{KEY}/env.json")), "was not made by this command"),
    "an owner": (archived(entry(f"{KEY}/env.json", uname="me")), "was not made by this command"),
    "a hidden header": (
        archived(entry(f"{KEY}/env.json", pax_headers={"comment": "x"}), form=tarfile.PAX_FORMAT),
        "was not made by this command",
    ),
    "something behind its end": (archived() + b"more", "was not made by this command"),
    "a file that is too large": (archived(entry(f"{KEY}/env.json", b" " * (9 << 20))), "has more than 8 MiB"),
    "a bomb": (bytes(130 << 20), "its content has more than 128 MiB"),
    "no metrics": (archived(entry(f"{KEY}/params.json")), "was not made by this command"),
    "nothing": (b"", "it is no archive of runs"),
    "a text": (b"hello" * 1000, "it is no archive of runs"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_archive_of_another_form_is_one_line_and_adds_nothing(folders, tmp_path, capsys, kind):
    value, message = FOREIGN[kind]
    (tmp_path / "evil.tar.gz").write_bytes(gzip.compress(value, 1))
    assert message in refusal(capsys, "runs", "add", str(tmp_path / "evil.tar.gz"))
    assert not folders.exists()


@pytest.mark.parametrize("damage", [*NO_FILE, "cut", "empty", "no text", "large", "gone"])
def test_a_damaged_archive_is_one_line_and_adds_nothing(made, tmp_path, elsewhere, capsys, damage):
    made(0)
    archive = packed(tmp_path)
    there = elsewhere()
    {**DAMAGES, "gone": Path.unlink}[damage](archive)
    refusal(capsys, "runs", "add", str(archive))
    assert not there.exists()


def test_a_flipped_bit_anywhere_is_seen(made, tmp_path, elsewhere):
    made(0)
    archive = packed(tmp_path)
    there = elsewhere()
    whole = archive.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        if main(["runs", "add", str(archive)]) == 0:
            # A bit on which nothing depends: of the time in gzip's header, or of a code that is never used.
            assert gzip.decompress(archive.read_bytes()) == gzip.decompress(whole)
            (folder,) = there.glob("run/*")
            adding._empty(folder)
        else:
            assert not list(there.glob("run/*/metrics.json"))


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_every_sealed_file_travels_or_may_stay():
    assert set(seals.SEALED) - {"model.safetensors"} <= set(bundle.NAMES)


def test_what_was_excluded_travels(made, tmp_path, elsewhere):
    one = made(0)
    np.save(one.folder / "excluded.npy", np.array([4, 2]))
    seals.seal(one.folder, one.folder / "metrics.json")
    archive = packed(tmp_path)
    there = elsewhere()
    assert main(["runs", "add", str(archive)]) == 0
    assert records.excluded(there / "run" / one.folder.name, 20).tolist() == [4, 2]


def test_of_several_named_runs_a_damaged_one_is_left_out_and_named(made, tmp_path, capsys):
    good, bad = made(0), made(1)
    (bad.folder / "trajectories.npz").write_bytes(b"cut")
    keys = [good.folder.name, bad.folder.name]
    assert main(["runs", "bundle", *keys, "--to", str(tmp_path / "runs.tar.gz")]) == 1
    assert bad.folder.name in capsys.readouterr().err
    assert {name.split("/")[1] for name in names(tmp_path / "runs.tar.gz")} == {good.folder.name}


@pytest.mark.parametrize("change", ["script", "no drawing"])
def test_a_figure_that_pages_could_not_show_is_damage(made, tmp_path, capsys, change):
    one = made(0)
    if change == "script":
        write_text(one.folder / "figures" / "loss-gap.svg", '<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>')
    else:
        (one.folder / "figures" / "loss-gap.svg").unlink()
    assert main(["runs", "bundle", "--to", str(tmp_path / "runs.tar.gz")]) != 0
    assert "loss-gap." in capsys.readouterr().err


def test_a_folder_that_is_somebodys_link_is_not_filled(made, tmp_path, elsewhere):
    one = made(0)
    archive = packed(tmp_path)
    there, mine = elsewhere(), tmp_path / "mine"
    mine.mkdir()
    (mine / "letter").touch()
    (there / "run").mkdir(parents=True)
    (there / "run" / one.folder.name).symlink_to(mine)
    assert main(["runs", "add", str(archive)]) == 2
    assert [path.name for path in mine.iterdir()] == ["letter"]


def deflated(size: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(size))
    return stream.getvalue()


CRAFTED = {
    "params of another key": ("params.json", lambda v: v.replace(b'"gamma": 0.5', b'"gamma": 0.25'), "of another run"),
    "params of no notebook": ("params.json", lambda v: v.replace(b'"notebook": "run"', b'"notebook": "x"'), "damaged"),
    "params of other kinds": ("params.json", lambda v: v.replace(b'"threads": 1', b'"threads": []'), "damaged"),
    "metrics beyond 1": ("metrics.json", lambda v: v.replace(b"0.5", b"5.5"), "'clean_accuracy' is 5.5"),
    "metrics that nest": ("metrics.json", lambda v: b'{"a": {}}', "damaged"),
    "deep metrics": ("metrics.json", lambda v: b"[" * 100_000, "nested too deeply"),
    "an environment with NaN": ("env.json", lambda v: b'{"a": NaN}', "NaN is no number"),
    "a history of texts": ("history.jsonl", lambda v: b'"x"\n', "holds no object"),
    "a pickled array": ("isolated.npy", lambda v: pickle.dumps([1]), "damaged"),
    "losses of two axes": ("losses.npy", lambda v: v.replace(b"(20,)", b"(4,5)"), "holds no losses"),
    "pickled trajectories": ("trajectories.npz", lambda v: npz(a=np.array([{}], dtype=object)), "damaged"),
    "endless trajectories": ("trajectories.npz", lambda v: deflated(129 << 20), "damaged"),
    "a notebook that is none": ("notebook.ipynb", lambda v: b"[]", "damaged"),
    "a seal of other files": ("files.json", lambda v: b'{"../x": "1"}', "names other files"),
    "an array that stays": ("left_out.json", lambda v: b'{"history.jsonl": 1}', "damaged"),
    "a changed table": ("metrics.json", lambda v: v.replace(b"0.5", b"0.6"), "is not what the run wrote"),
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_run_is_one_line_and_adds_nothing(made, tmp_path, elsewhere, capsys, kind):
    one, other = made(0), made(1)
    name, change, message = CRAFTED[kind]
    crafted = bundle.files_of(one.folder)
    folder = tmp_path / "crafted" / "run" / one.folder.name
    changed = crafted | {name: change(crafted[name])}
    assert changed != crafted
    for own, value in changed.items():
        (folder / own).parent.mkdir(parents=True, exist_ok=True)
        (folder / own).write_bytes(value)
    if message != "is not what the run wrote" and name in seals.SEALED:
        sealed = json.loads(changed["files.json"]) | {name: seals.sha256(folder / name)}
        changed["files.json"] = json.dumps(sealed).encode()
    archive = tmp_path / "crafted.tar.gz"
    whole = [(f"run/{one.folder.name}", changed), (f"run/{other.folder.name}", bundle.files_of(other.folder))]
    there = elsewhere()
    archive.write_bytes(gzip.compress(b"".join(bundle.content_of(*run) for run in sorted(whole)) + bundle.END))
    told = refusal(capsys, "runs", "add", str(archive))
    assert message in told and "nothing was added" in told and f"run/{one.folder.name}/" in told
    assert not there.exists()


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
