"""What `ablkit clean` takes for the same folder again: a verdict is never that of other files or options."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import refused, toy
from pets import pets, save

from ablkit import data
from ablkit.cleaning import source
from ablkit.cli import main
from ablkit.data import importing, prepared
from ablkit.errors import UserError


@pytest.fixture
def here(roots, tmp_path, monkeypatch):
    """The current folder, in which lies the folder photos; the roots of data and runs are new."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    pets(tmp_path / "here" / "photos", 10)
    return tmp_path / "here"


def prepared_sets(root) -> list[str]:
    return sorted(path.parent.name for path in root.rglob("meta.json"))


@pytest.mark.parametrize("again", ["photos", "./photos", "photos/", "{here}/photos"])
def test_however_a_folder_is_named_it_is_the_same_again(here, again, capfd):
    source.found("photos")
    before = prepared_sets(here.parent)
    name, folder = source.found(again.format(here=here))
    assert name == "photos" and folder.resolve() == here / "photos" and prepared_sets(here.parent) == before
    assert "imported before" in capfd.readouterr().out


CHANGES = {
    "a file more": lambda folder: save(folder / "cat" / "more.png", np.zeros((8, 8, 3), np.uint8)),
    "a file less": lambda folder: (folder / "cat" / "000.png").unlink(),
    "other pixels": lambda folder: save(folder / "cat" / "000.png", np.zeros((8, 8, 3), np.uint8)),
    "another label": lambda folder: (folder / "cat" / "000.png").rename(folder / "dog" / "0.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_has_changed_is_refused_whatever_its_dates_say(here, change, as_users_run_it):
    source.found("photos")
    CHANGES[change](here / "photos")
    for path in [here / "photos", *(here / "photos").rglob("*")]:
        os.utime(path, (1e9, 1e9))
    assert "was made of other files, as '" in refused(source.found, "photos")


def test_another_folder_of_the_same_name_and_files_is_refused(here, as_users_run_it):
    source.found("photos")
    pets(here / "other" / "photos", 10, start=1000)
    told = refused(source.found, "other/photos")
    assert "(20 differ); give another --name, or delete" in told
    # The twins: a copy is the same, and another name makes another set.
    pets(here / "copy" / "photos", 10)
    assert source.found("copy/photos")[0] == "photos"
    assert source.found("other/photos", "others")[0] == "others"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".photos", "'.photos' can be no data set's name"),
        ("-photos", "'-photos' can be no data set's name"),
        ("x" * 101, "can be no data set's name"),
        ("\u72ac" * 70, "takes 210 bytes, and a folder's name may take 200"),
        ("Digits", "'Digits' is the name of a data set of the kit, digits, where case is ignored"),
        ("imagenette-128", "'imagenette-128' is the name of a data set of the kit, imagenette, in another size"),
    ],
)
def test_a_folder_whose_name_no_data_set_can_have_is_told_of_the_option(here, name, reason):
    (here / "photos").rename(here / name)
    said = refused(source.found, f"./{name}")
    assert "its name '" in said and reason in said
    assert said.endswith("; give another with --name, such as pets") and not said.startswith("--name")
    assert "can be no data set's name" in refused(source.found, "/")
    assert source.found(f"./{name}", "pets")[0] == "pets"  # the twin
    assert refused(source.found, f"./{name}", ".pets").startswith("--name '.pets' can be no")


def test_only_where_images_are_mirrored_it_is_said(here, roots):
    train, test = (toy(20, seed) for seed in (0, 1))
    prepared.write(roots / "things", train, test, "made by a test")
    prepared.write(roots / "signs", replace(train, mirrors=False), replace(test, mirrors=False), "made by a test")
    assert source.mirror_note("things", True).endswith("run it again with -p flip false.")
    assert source.mirror_note("things", False) == source.mirror_note("signs", True) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 16}, "was made without --size, not with 16"),
        ({"test_share": 0.5}, "was made with --test-share 0.2, not with 0.5"),
        ({"seed": 3}, "was made without --seed, not with 3"),
        ({"classes": ["dog", "cat"]}, "was made without --classes, not with ['dog', 'cat']"),
    ],
)
def test_other_options_are_refused(here, options, said, as_users_run_it):
    source.found("photos", seed=0)
    assert said in refused(source.found, "photos", **options)


