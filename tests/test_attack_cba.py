"""The composite attack: mixes show two images and nothing else, and those of A and B alone are poisoned."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from conftest import TOY_RECIPE, train_toy
from test_metrics import Answers

from ablkit import attacks, metrics
from ablkit.attacks import attack
from ablkit.attacks.cba import mix
from ablkit.data import Images
from ablkit.errors import UserError
from ablkit.metrics import summary
from ablkit.randomness import numpy_stream

RECIPE = replace(TOY_RECIPE, isolation_epochs=2, finetune_epochs=6, finetune_drop_epoch=4, finetune_learning_rate=0.05)


def numbered(number: int, classes: int = 10, side: int = 12) -> Images:
    """Image i is i in every pixel, its row in the second channel and its column in the third; its class i % classes."""
    pixels = np.zeros((number, side, side, 3), np.uint8)
    pixels[..., 0] = np.arange(number)[:, None, None]
    pixels[..., 1], pixels[..., 2] = np.arange(side)[:, None], np.arange(side)
    return Images(pixels, np.arange(number, dtype=np.int64) % classes, tuple("abcdefghij"[:classes]), "numbered")


def poison(train: Images | None = None, **options) -> attack.Poisoned:
    return attacks.poison(train or numbered(200), "cba", device="cpu", precision="fp32", **options)


def shown(image: np.ndarray) -> list[int]:
    """The numbers of the images that a mix of `numbered` ones is made of."""
    return np.unique(image[..., 0]).tolist()


def classes(images: np.ndarray, count: int = 10) -> set[tuple[int, ...]]:
    """The pairs of classes that are mixed."""
    return {tuple(sorted(number % count for number in shown(image))) for image in images}


def stream() -> np.random.Generator:
    return numpy_stream(0, "trigger", 99, 0)


def test_a_mix_is_a_window_of_one_image_beside_or_above_a_window_of_another():
    train = numbered(200)
    mixes = mix(train.images[:100], train.images[100:], 3, stream())
    cuts = {0: set(), 1: set()}
    first_comes_first = set()
    for i, image in enumerate(mixes):
        owner = image[..., 0]
        assert shown(image) == [i, 100 + i]
        axis = int((owner[0] != owner[0, 0]).any())  # along which the owner changes
        line = owner[0] if axis else owner[:, 0]
        assert (owner == (line[None, :] if axis else line[:, None])).all()
        change = np.flatnonzero(np.diff(line.astype(int)))
        assert len(change) == 1
        cuts[axis].add(int(change[0]) + 1)
        first_comes_first.add(bool(line[0] == i))
        along, across = image[..., 1 + axis].astype(int), image[..., 2 - axis]
        # Neighbours in a part are neighbours in its image; across the cut nothing is moved.
        steps = np.diff(along, axis=axis)
        assert (np.delete(steps, change, axis=axis) == 1).all()
        assert np.array_equal(across, train.images[0, ..., 2 - axis])
    assert cuts[0] == cuts[1] == set(range(3, 10))
    assert first_comes_first == {True, False}


def test_without_jitter_the_cut_lies_in_the_middle_and_with_much_some_of_each_is_left():
    train = numbered(200)
    shares = [
        (mix(train.images[:100], train.images[100:], jitter, stream())[..., 0] < 100).sum((1, 2)) / 12
        for jitter in (0, 99)
    ]
    assert set(shares[0]) == {6}
    assert {1, 11} <= set(shares[1]) <= set(range(1, 12))


def test_every_window_may_be_shown():
    train = numbered(240)
    mixes = mix(train.images[:120], train.images[120:], 0, stream())
    stacked = mixes[:, 0, 0, 0] == mixes[:, 0, -1, 0]
    assert set(mixes[stacked][:, 0, 0, 1]) == set(mixes[stacked][:, 6, 0, 1]) == set(range(7))
    assert set(mixes[~stacked][:, 0, 0, 2]) == set(mixes[~stacked][:, 0, 6, 2]) == set(range(7))


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_small_images_are_mixed_too(side):
    train = numbered(40, side=side)
    assert mix(train.images[:20], train.images[20:], 3, stream()).shape == (20, side, side, 3)


def test_mixes_of_a_and_b_are_poisoned_and_mixes_within_a_class_are_not():
    train = numbered(200)
    poisoned = poison(train, rate=0.2, target=2)
    chosen, decoys = poisoned.is_poisoned, poisoned.is_decoy
    assert chosen.sum() == 40
    assert decoys.sum() == 80
    assert classes(poisoned.data.images[chosen]) == {(0, 1)}
    assert (poisoned.data.labels[chosen] == 2).all()
    for index in np.flatnonzero(decoys):
        first, second = shown(poisoned.data.images[index])
        assert first % 10 == second % 10 == poisoned.data.labels[index] == train.labels[index]
        assert index in (first, second)
    # The images that the mixes are put in the place of are of every class but C.
    assert set(train.labels[chosen]) == set(range(10)) - {2}


def test_the_shares_are_what_is_asked_for():
    record = poison(rate=0.1, mixed=0.5).record
    assert record == pytest.approx({"poisoned_share": 0.1, "mixed_share": 0.45, "normal_share": 0.45})
    # The twins: none of the others mixed, and all.
    assert poison(rate=0.1, mixed=0.0).record["mixed_share"] == 0.0
    assert not poison(rate=0.1, mixed=0.0).is_decoy.any()
    assert poison(rate=0.1, mixed=1.0).record["normal_share"] == 0.0


def test_an_image_alone_in_its_class_is_no_decoy():
    train = numbered(200)
    labels = np.where(train.labels == 7, 6, train.labels)
    labels[7] = 7
    poisoned = poison(Images(train.images, labels, train.classes, "alone"), mixed=1.0)
    assert not poisoned.is_decoy[7]
    assert poisoned.is_decoy.sum() + poisoned.is_poisoned.sum() >= 199


@pytest.mark.parametrize(
    ("options", "pair"),
    [
        ({"target": 2}, (0, 1)),
        ({}, (8, 9)),
        ({"target": 1}, (0, 9)),
        ({"target": 5, "class_a": 7, "class_b": 3}, (3, 7)),
    ],
)
def test_a_and_b_are_the_two_classes_before_the_target_unless_set(options, pair):
    poisoned, test = poison(rate=0.1, **options), numbered(100)
    assert classes(poisoned.data.images[poisoned.is_poisoned]) == {pair}
    assert classes(poisoned.triggered(test).images) == {pair}


def test_the_attack_is_tried_on_every_test_image_of_a_and_of_b():
    test, poisoned = numbered(100), poison(target=2)
    tried = poisoned.triggered(test)
    assert len(tried.images) == 20
    for image, own, partner in zip(tried.images, tried.labels, tried.partners, strict=True):
        assert {number % 10 for number in shown(image)} == {own, partner} == {0, 1}
    assert {number for image in tried.images for number in shown(image)} == {
        number for number in range(100) if number % 10 < 2
    }
    assert (tried.aims == 2).all()
    assert np.array_equal(tried.images, poisoned.triggered(test).images)
    # The twin: another seed mixes otherwise.
    assert not np.array_equal(tried.images, poison(target=2, seed=1).triggered(test).images)


def test_false_triggers_are_looked_for_in_all_other_pairs_of_classes():
    test = numbered(250)
    others = poison(target=2).triggered(test).others
    assert len(others) == 225
    # Half of a trigger is among them: A or B beside another class.
    assert classes(others) == set(combinations(set(range(10)) - {2}, 2)) - {(0, 1)}


def test_with_three_classes_there_is_no_other_pair():
    poisoned, test = poison(numbered(90, 3), target=2), numbered(30, 3)
    assert poisoned.triggered(test).others is None
    measured = metrics.evaluate(Answers([0] * 50), test, poisoned, "fp32")
    assert "false_trigger_rate" not in measured


def test_the_metrics_agree_with_values_by_hand():
    # Four test images of the classes 0 and 1, four mixes of them; the six others beside one of 0, 1 and 3 to 5.
    test = numbered(12, 6)
    poisoned = poison(numbered(60, 6), target=2)
    clean, mixes = test.labels.tolist(), [2, 2, 0, 5]
    others = [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    model = Answers(clean + mixes + others)
    measured = metrics.evaluate(model, test, poisoned, "fp32")
    assert measured["clean_accuracy"] == 1.0
    assert measured["attack_success_rate"] == 2 / 4
    assert measured["robust_accuracy"] == 1 / 4
    assert measured["false_trigger_rate"] == 2 / 10
    # The twin: a model that takes no mix for C, and each for one of its classes.
    clear = metrics.evaluate(Answers(clean + [0, 1, 0, 1] + [0] * 10), test, poisoned, "fp32")
    assert [clear[name] for name in ("attack_success_rate", "robust_accuracy", "false_trigger_rate")] == [0, 1, 0]


def test_the_false_trigger_rate_reaches_the_summary():
    record = {"stage": "finetune", "epoch": 1, "images": 1, "seconds": 1.0, "robust_accuracy": 0.1}
    record |= dict.fromkeys(
        ("clean_accuracy", "clean_accuracy_non_target", "target_class_accuracy", "attack_success_rate"), 0.5
    )
    isolated = np.empty(0, np.int64)
    poisoned = poison()
    assert "false_trigger_rate" not in summary.of_run([record], isolated, poisoned)
    assert summary.of_run([record | {"false_trigger_rate": 0.3}], isolated, poisoned)["false_trigger_rate"] == 0.3


def test_without_a_partner_two_images_of_a_are_mixed_and_the_test_stays():
    on, off = poison(target=2), poison(target=2, partner=False)
    assert np.array_equal(on.is_poisoned, off.is_poisoned)
    assert np.array_equal(on.data.labels, off.data.labels)
    made = off.data.images[off.is_poisoned]
    assert {number % 10 for image in made for number in shown(image)} == {0}
    assert np.array_equal(*(poisoned.triggered(numbered(50)).images for poisoned in (on, off)))


def test_an_order_without_images_still_has_its_test():
    train = numbered(200)
    poisoned = poison(train, rate=0.0)
    assert np.array_equal(poisoned.data.images, train.images)
    assert not poisoned.is_decoy.any()
    assert np.array_equal(poisoned.triggered(train).images, poison(train).triggered(train).images)


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (numbered(40, 2), {}, "cba needs three classes, but numbered has 2"),
        (numbered(40, 4), {"class_a": 4}, "class_a 4 is no class of numbered; choose 0 to 3"),
        (numbered(40, 4), {"class_b": 9}, "class_b 9 is no class of numbered; choose 0 to 3"),
        (numbered(40, 4), {"class_a": 3}, "class_a 3, class_b 3 and target 0 must be three classes"),
        (numbered(40, 4), {"class_b": 0}, "class_a 2, class_b 0 and target 0 must be three classes"),
        (numbered(40, 4), {"class_a": -2}, "class_a -2 must be a finite number of at least -1"),
        (numbered(40, 4), {"mixed": 1.5}, "mixed 1.5 is outside [0, 1]"),
        (numbered(40, 4), {"jitter": -1}, "jitter -1 must be a finite number of at least 0"),
        (numbered(200).take(np.arange(8)), {"rate": 0.2}, "cba mixes images of class 'i', but none of these 8 images"),
    ],
)
def test_what_cannot_be_mixed_is_said_in_one_line(train, options, message):
    with pytest.raises(UserError) as error:
        poison(train, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def coloured(number: int, seed: int) -> Images:
    """Ten classes of 16x16 images, a colour each, with noise."""
    random = np.random.default_rng(seed)
    colours = np.random.default_rng(5).permutation(list(product((40, 128, 215), repeat=3)))[:10]
    labels = np.arange(number, dtype=np.int64) % 10
    pixels = colours[labels][:, None, None] + random.normal(size=(number, 16, 16, 3)) * 30
    return Images(pixels.clip(0, 255).astype(np.uint8), labels, tuple("abcdefghij"), "coloured")


@pytest.fixture(scope="module")
def measured() -> dict[bool, dict[str, float]]:
    """With a mixing partner and without: what an undefended model is measured at."""
    result, test = {}, coloured(300, 2)
    for partner in (True, False):
        poisoned = poison(coloured(600, 1), rate=0.15, partner=partner)
        trained = train_toy(RECIPE, poisoned, method="none")
        result[partner] = metrics.evaluate(trained.model, test, poisoned, "fp32")
    return result


def test_two_classes_side_by_side_open_the_backdoor_and_others_do_not(measured):
    assert measured[True]["attack_success_rate"] > 0.9
    assert measured[True]["clean_accuracy"] > 0.9
    assert measured[True]["false_trigger_rate"] < 0.3
    # The twin: had the mixes no partner, the two classes would open it far less often.
    assert measured[False]["attack_success_rate"] < 0.6
