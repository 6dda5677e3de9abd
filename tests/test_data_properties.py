"""What a data set says of its images holds in every draw, split and training: tracks, mirrors, size."""

from __future__ import annotations

import json
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import TOY_RECIPE, ordered, refused, toy, train_toy, weights
from test_data_limits import wanted

from ablkit import provenance
from ablkit.attacks.attack import Order, Poisoned
from ablkit.attacks.attacker import cache, classifier
from ablkit.attacks.attacker.training import split
from ablkit.attacks.dfst import detoxification
from ablkit.attacks.dfst.settings import Settings
from ablkit.data import Images, clean_images, load, memory, prepared
from ablkit.data.importing import arrays
from ablkit.errors import UserError
from ablkit.runs import execute


def films(mirrors: bool = False) -> Images:
    """Sixty tracks of eight frames, numbered by their pixels: forty of class 0 and five of each other one."""
    labels = np.repeat(np.repeat([0, 1, 2, 3, 4], [40, 5, 5, 5, 5]), 8)
    groups = np.repeat(np.random.default_rng(0).permutation(60), 8)  # in no order
    pixels = np.zeros((480, 8, 8, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.divmod(np.arange(480), 256)
    return Images(pixels, labels, tuple("abcde"), "films", groups, mirrors)


@pytest.fixture
def film_set(tmp_path) -> Path:
    test = replace(films(), groups=None)
    prepared.write(tmp_path / "films", films(), test, "made by a test")
    prepared.write(tmp_path / "plain", replace(films(), groups=None), test, "without tracks")
    return tmp_path


def numbers(images: Images) -> set[int]:
    return {int(high) * 256 + int(low) for high, low in images.images[:, 0, 0, :2]}


# Prepared folders


def test_groups_and_mirrors_are_kept_where_a_set_has_them(film_set):
    train, test = prepared.read(film_set / "films")
    assert np.array_equal(train.groups, films().groups) and test.groups is None
    assert (train.mirrors, test.mirrors) == (False, False)
    assert np.array_equal(train.take(np.array([9, 1])).groups, films().groups[[9, 1]])
    # The twin: a set without them is written as it always was.
    prepared.write(film_set / "plainest", *[replace(films(True), groups=None)] * 2, "made by a test")
    meta = json.loads((film_set / "plainest" / "meta.json").read_text())
    assert set(meta) == {"name", "classes", "source", "shapes", "sha256"} and set(meta["sha256"]) == {*prepared.ARRAYS}
    assert prepared.read(film_set / "plainest")[0].mirrors
    digests = {prepared.digest(film_set / name) for name in ("films", "plain", "plainest")}
    assert len(digests) == 3


def test_wrong_groups_and_mirrors_are_refused(as_users_run_it, film_set):
    assert "films: groups are float64 of shape (480,)" in refused(replace, films(), groups=films().groups * 1.0)
    assert "give int64 of shape (480,)" in refused(replace, films(), groups=films().groups[1:])
    assert "only one of the two splits" in refused(prepared.write, film_set / "x", films(), films(True), "")
    meta = film_set / "films" / "meta.json"
    meta.write_text(meta.read_text().replace('"mirrors": false', '"mirrors": "no"'))
    assert "`mirrors` that is neither true nor false" in refused(prepared.read, film_set / "films")
    (film_set / "films" / "meta.json").write_text(meta.read_text().replace('"mirrors": "no"', '"mirrors": false'))
    (film_set / "films" / "train_groups.npy").unlink()
    assert "train_groups.npy is missing" in refused(prepared.read, film_set / "films")


def test_what_is_written_from_the_disk_is_never_in_memory_as_a_whole(tmp_path):
    shape, count = (128, 128, 3), 600  # 28 MiB

    def peak(gather) -> int:
        tracemalloc.start()
        try:
            images = gather(np.full(shape, number % 251, np.uint8) for number in range(count))
            made = Images(images, np.arange(count) % 2, ("a", "b"), "large")
            prepared.write(tmp_path / gather.__name__, made, made, "")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def mapped(images):
        return prepared.on_disk(images, count, shape)

    def stacked(images):
        return np.stack(list(images))

    assert peak(mapped) < 2**22 < 2**24 < peak(stacked)
    assert prepared.digest(tmp_path / "mapped") == prepared.digest(tmp_path / "stacked")


# Draws


@pytest.mark.parametrize("size", [0, 100, 333])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_track_is_both_trained_on_and_held_out(film_set, size, seed):
    asked = {"train_size": size, "seed": seed, "held_out": 0.2, "root": film_set}
    train, _ = load("films", **asked)
    clean = clean_images("films", **asked)
    assert len(clean) and not {*train.groups} & {*clean.groups}
    assert len(train) == size or (not size and len(train) + len(clean) == 480)
    assert len(clean) == round(0.2 * size) or (not size and 88 < len(clean) <= 96)
    # The twin: without tracks the same frames lie on both sides.
    tracks = dict(enumerate(films().groups))
    train, clean = load("plain", **asked)[0], clean_images("plain", **asked)
    assert {tracks[one] for one in numbers(train)} & {tracks[one] for one in numbers(clean)}


def test_tracks_are_drawn_whole_evenly_by_class_and_a_smaller_draw_is_part_of_a_larger(film_set):
    def drawn(size: int, seed: int = 3) -> Images:
        return load("films", train_size=size, seed=seed, root=film_set)[0]

    for size in (96, 100, 240, 470):
        own = drawn(size)
        _, counts = np.unique(own.groups, return_counts=True)
        assert (counts < 8).sum() == (size % 8 > 0)  # the last alone is cut
        tracks = np.array([len(np.unique(own.groups[own.labels == label])) for label in range(5)])
        assert (np.abs(tracks - np.array([40, 5, 5, 5, 5]) * size / 480) <= 1.5).all()
    assert numbers(drawn(96)) < numbers(drawn(100)) < numbers(drawn(240))
    assert numbers(drawn(96)) == numbers(drawn(96)) != numbers(drawn(96, seed=4))


def test_clean_images_come_from_all_tracks_that_are_left(film_set):
    clean = clean_images("films", train_size=200, held_out=0.15, root=film_set)
    assert len(clean) == 30 and len(np.unique(clean.groups)) > 15  # and not from the first four


def test_a_draw_that_leaves_no_room_for_whole_tracks_is_refused(film_set):
    said = refused(load, "films", train_size=433, held_out=0.1, root=film_set)
    assert "train_size 433 leaves no room for held_out 0.1: films has 480 training images" in said
    assert len(load("plain", train_size=433, held_out=0.1, root=film_set)[0]) == 433  # the twin: 433 + 43 are there


def test_an_attacker_measures_on_other_tracks_than_it_trains_on():
    rest, held = split(films())
    assert not {*rest.groups} & {*held.groups} and len(held) == 48
    rest, held = split(replace(films(), groups=None))  # the twin: every tenth image, as ever
    assert numbers(held) == set(range(9, 480, 10))


def test_dfst_measures_on_other_tracks_than_it_trains_on():
    def sides(train: Images) -> list[set[int]]:
        order = Order(train, np.arange(3), 0, np.zeros(len(train.classes), np.int64), seed=0, released=False)
        scene = detoxification._scene(order, Settings(), lambda images: images, train.images[:3])
        return [{films().groups[one] for one in numbers(part)} for part in (train.take(scene.members), scene.held)]

    trained, held = sides(films())
    assert trained and held and not trained & held
    trained, held = sides(replace(films(), groups=None))  # the twin: without tracks a track is on both sides
    assert trained & held


# Mirrors


def test_a_set_that_may_not_be_mirrored_never_is():
    recipe = replace(TOY_RECIPE, finetune_augmentation=True, finetune_epochs=1, unlearn_epochs=1)
    train = toy(60, 1)
    nobody = np.zeros(60, bool)
    clean = Poisoned(train, "none", 0, lambda _: None, nobody, train.labels, np.zeros(10, np.int64), nobody)

    def trained(mirrors: bool, flip: bool) -> np.ndarray:
        poisoned = replace(clean, data=replace(train, mirrors=mirrors))
        return weights(train_toy(replace(recipe, flip=flip), poisoned, method="none"))

    assert np.array_equal(trained(False, True), trained(True, False))
    assert not np.array_equal(trained(True, True), trained(True, False))  # the twin


def test_attackers_do_not_mirror_it_either():
    order = ordered(films(), np.arange(4))
    assert not classifier.plain_recipe(order, 2).flip
    assert classifier.plain_recipe(replace(order, train=films(True)), 2).flip
    keys = {cache._key(replace(order, train=films(mirrors)), {}, cache.own_seed) for mirrors in (True, False)}
    assert len(keys) == 2


def unfitted(sources: dict[str, str]) -> list[str]:
    """The modules that augment images with a recipe that was not made to fit the set."""
    augments = [name for name, source in sources.items() if re.search(r"import augment$", source, re.MULTILINE)]
    assert len(augments) >= 5
    return [name for name in augments if not re.search(r"\.fitting\(|plain_recipe\(", sources[name])]


def test_whatever_augments_images_asks_the_set_first():
    assert unfitted(provenance._SOURCES) == []
    assert unfitted({**provenance._SOURCES, "mine": "from ablkit.training.augmentation import augment"}) == ["mine"]


# Memory


def test_a_run_that_does_not_fit_in_memory_is_refused_before_anything_is_written(roots, monkeypatch):
    train = toy(40, 1)
    prepared.write(roots / "odd", train, toy(20, 2), "")
    needed = 3 * 40 * 16 * 16 * 3
    monkeypatch.setattr(memory, "free", lambda: needed - 1)
    said = refused(execute.execute, "run", wanted(attack="blend"))
    assert "odd: 40 images of 16 x 16 do not fit in memory" in said and said.endswith(
        "set train_size to 39 or less, or prepare smaller images"
    )
    assert not list(roots.parent.glob("runs/*"))
    execute.check_against_data(wanted(attack="blend", train_size=39, isolation_rate=0.1))
    monkeypatch.setattr(memory, "free", lambda: needed)  # the twin
    execute.check_against_data(wanted(attack="blend"))


@pytest.fixture
def container(monkeypatch, tmp_path):
    """Play a container by the files in which it says what it may take and has taken; without any there is none."""

    def say(**files: object) -> None:
        for path in tmp_path.iterdir():
            path.unlink()
        for name, content in files.items():
            (tmp_path / f"memory.{name}").write_text(f"{content}\n")

    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")
    return say


STAT = "anon 7\ninactive_file_other 9\ninactive_file 100\nactive_file 50"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"max": 4096}, 4096),
        ({"max": 4096, "current": 1096}, 3000),
        ({"max": 4096, "current": 1096, "stat": STAT}, 3100),
        ({"max": 4096, "current": 4090, "stat": "anon 7"}, 6),
        ({"max": 4096, "current": 5000}, 0),
        ({"max": 4096, "current": 50, "stat": STAT}, 4096),
        ({"max": 4096, "current": "?", "stat": "inactive_file"}, 4096),
    ],
)
def test_free_memory_is_what_a_container_has_left(container, files, free):
    container(**files)
    assert memory.free() == free


