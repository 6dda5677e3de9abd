"""Adding the runs of an archive loses nothing that is there, and leaves nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from damages import DAMAGES
from finished import content, packed, refusal
from trivial import job

from ablkit import runs
from ablkit.cli import main
from ablkit.files import locked, write_json, write_text
from ablkit.runs import adding, execute, records, seals


def test_an_added_run_counts_as_done_and_is_read_like_any_other(made, tmp_path, elsewhere, capsys):
    one, other = made(0), made(1)
    archive, before = packed(tmp_path), content(one.folder)
    there = elsewhere()
    assert main(["runs", "add", str(archive)]) == 0
    assert "2 runs added to" in capsys.readouterr().out
    assert one.folder.is_relative_to(there) and one.is_done() and one.state == "done"
    assert set(runs.load("run")["seed_seen"]) == {0, 1}
    assert [record["epoch"] for record in runs.history(one.folder)] == [1]
    own = content(one.folder)
    assert set(before) - set(own) == {"model.safetensors", "log.txt", "figures/loss-gap.png"}
    assert "figures/isolated-images.png" in own and "poisoned.npy" in own
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
    assert "1 run added to" in (out := capsys.readouterr().out) and "2 were there already" in out


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


@pytest.mark.parametrize("writes", range(1, 14, 2))
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
    assert records.folders() == ([one.folder] if writes == 13 else [])  # for a moment unfinished, as any killed run
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
