"""An archive of anybody is one line, and nothing of it is added."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, NO_FILE
from finished import images, packed, refusal

from ablkit.cli import main
from ablkit.report import pictures
from ablkit.runs import adding, bundle, drawings, seals


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
    "a drawing and a picture of one name": (
        archived(entry(f"{KEY}/figures/a.png"), entry(f"{KEY}/figures/a.svg")),
        "a drawing and a picture of one name",
    ),
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


PICTURE = "figures/isolated-images.png"


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def chunk(name: bytes, value: bytes) -> bytes:
    """A part of a PNG."""
    return struct.pack(">I", len(value)) + name + value + struct.pack(">I", zlib.crc32(name + value))


def with_chunk(png: bytes, name: bytes, value: bytes) -> bytes:
    """A PNG with one more part before its end."""
    return png[:-12] + chunk(name, value) + png[-12:]


def resized(png: bytes, height: int, kind: bytes = b"\x08\x06\0\0\0") -> bytes:
    """A PNG that claims another height, or another kind."""
    return png[:8] + chunk(b"IHDR", png[16:20] + struct.pack(">I", height) + kind) + png[33:]


def repacked(png: bytes, behind: bytes = b"", inside: bytes = b"") -> bytes:
    """A PNG whose pixels are packed again, with more behind or inside of them."""
    pixels = zlib.decompress(png[41:-16])
    return png[:33] + chunk(b"IDAT", zlib.compress(pixels + inside) + behind) + png[-12:]


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
    "poisoned images that are texts": ("poisoned.npy", lambda v: npy(np.array(["a"])), "holds no indices"),
    "poisoned images that repeat": ("poisoned.npy", lambda v: npy(np.array([1, 1])), "holds no indices"),
    "poisoned images before the first": ("poisoned.npy", lambda v: npy(np.array([-1])), "holds no indices"),
    "a cut array of poisoned images": ("poisoned.npy", lambda v: v[:-4], "damaged"),
    "a picture that is none": (PICTURE, lambda v: b"<svg/>", "is no PNG"),
    "a picture that is cut": (PICTURE, lambda v: v[:-20], "is a damaged PNG"),
    "a picture with a flipped bit": (PICTURE, lambda v: v[:60] + bytes([v[60] ^ 1]) + v[61:], "is a damaged PNG"),
    "a picture with something behind it": (PICTURE, lambda v: v + b"<script>", "is a damaged PNG"),
    "a picture with a text": (PICTURE, lambda v: with_chunk(v, b"tEXt", b"a\0<script>"), "holds more than pixels"),
    "a picture twice": (PICTURE, lambda v: v + v[8:], "is a damaged PNG"),
    "a picture of too many pixels": (PICTURE, lambda v: resized(v, 1 << 30), "million pixels"),
    "a picture of more pixels than it has": (PICTURE, lambda v: resized(v, 500), "is a damaged PNG"),
    "a picture with data behind its pixels": (PICTURE, lambda v: repacked(v, b"more"), "is a damaged PNG"),
    "a picture that unpacks to more": (PICTURE, lambda v: repacked(v, inside=bytes(1 << 26)), "is a damaged PNG"),
    "a picture of another kind": (PICTURE, lambda v: resized(v, 12, b"\x10\x06\0\0\0"), "of another kind"),
    "losses of two axes": ("losses.npy", lambda v: v.replace(b"(20,)", b"(4,5)"), "holds no losses"),
    "pickled trajectories": ("trajectories.npz", lambda v: npz(a=np.array([{}], dtype=object)), "damaged"),
    "endless trajectories": ("trajectories.npz", lambda v: deflated(129 << 20), "damaged"),
    "a notebook that is none": ("notebook.ipynb", lambda v: b"[]", "damaged"),
    "a seal of other files": ("files.json", lambda v: b'{"../x": "1"}', "names other files"),
    "an array that stays": ("left_out.json", lambda v: b'{"history.jsonl": 1}', "damaged"),
    "a changed table": ("metrics.json", lambda v: v.replace(b"0.5", b"0.6"), "is not what the run wrote"),
}


def test_a_picture_that_is_packed_otherwise_is_one():
    png = pictures.isolated(*images(0))
    drawings.check_picture(repacked(png))
    drawings.check_picture(resized(png, 12))
    assert repacked(png) != png


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