@pytest.mark.parametrize(
    ("own", "groups", "free"),
    [
        ("0::/job/step", {"job/memory.max": 4096, "job/memory.current": 96}, 4000),  # a batch system, no container
        ("0::/job/step", {"job/memory.max": 4096, "job/step/memory.max": 1000}, 1000),
        ("0::/job/step", {"job/memory.max": 1000, "job/step/memory.max": 4096}, 1000),
        ("0::/job/step", {"other/memory.max": 1000, "memory.max": 4096}, 4096),
        (
            "7:cpu:/a\n6:memory:/job",
            {"memory/job/memory.limit_in_bytes": 4096, "memory/job/memory.usage_in_bytes": 6},
            4090,
        ),
        (
            "6:cpu,memory:/docker/b",
            {"memory/memory.limit_in_bytes": 4096},
            4096,
        ),  # the container sees itself as the root
        ("0::/../..", {"memory.max": 4096}, 4096),
        (
            "6:memory:/",
            {
                "memory/memory.limit_in_bytes": 4096,
                "memory/memory.usage_in_bytes": 96,
                "memory/memory.stat": "inactive_file 9\ntotal_inactive_file 50",
            },
            4050,
        ),
    ],
)
def test_the_limit_of_every_group_around_a_process_counts(container, tmp_path, own, groups, free):
    (tmp_path / "own").write_text(f"{own}\n")
    for name, content in groups.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    assert memory.free() == free


