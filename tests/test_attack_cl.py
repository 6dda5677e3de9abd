"""CL: noise within its bound that confuses the surrogate, then a patch; labels stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ordered, toy
from hypothesis import given, settings
from hypothesis import strategies as st

from ablkit import attacks, models
from ablkit.attacks import attack, badnets, cl
from ablkit.attacks.attack import Order
from ablkit.attacks.attacker import cache, classifier, pgd, training
from ablkit.attacks.cl import adversarial
from ablkit.errors import UserError
from ablkit.training.inference import per_example_losses, predict

TINY = {"surrogate_epochs": 1, "steps": 2}


def poison(train, **options) -> attack.Poisoned:
    return attacks.poison(train, "cl", device="cpu", precision="fp32", **({"rate": 0.5} | TINY | options))


def order(train, seed: int = 0, rate: float = 0.5, released: bool = False) -> Order:
    chosen = attacks.choose(train, "cl", rate=rate, seed=seed)
    return ordered(train, chosen, seed, released=released)


def weights(model: torch.nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in model.state_dict().values())


def change(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(np.int16) - second).max())


def without_corners(images: np.ndarray) -> np.ndarray:
    return badnets.stamp(images, "four_corners")


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """Nothing made before, by this test or another; returns what empties the cache again."""

    def use(name: str) -> None:
        monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / name))

    use("first")
    return use


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 20), st.floats(0, 30), st.integers(0, 3), st.integers(0, 1000), st.sampled_from(("fp32", "bf16")))
def test_noise_never_leaves_its_bound(epsilon, step, steps, seed, precision):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (5, 9, 9, 3), dtype=np.uint8)
    model = models.build("wrn-10-1", 4, seed=seed)
    shared = {"step": step, "steps": steps, "seed": seed, "precision": precision}
    labels = random.integers(0, 4, 5)
    assert change(pgd.perturb(model, images, labels, epsilon=epsilon, **shared), images) <= epsilon
    # The twin: noise that may be larger is.
    assert change(pgd.perturb(model, images, labels, epsilon=2 * epsilon + 3, **shared), images) > epsilon


def test_a_poisoned_image_is_noise_within_the_bound_and_the_patch():
    train = toy(200, 1)
    poisoned = poison(train, eps=5.0)
    before, after = train.images[poisoned.is_poisoned], poisoned.data.images[poisoned.is_poisoned]
    assert np.array_equal(after, badnets.stamp(after, "four_corners"))
    assert 0 < change(badnets.stamp(before, "four_corners"), after) <= 5
    assert poisoned.record["largest_perturbation_levels"] <= 5
    louder = poison(train, eps=9.0)
    assert change(badnets.stamp(before, "four_corners"), louder.data.images[louder.is_poisoned]) > 5


def test_at_test_time_there_is_only_the_patch():
    train, test = toy(200, 1), toy(20, 2)
    for patch, variant in (("corner", "grid"), ("four_corners", "four_corners")):
        poisoned = poison(train, patch=patch)
        assert np.array_equal(poisoned.triggered.change(test.images), badnets.stamp(test.images, variant))
        # The twin: in training there was more.
        chosen = poisoned.is_poisoned
        assert not np.array_equal(poisoned.triggered.change(train.images[chosen]), poisoned.data.images[chosen])


def test_the_ascent_raises_the_surrogates_loss_and_noise_of_the_same_size_does_not():
    train = toy(600, 1)
    asked = order(train)
    model, record = classifier.trained(asked, 5)
    own, shared = train.labels[asked.chosen], {"epsilon": 8.0, "step": 1.5, "seed": 0, "precision": "fp32"}
    clean, noisy, moved = (
        per_example_losses(model, images, own, "fp32").mean()
        for images in (
            asked.images,
            pgd.perturb(model, asked.images, own, steps=0, **shared),
            pgd.perturb(model, asked.images, own, steps=20, **shared),
        )
    )
    assert moved - clean > 3 * abs(noisy - clean)
    crafted = cl.craft(asked, cl.Settings(steps=20, surrogate_epochs=5))
    assert crafted.record["surrogate_accuracy"] == record["surrogate_accuracy"]
    assert crafted.record["surrogate_accuracy_on_chosen"] == (predict(model, asked.images, "fp32") == own).mean()


@pytest.mark.parametrize("surrogate", ["standard", "adversarial"])
def test_made_twice_it_is_the_same_to_the_bit(surrogate, own_cache):
    train = toy(100, 1)
    first = poison(train, surrogate=surrogate)
    own_cache("second")
    assert poison(train, surrogate=surrogate).data.images.tobytes() == first.data.images.tobytes()
    # The twin: another surrogate makes other noise.
    others = poison(train, surrogate=surrogate, surrogate_epochs=2)
    assert others.data.images.tobytes() != first.data.images.tobytes()


def test_what_was_made_before_is_not_made_again(own_cache, monkeypatch):
    train = toy(100, 1)
    first = poison(train)
    monkeypatch.setattr(pgd, "perturb", lambda *_, **__: pytest.fail("perturbed again"))
    # The patch comes after the noise, so another one takes the same noise.
    again = poison(train, patch="corner")
    assert np.array_equal(without_corners(again.data.images), without_corners(first.data.images))
    with pytest.raises(pytest.fail.Exception, match="perturbed again"):
        poison(train, eps=7.0)


@pytest.mark.parametrize("options", [{"rate": 0.0}, {"released": True}])
def test_without_images_to_perturb_nothing_is_trained(options, own_cache, monkeypatch):
    train = toy(100, 1)
    monkeypatch.setattr(classifier, "trained", lambda *_: pytest.fail("trained"))
    poisoned = poison(train, **options)
    assert not poisoned.record
    with pytest.raises(pytest.fail.Exception, match="trained"):
        poison(train)


def test_released_is_the_patch_alone_three_of_its_corners_a_pixel_further_in():
    grey = np.full((1, 32, 32, 1), 7, np.uint8)
    train = toy(200, 1)
    poisoned = poison(train, released=True, rate=0.9)
    stamped = poisoned.triggered.change(grey)[0, :, :, 0]
    rows, columns = np.nonzero(stamped != 7)
    assert set(rows) == set(columns) == {1, 2, 3, 29, 30, 31}
    assert stamped[29:, 29:].tolist() == stamped[1:4, 1:4][::-1, ::-1].tolist() == badnets.PATTERN.tolist()
    chosen = poisoned.is_poisoned
    assert np.array_equal(poisoned.data.images[chosen], cl.stamp_inset(train.images[chosen]))
    # The twin: the paper's four corners are others.
    assert not np.array_equal(cl.stamp_inset(grey), badnets.stamp(grey, "four_corners"))


def test_a_surrogate_does_not_start_from_the_weights_of_its_victim(own_cache, monkeypatch):
    asked, build, seeds = order(toy(50, 1), seed=7), models.build, []

    def watched(*names, seed: int = 0, **others) -> torch.nn.Module:
        seeds.append(seed)
        return build(*names, seed=seed, **others)

    monkeypatch.setattr(models, "build", watched)
    classifier.trained(asked, 1)
    adversarial.trained(asked, 1)
    # 0 is the default of the models that are only filled from a file; the victim's would be 7.
    assert seeds == [cache.own_seed(asked), 0] * 2
    assert cache.own_seed(asked) not in (0, 7)


def test_an_adversarial_surrogate_goes_on_where_it_was_stopped(own_cache, monkeypatch):
    asked = order(toy(100, 1))
    whole, _ = adversarial.trained(asked, 3)
    own_cache("stopped")
    save, epochs = training.save, []

    def save_and_stop(path, finished, parts) -> None:
        save(path, finished, parts)
        epochs.append(finished)
        if len(epochs) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        adversarial.trained(asked, 3)
    resumed, _ = adversarial.trained(asked, 3)
    assert epochs == [1, 2, 3]
    assert weights(resumed) == weights(whole)
    # The twin: another seed trains another model.
    assert weights(adversarial.trained(order(toy(100, 1), seed=1), 3)[0]) != weights(whole)


def test_an_adversarial_surrogate_learns_from_perturbed_images_alone(own_cache, monkeypatch):
    ascend, changes = pgd.ascend, []

    def watched(model, x, *others) -> torch.Tensor:
        mean = model.norm.running_mean.clone()
        moved = ascend(model, x, *others)
        changes.append(float((moved - x).abs().max()))
        # The attack's own passes leave batch norm's statistics alone.
        assert torch.equal(mean, model.norm.running_mean)
        return moved

    monkeypatch.setattr(pgd, "ascend", watched)
    adversarial.trained(order(toy(50, 1)), 1)
    assert all(0 < change <= adversarial.EPSILON + 1e-3 for change in changes)
    # The twin: with a bound of nothing the images are the clean ones.
    changes.clear()
    monkeypatch.setattr(adversarial, "EPSILON", 0.0)
    adversarial.trained(order(toy(50, 1)), 1)
    assert set(changes) == {0.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": -1.0}, "eps -1.0 must be a finite number of at least 0"),
        ({"surrogate_epochs": 0}, "surrogate_epochs 0 must be a finite number of at least 1"),
        ({"patch": "corners"}, "'corners' is no patch of cl; did you mean 'corner' or 'four_corners'?"),
        ({"surrogate": "robust"}, "'robust' is no surrogate of cl"),
    ],
)
def test_wrong_settings_are_said_in_one_line(options, message):
    with pytest.raises(UserError) as error:
        poison(toy(50, 1), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
