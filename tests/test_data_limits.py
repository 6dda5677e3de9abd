"""What the data, or the folders that they lie in, do not allow is told in one line before anything starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from test_odd_data import some

from ablkit import paths, training
from ablkit.data import Images, prepared
from ablkit.runs import execute
from ablkit.runs.parameters import check, defaults


def wanted(**changes):
    values = defaults("run", "smoke") | {"dataset": "odd", "train_size": 0, "held_out": 0.0, "isolation_rate": 0.1}
    return check("run", values | {"poison_rate": 0.2} | changes)


@pytest.mark.parametrize(
    ("shape", "train", "test", "changes", "message"),
    [
        ((1, 1, 3), None, None, {}, "1 x 1 are too small for the model"),
        ((4, 9, 3), None, None, {}, "give at least 5 x 5"),
        ((8, 8, 3), None, None, {"crop_padding": 100_000}, "choose 0 to 8"),
        ((8, 9, 3), None, None, {"cutout_length": 9}, "cutout_length 9 is more than images of 8 x 9"),
        ((8, 8, 3), None, [1, 2, 3] * 4, {}, "no test image of the target, class 0 ('a')"),
        ((8, 8, 3), [1, 2, 3] * 14, None, {"attack": "sig"}, "has no training image of it; choose another target"),
        ((8, 8, 3), [1, 2, 3] * 14, None, {"attack": "lba"}, "no image of the target class"),
        ((8, 8, 3), None, [0] * 8, {}, "test images of the target alone"),
        ((8, 8, 3), None, [0, 1, 3] * 4, {"attack": "cba"}, "class 'c'"),
        ((8, 8, 3), [0, 1, 2, 3] * 3, None, {"attack": "trojan"}, "12 images are too few; give at least 20"),
        ((8, 8, 3), None, None, {"attack": "trojan", "attack_settings": "size=8"}, "size 8 does not fit"),
        ((8, 8, 3), None, None, {"attack": "lba", "attack_settings": "margin=8"}, "margin 8 leaves no room"),
    ],
)
def test_what_the_data_do_not_allow_is_told_before_a_run_starts(roots: Path, shape, train, test, changes, message):
    count = len(train) if train else 40
    prepared.write(roots / "odd", some(count, shape, labels=train), some(len(test or [0] * 8), shape, labels=test), "")
    assert message in refused(execute.execute, "run", wanted(**changes))
    assert not list(roots.parent.glob("runs/*")) and not list(roots.parent.glob("cache/*"))


def test_what_the_data_do_allow_passes(roots: Path):
    # An empty class, target images in the test set alone, and a crop and a cutout as large as the image.
    train, test = some(42, labels=[1, 2, 3] * 14), some(8, labels=[0, 1] * 4)
    prepared.write(roots / "odd", train, test, "")
    execute.check_against_data(wanted(crop_padding=8, cutout_length=8))


def test_training_refuses_images_that_do_not_fit_as_a_library_does(as_users_run_it):
    def trained(shape: tuple[int, int, int], **changes: object) -> None:
        training.train(
            Images(np.zeros((40, *shape), np.uint8), np.zeros(40, np.int64), tuple("abcd"), "own"),
            training.recipe("smoke", **changes),
        )

    for shape, message in (((8, 8, 1), "numpy.repeat"), ((3, 8, 8), "transpose"), ((1, 1, 3), "too small")):
        assert message in refused(trained, shape)
    assert "crop_padding 9" in refused(trained, (8, 8, 3), crop_padding=9)


# Places


VARIABLES = {
    "DATA": paths.data_root,
    "RUNS": paths.runs_root,
    "CACHE": paths.cache_root,
    "NOTEBOOKS": paths.notebooks_root,
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_root_may_begin_at_home_and_is_a_folder(tmp_path: Path, monkeypatch, name: str):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"ABLKIT_{name}", "~/x")
    assert VARIABLES[name]() == (tmp_path / "x").resolve()
    monkeypatch.setenv(f"ABLKIT_{name}", "x")
    assert VARIABLES[name]() == (tmp_path / "x").resolve()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    for wrong in ("~/file", "~nobody-of-this-name/x", "circle"):
        monkeypatch.setenv(f"ABLKIT_{name}", wrong)
        assert f"ABLKIT_{name}" in refused(VARIABLES[name])


def test_a_root_that_cannot_be_written_is_told_before_anything_starts(roots: Path, tmp_path: Path, monkeypatch):
    prepared.write(roots / "odd", some(), some(8), "")
    for name in ("runs", "cache"):
        (tmp_path / name).mkdir()
        with monkeypatch.context() as patch:  # the tests may run as root, who writes everywhere
            patch.setattr(paths.os, "access", lambda folder, _, name=name: folder != tmp_path / name)
            said = refused(execute.execute, "run", wanted(attack="trojan"))
        assert f"set ABLKIT_{name.upper()} to a folder" in said and not list((tmp_path / name).iterdir())
    (tmp_path / "a file").touch()
    assert "a file is no folder" in refused(paths.check_writable, tmp_path / "a file" / "x", "ABLKIT_RUNS")
    paths.check_writable(tmp_path / "new" / "x", "ABLKIT_RUNS")
    assert not (tmp_path / "new").exists()


def test_the_clone_is_found_from_the_clone_and_from_its_notebooks(tmp_path: Path, monkeypatch):
    clone, package = tmp_path / "clone", tmp_path / "site-packages" / "ablkit"
    for folder in (clone / "notebooks", package, tmp_path / "site-packages" / "notebooks"):
        folder.mkdir(parents=True)
    for file in ("pyproject.toml", "notebooks/run.ipynb"):
        (clone / file).touch()
    for variable in ("ABLKIT_DATA", "ABLKIT_RUNS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    mine = Path(paths.__file__).resolve().parents[1]
    assert paths.project() == mine  # a package that lies in a clone keeps to it
    monkeypatch.setattr(paths, "__file__", str(package / "paths.py"))
    assert paths.project() == tmp_path.resolve()
    found = set()
    for folder in (clone, clone / "notebooks"):
        monkeypatch.chdir(folder)
        found |= {(paths.data_root(), paths.runs_root(), paths.notebooks_root())}
    assert found == {tuple((clone / name).resolve() for name in ("data", "runs", "notebooks"))}


def test_the_library_imports_where_there_are_no_unix_modules():
    code = "import sys; sys.modules.update(fcntl=None, resource=None); import ablkit.{}, ablkit.files; "
    parts = "data, ablkit.attacks, ablkit.metrics.summary, ablkit.models, ablkit.training, ablkit.defenses"
    code = code.format(parts) + "ablkit.files._take(0, None, False)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.stderr.splitlines()[-1].endswith("does not have; use Linux, macOS or WSL"), done.stderr