def test_what_is_not_told_is_as_it_was_imported(here):
    importing.import_images(here / "photos", "photos", size=16, test_share=0.5, seed=3, classes=("dog", "cat"))
    assert source.found("photos")[0] == "photos"
    assert source.found("photos", size=16, seed=3, classes=["dog", "cat"])[0] == "photos"


def test_what_draws_no_test_set_makes_no_difference(here):
    for split in ("train", "test"):
        pets(here / "split" / split, 4, start=50)
    source.found("split", seed=0)
    assert source.found("split", seed=3)[0] == "split"


def test_a_share_beside_a_given_test_set_is_refused_before_and_after_the_import(here, roots):
    for split in ("train", "test"):
        pets(here / "split" / split, 4, start=50)
    said = "brings its test images with it, so --test-share 0.5 has no meaning; leave it out"
    for name in ("one", "two"):
        assert said in refused(source.found, "split", name, test_share=0.5)
        assert source.found("split", "one")[0] == "one"  # the twin, after which it is there
    assert prepared_sets(roots) == ["one"]


def test_arrays_are_the_same_again_until_they_change(here, as_users_run_it):
    def write(seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
        np.savez(here / "a.npz", images=pixels, labels=np.arange(40) % 2)

    write(0)
    for _ in range(2):
        assert source.found("a.npz", "arrays") == ("arrays", None)
    write(1)
    assert "was made of other files, as 'a.npz' shows" in refused(source.found, "a.npz", "arrays")


def test_a_data_set_is_taken_by_its_name_where_no_folder_has_it(here, tmp_path, monkeypatch, as_users_run_it):
    source.found("photos")
    monkeypatch.chdir(tmp_path)
    assert source.found("photos") == ("photos", None)
    assert "so --size 32 has no meaning" in refused(source.found, "photos", size=32)
    assert "so --name x has no meaning" in refused(source.found, "photos", "x")
    assert source.found("photos", seed=3) == ("photos", None)  # the seed draws the weights, too


def test_a_folder_with_the_name_of_a_set_of_the_kit_is_the_folder(here, as_users_run_it):
    assert source.found("digits") == ("digits", None)  # the twin: without such a folder it is the set
    pets(here / "digits", 10, start=50)
    for given in ("digits", "./digits", "digits/"):
        told = refused(source.found, given)
        assert "digits is a folder here, and digits the name of a data set of the kit, too: for the folder" in told
    assert prepared_sets(here.parent / "data") == []
    assert source.found("digits", "mine") == ("mine", Path("digits"))


def test_where_the_data_sets_lie_a_folder_is_the_set(here, roots, monkeypatch):
    data.prepare("digits")
    monkeypatch.chdir(roots)
    assert source.found("digits") == ("digits", None)


def test_a_set_that_does_not_say_what_it_was_made_of_is_not_taken_for_a_folder(here, as_users_run_it):
    source.found("photos")
    (origin,) = here.parent.rglob(prepared.ORIGIN)
    origin.unlink()
    assert "nothing tells what of" in refused(source.found, "photos")


def test_a_folder_with_which_nothing_can_be_done_leaves_no_data_set_and_can_be_mended(here, monkeypatch, capsys):
    def stop(*_: object, **__: object) -> None:
        raise UserError("trained no further here")

    monkeypatch.setattr("ablkit.runs.execute.execute", stop)
    command = ["clean", "photos", "--size", "32"]
    before = prepared_sets(here.parent)
    assert main(command) == 2 and "training images, fewer than batch_size 64" in capsys.readouterr().err
    assert prepared_sets(here.parent) == before
    pets(here / "photos", 60, start=500)
    assert main(command) == 2 and "trained no further here" in capsys.readouterr().err
    assert prepared_sets(here.parent) == sorted([*before, "photos"])
    # The twin: what was imported before is not this command's to delete.
    assert main([*command, "-p", "batch_size", "5000"]) == 2
    assert prepared_sets(here.parent) == sorted([*before, "photos"])
