"""What `clean` hands on is what was judged: folder and model; and no command writes over a user's own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import refused, toy
from pets import pets, save
from safetensors.torch import load
from safetensors.torch import save as packed

from ablkit import data, models
from ablkit.cleaning import export, model_card
from ablkit.cli import main
from ablkit.data.importing import import_images
from ablkit.files import inert
from ablkit.report import build, your_data
from ablkit.runs import child

ENV = {"ablkit": "1", "torch": "2", "started": "2026-01-01T00:00:00"}


@pytest.fixture
def photos(roots, tmp_path) -> Path:
    """A folder of two classes of five images, imported as the data set `photos`."""
    pets(tmp_path / "photos", 5)
    import_images(tmp_path / "photos", "photos", test_share=0.2, report=lambda line: None)
    return tmp_path / "photos"


@pytest.fixture
def table(photos, tmp_path) -> Path:
    """The table of a run that suspects the first training image alone."""
    files, rows = data.files("photos"), ["split,number,file,is_suspected"]
    for split in export.SPLITS:
        own = getattr(files, split)
        rows += [f"{split},{n},{name},{split == 'train' and n == 0}" for n, name in enumerate(own)]
    (tmp_path / "images.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "images.csv"


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# The cleaned folder


def spread(text: str) -> str:
    """As spreadsheets write what is true."""
    return text.replace("False", "FALSE").replace("True", "TRUE")


def backwards(text: str) -> str:
    head, *rows = text.splitlines()
    return "\n".join([head, *rows[::-1]])


def marked(text: str) -> str:
    """As Excel saves "CSV UTF-8"."""
    return f"\ufeff{spread(text)}".replace("\n", "\r\n")


def with_semicolons(text: str) -> str:
    """As a spreadsheet of many languages saves CSV."""
    return text.replace(",", ";")


def numbered(text: str) -> str:
    return marked(text).replace("FALSE", "0").replace("TRUE", "1")


def of_windows(text: str) -> bytes:
    """In another encoding than UTF-8, as a name of a file shows."""
    return text.replace("cat/", "k\xe4t/").encode("cp1252")


@pytest.mark.parametrize(
    "change",
    [str, spread, backwards, marked, with_semicolons, lambda text: marked(with_semicolons(text)), numbered, of_windows],
)
def test_the_table_is_followed_in_whatever_letters_and_order_it_was_saved(table, photos, tmp_path, change):
    changed = change(table.read_text())
    table.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    lines = export.export(tmp_path / "kept", "photos", table, photos)
    assert lines == [f"without 1 suspect: 9 images in {tmp_path / 'kept'}"]
    first, *others = [*data.files("photos").train, *data.files("photos").test]
    assert written(tmp_path / "kept") == set(others) and first not in others


def test_where_somebody_has_changed_the_table_a_line_says_that_the_model_does_not_follow(table, photos, tmp_path):
    def made(suspects: list[int]) -> list[str]:
        return export.export(tmp_path / f"{suspects}", "photos", table, photos, np.array(suspects))

    assert len(made([0])) == 1  # the twin: the table says what the run has found
    assert made([2, 3])[1:] == [
        "images.csv was changed: 1 more training image is suspected, 2 no more. The set follows it; the model does not,"
        " as it was trained before"
    ]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("train,1,", "train,2,", "(no row of image 1 in train)"),
        ("True", "WAHR", "is_suspected of image 0 in train is 'WAHR'; write TRUE or FALSE"),
        ("True", "", "is_suspected of image 0 in train is ''; write TRUE or FALSE"),
        ("split,", "part,", "(it has no column split)"),
        ("is_suspected\n", "suspected\n", "(it has no column is_suspected)"),
        (",number,", ";number;", "(it has no column split)"),
    ],
)
def test_a_table_that_does_not_name_each_image_once_is_refused(table, photos, tmp_path, old, new, reason):
    text = table.read_text()
    table.write_text(text.replace(old, new, 1))
    said = refused(export.export, tmp_path / "kept", "photos", table, photos)
    assert reason in said and ("--force" not in said or "without your changes" in said)
    table.write_text("\n".join(text.split("\n")[:5]))
    assert "rows of 8 images" in refused(export.export, tmp_path / "kept", "photos", table, photos)
    assert not (tmp_path / "kept").exists()
    table.write_text(text)  # the twin
    assert export.export(tmp_path / "kept", "photos", table, photos)


def test_a_class_of_which_nothing_is_left_is_named_and_a_set_of_nothing_is_not_written(table, photos, tmp_path):
    rows = [row.rpartition(",")[0] for row in table.read_text().splitlines()[1:]]

    def exported(to: str, suspected: Callable[[str], bool]) -> list[str]:
        table.write_text("\n".join(["split,number,file,is_suspected", *(f"{row},{suspected(row)}" for row in rows)]))
        return export.export(tmp_path / to, "photos", table, photos)

    lines = exported("dogs", lambda row: "cat/" in row and row.startswith("train"))
    assert lines[1:] == ["no image is left in train of 1 of 2 classes: 'cat'"]
    lines = exported("trained", lambda row: row.startswith("test"))
    assert lines[1:] == ["no image is left in test of 2 of 2 classes: 'cat', 'dog'"]
    said = refused(exported, "nothing", lambda row: row.startswith("train"))
    assert "suspects all 8 training images, and leaves none" in said and not (tmp_path / "nothing").exists()
    assert len(exported("all", lambda row: False)) == 1  # the twin


def test_a_file_that_is_another_than_the_one_that_was_judged_is_not_copied(table, photos, tmp_path):
    name = data.files("photos").train[1]
    old = (photos / name).read_bytes()
    (tmp_path / "secret.txt").write_text("secret")

    def link() -> None:
        (photos / name).symlink_to(tmp_path / "secret.txt")

    for replace, message in (
        (link, "has changed since"),
        (lambda: save(photos / name, np.zeros((8, 8, 3), np.uint8)), "has changed since"),
        (lambda: None, "cannot be read any more (No such file or directory)"),
    ):
        (photos / name).unlink()
        replace()
        assert message in refused(export.export, tmp_path / "kept", "photos", table, photos)
        assert not (tmp_path / "kept").exists()
        (photos / name).unlink(missing_ok=True)
        (photos / name).write_bytes(old)
    export.export(tmp_path / "kept", "photos", table, photos)  # the twin
    assert (tmp_path / "kept" / name).read_bytes() == old


def test_what_would_fail_after_the_training_is_told_before_the_import(roots, tmp_path, capsys):
    folder = pets(tmp_path / "photos", 5)
    (tmp_path / "file").touch()
    small = ["--preset", "smoke", "-p", "threads", "1"]
    for options, message in (
        (["--export", str(tmp_path / "file" / "x")], "cannot write to"),
        (["-p", "device", "tpu"], "tpu"),
    ):
        assert main(["clean", str(folder), *small, *options]) == 2
        said = capsys.readouterr()
        assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not roots.exists()
    assert main(["clean", str(folder), *small]) == 2
    assert "photos gives 8 training images, fewer than batch_size 32; lower batch_size" in capsys.readouterr().err
    assert not list(tmp_path.rglob("params.json"))


def test_a_run_that_lacks_what_it_hands_on_is_known(tmp_path):
    names = [your_data.PAGE, your_data.TABLE, your_data.WORDS, model_card.WEIGHTS, model_card.CARD]
    for name in names:
        assert your_data.lacking(tmp_path) == name
        (tmp_path / name).touch()
    assert your_data.lacking(tmp_path) == ""


# The model


@pytest.fixture
def card(tmp_path) -> Path:
    network = models.build("wrn-10-1", 10)
    model_card.write(tmp_path / "model", network, "wrn-10-1", False, toy(20, 0), "abc", {}, ENV)
    return tmp_path / "model" / "model.json"


def test_only_the_model_that_is_named_is_taken(card):
    beside = card.with_name("images.csv")
    beside.touch()
    assert "is no model" in refused(model_card.read, beside)
    assert f"{card.parent}-2 does not exist" in refused(model_card.read, Path(f"{card.parent}-2"))
    assert "does not exist" in refused(model_card.read, card.with_name("none"))
    for path in (card, card.parent, card.with_name("model.safetensors")):  # the twins
        model_card.read(path)


@pytest.mark.parametrize(("factor", "message"), [(float("nan"), "no numbers"), (1e30, "too large")])
def test_weights_that_are_no_numbers_or_give_none_name_no_class(card, factor, message):
    weights = card.with_name("model.safetensors")
    tensors = load(weights.read_bytes())
    content = packed({key: value * factor if value.is_floating_point() else value for key, value in tensors.items()})
    weights.write_bytes(content)
    known = json.loads(card.read_text())
    card.write_text(json.dumps(known | {"sha256": hashlib.sha256(content).hexdigest()}))

    def predicted() -> str:
        network, own = model_card.read(card)
        return model_card.best(own, model_card.probabilities(network, toy(1, 0).images)[0])

    assert message in refused(predicted)
    content = packed(tensors)  # the twin
    weights.write_bytes(content)
    card.write_text(json.dumps(known | {"sha256": hashlib.sha256(content).hexdigest()}))
    assert predicted().endswith("%")


# A user's files


def test_no_page_takes_the_place_of_a_file_that_is_of_no_site(made, tmp_path, capsys, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    for name in ("README.md", "index.html"):
        (site / name).write_text("mine")
        assert main(["report", "--as-is", "--to", str(site), "--dataset", "digits", "--preset", "smoke"]) == 2
        said = capsys.readouterr().err
        assert f"{site / name} is of no site of ablkit" in said and said.count("\n") == 1
        assert written(site) == {name} and (site / name).read_text() == "mine"
        (site / name).unlink()
    # Nothing is run either: what is missing would else be made first, and its numbers put beside the file.
    (site / "README.md").write_text("mine")
    monkeypatch.setattr(build, "run_missing", lambda needed: pytest.fail("a run was started"))
    assert main(["report", "--to", str(site), "--dataset", "digits", "--preset", "smoke"]) == 2
    assert written(site) == {"README.md"}
    (site / "README.md").unlink()
    for _ in range(2):  # the twin: a site takes the place of a site
        assert main(["report", "--as-is", "--to", str(site), "--dataset", "digits", "--preset", "smoke"]) == 0
    assert "ablkit" in (site / "index.html").read_text()


def test_the_archive_of_runs_takes_the_place_of_no_other_file(made, tmp_path, capsys):
    made(0)
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["runs", "bundle", "--to", str(tmp_path / "thesis.txt")]) == 2
    assert "thesis.txt is no archive of runs" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    for _ in range(2):  # the twin
        assert main(["runs", "bundle", "--to", str(tmp_path / "runs.tar.gz")]) == 0


def test_no_text_of_a_table_is_a_formula():
    assert [inert(value) for value in ("=1+1", "@a", "+b", "-c", "-1", "a=b", 3, None)] == [
        *("'=1+1", "'@a", "'+b", "'-c"),
        *("-1", "a=b", 3, None),
    ]


def test_a_list_of_a_sweep_downloads_nothing(roots, tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text("notebook: run\ngrid: {seed: [0, 1]}\n")
    assert main(["sweep", str(tmp_path / "sweep.yaml"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 runs, 0 of them done" in said and said.count("missing") == 2
    assert "cifar10 is not prepared" in said and not roots.exists()


def test_a_reason_that_a_full_disk_keeps_from_being_written_is_no_traceback(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(child, "write_json", full)
    monkeypatch.setenv(child.PACKAGE, "of no code")
    assert child.main(tmp_path / "run.ipynb", tmp_path, tmp_path) == 1