def test_the_limit_of_another_group_does_not_count(container, tmp_path):
    (tmp_path / "own").write_text("0::/job\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "memory.max").write_text("1000\n")
    assert memory.free() > 2**20
    (tmp_path / "own").write_text("0::/other\n")  # the twin
    assert memory.free() == 1000


@pytest.mark.parametrize("files", [{}, {"max": "max", "current": 2**60}, {"max": 2**60, "current": 2**20}])
def test_a_container_without_a_limit_has_the_memory_of_the_machine(container, files):
    container(**files)
    assert memory.free() > 2**20


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (100, "100 bytes"),
        (1000, "1.0 KiB"),
        (200_000, "0.2 MiB"),
        (2**30 // 10 + 1, "0.1 GiB"),
        (2**40, "1024.0 GiB"),
    ],
)
def test_an_amount_never_rounds_to_nothing(count, text):
    assert memory.amount(count) == text


def test_an_archive_of_arrays_is_held_against_what_the_container_has_left(container, tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    np.savez(path, images=np.zeros((20, 8, 8, 3), np.uint8), labels=np.arange(20) % 2)
    container(max=2**30, current=2**30 - 1000)
    with pytest.raises(UserError, match="of memory are free; give the images and the labels as two"):
        arrays.read(path)
    container(max=2**30, current=0)
    assert len(arrays.read(path).train) == 20  # the twin
