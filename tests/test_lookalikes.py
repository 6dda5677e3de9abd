"""Images that look alike are judged together: the frames of a film make no group that stands out."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import refused

from ablkit.exclusion import lookalikes, rule, splits, suspects


def films(number: int, frames: int, side: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """So many films of one scene each, whose frames differ a little and in brightness; the film of each frame."""
    random = np.random.default_rng(seed)
    scenes = random.integers(30, 180, (number, 8, 8, 3)).repeat(side // 8, 1).repeat(side // 8, 2)
    noise = random.normal(0, 4, (number, frames, side, side, 3))
    light = random.integers(0, 40, (number, frames, 1, 1, 1))
    images = (scenes[:, None] + noise + light).clip(0, 255).astype(np.uint8)
    return images.reshape(-1, side, side, 3), np.repeat(np.arange(number), frames)


def apart(found: np.ndarray, film: np.ndarray) -> float:
    """Share of the groups that hold frames of several films."""
    return float(np.mean([len(np.unique(film[found == group])) > 1 for group in np.unique(found)]))


@pytest.mark.parametrize("side", [16, 32, 64])
def test_frames_of_a_film_are_one_group(side):
    images, film = films(6, 20, side)
    labels = np.repeat([0, 1], 60)
    found = lookalikes.groups(images, labels)
    assert apart(found, film) < 0.2
    assert not set(found[labels == 0]) & set(found[labels == 1])
    drawn = np.random.default_rng(0).permutation(found)  # the twin
    assert apart(drawn, film) > 0.8


@pytest.mark.parametrize("side", [9, 15, 33])
def test_a_thumbnail_shows_the_whole_image(side):
    images = np.zeros((2, side, side, 3), np.uint8)
    images[1, -1, -1] = 255  # the last pixel
    first, second = lookalikes.cells_of(images)
    assert first.shape == (64,) and second.argmax() == 63 and (first == 0).all()


def test_the_same_seed_finds_the_same_groups():
    images, _ = films(5, 12)
    labels = np.zeros(60, np.int64)
    assert np.array_equal(lookalikes.groups(images, labels, 3), lookalikes.groups(images, labels, 3))


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (3, 5, 7, 3), (30, 1, 1, 3), (25, 33, 20, 3)])
def test_any_images_have_groups(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert lookalikes.groups(images, np.zeros(len(images), np.int64)).shape == (len(images),)
    same = np.zeros_like(images)
    assert len(lookalikes.groups(same, np.zeros(len(same), np.int64))) == len(same)


def of_films(number: int, frames: int) -> tuple[np.ndarray, ...]:
    """Losses and features of one class of films, each film a place of its own in the features; the films."""
    random = np.random.default_rng(0)
    film = np.repeat(np.arange(number), frames)
    features = random.normal(0, 6, (number, 40))[film] + random.normal(size=(len(film), 40))
    return np.exp(random.normal(0, 1, number)[film])[None], features, film


def test_films_are_no_poison_where_their_frames_are_kept_together():
    losses, features, film = of_films(6, 40)
    labels = np.zeros(len(film), np.int64)
    everywhere = lookalikes.Looks(lambda draw: film, np.arange(len(film)), np.zeros((len(film), 64)))
    together = suspects.find(losses, features, labels, 1, looks=everywhere)
    assert not len(together.classes)
    apart = suspects.find(losses, features, labels, 1)  # the twin: frames on both sides
    assert apart.classes.tolist() == [0]


def test_the_draw_of_the_middle_speaks_for_a_class(monkeypatch):
    """Of five draws two stand out: not suspected; three: suspected, with what any of these has found."""
    labels = np.zeros(200, np.int64)
    given = np.ones((1, 200)), np.zeros((200, 3)), labels, 1

    def drawn(number: int):
        draws = iter(range(5))

        def groups(features, values, half, fewest, usual):
            if len(features) < 200:  # what is left of the class is one group
                return splits.Groups(np.zeros(len(features), bool), np.nan, np.nan, np.zeros(len(features)))
            draw = next(draws)
            first = np.arange(200) < 50 + draw
            return splits.Groups(first, 8.0, 0.1 if draw < number else 0.9, np.where(first, -0.5, 0.5))

        monkeypatch.setattr(suspects, "two_groups", groups)
        return suspects.find(*given)

    assert not len(drawn(2).classes)
    found = drawn(3)
    assert found.classes.tolist() == [0] and found.images.tolist() == list(range(54))


def test_draws_without_a_middle_are_refused(as_users_run_it):
    assert "draws 4 has no middle" in refused(rule.Settings, draws=4)


def test_a_class_of_few_images_is_not_judged():
    random = np.random.default_rng(0)
    is_first = np.arange(90) < 30
    features = random.normal(size=(90, 40)) + 3.0 * is_first[:, None]
    given = np.exp(-2.0 * is_first)[None], features, np.zeros(90, np.int64), 1
    assert not len(suspects.find(*given).classes)
    assert suspects.find(*given, rule.Settings(least_images=90)).classes.tolist() == [0]  # the twin
