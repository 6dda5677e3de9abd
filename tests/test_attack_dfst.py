"""DFST: the generator learns the style, injectors excite what the style excites, and no epoch is trained twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ordered, toy
from PIL import Image

from ablkit import attacks, models
from ablkit.attacks import dfst
from ablkit.attacks.attack import Crafted, Order
from ablkit.attacks.attacker import cache, features, pixels, training
from ablkit.attacks.dfst import cyclegan, detoxification_training, injector, style
from ablkit.attacks.dfst.networks import Discriminator, Generator, Injector
from ablkit.attacks.dfst.settings import Settings
from ablkit.attacks.dfst.style import colour_alone
from ablkit.attacks.dfst.sunset import from_folder, sunset
from ablkit.errors import UserError
from ablkit.runs.parameters import check, defaults
from ablkit.shapes import Tensor
from ablkit.training import checkpoint
from ablkit.training.hardware import choose

CPU = choose("cpu", "fp32")
TINY = Settings(
    images=40,
    epochs=2,
    width=2,
    blocks=1,
    rounds=2,
    threshold=0.0,
    growth=0.0,
    model_epochs=2,
    retrain_epochs=2,
    injector_epochs=2,
)


def order(*, number: int = 100, chosen: int = 8, seed: int = 0) -> Order:
    """The attack on a toy set, target class 0, of which images of other classes are chosen."""
    train = toy(number, 1)
    return ordered(train, np.flatnonzero(train.labels)[:chosen], seed)


def craft(settings: Settings = TINY, **options) -> Crafted:
    return dfst.craft(order(**options), settings)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def network() -> torch.nn.Module:
    """A classifier that nobody trained."""
    return models.build("wrn-16-1", 10, seed=3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tiny() -> Crafted:
    return craft()


def test_low_sun_is_warm_darkens_the_ground_and_shines_elsewhere_in_every_image():
    grey = np.full((40, 16, 16, 3), 128, np.uint8)
    light = sunset(grey, np.random.default_rng(0)).astype(float)
    red, green, blue = light.mean((0, 1, 2))
    assert red > green > blue
    assert light[:, :8].mean() > light[:, 8:].mean() + 20
    brightest = light.sum(3).reshape(40, -1).argmax(1)
    assert len(set(brightest)) > 10
    assert set(brightest // 16) <= set(range(8))
    # The twin: a grey image has none of this.
    assert len(set(grey.mean((0, 1, 2)))) == 1


def test_pictures_of_a_folder_are_read_by_name_cropped_and_resized(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (10, 200, 30)
    Image.fromarray(wide).save(tmp_path / "b.png")
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = from_folder(str(tmp_path), (10, 10, 3))
    assert pictures.shape == (2, 10, 10, 3)
    assert (pictures[0] == 77).all()
    assert pictures[1, 5, 5].tolist() == [10, 200, 30]
    assert from_folder(str(tmp_path), (6, 8, 3)).shape == (2, 6, 8, 3)


def test_styles_that_cannot_be_read_are_said_in_one_line(tmp_path):
    def message(name: str = "") -> str:
        with pytest.raises(UserError) as error:
            from_folder(str(tmp_path / name), (8, 8, 3))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "is no folder; name one that holds png or jpg" in message(name="nowhere")
    assert "holds no png or jpg picture" in message()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    assert "a.png cannot be read as a picture" in message()


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 32])
def test_networks_take_images_of_any_size(size):
    x = noise(4, 3, size, size)
    assert Generator(3, 2, 1)(x).shape == x.shape
    assert Discriminator(3, 2)(x).shape[:2] == (4, 1)
    assert torch.equal(Injector(3, 2)(x), x)


def test_injected_images_stay_images():
    wild = Injector(3, 2)
    torch.nn.init.normal_(wild.out.weight, std=10, generator=torch.Generator().manual_seed(0))
    made = wild(noise(2, 3, 8, 8))
    assert made.min() == 0
    assert made.max() == 1


def test_the_generator_learns_the_style(monkeypatch):
    settings = replace(TINY, images=100, width=4, epochs=25)
    monkeypatch.setattr(cyclegan, "_LEARNING_RATE", 4e-3)
    _, learned, _ = style.learn(order(number=200), settings)
    assert learned["colour_distance_styled_levels"] < 0.6 * learned["colour_distance_clean_levels"]
    assert learned["cycle_error_levels"] < learned["style_change_levels"]
    # The twin: without steps of a size the images stay where they were.
    monkeypatch.setattr(cyclegan, "_LEARNING_RATE", 1e-9)
    _, idle, _ = style.learn(order(number=200, seed=1), settings)
    assert idle["colour_distance_styled_levels"] > 0.6 * idle["colour_distance_clean_levels"]


def test_no_training_image_is_in_both_domains(monkeypatch):
    monkeypatch.setattr(style, "sunset", lambda images, stream: images)
    images, pictures = style.domains(order(number=60), replace(TINY, images=25))
    assert len(images) == len(pictures) == 25
    assert not {x.tobytes() for x in images} & {x.tobytes() for x in pictures}


def test_pictures_of_a_style_are_part_of_a_runs_key(tmp_path):
    own = {"attack": "dfst", "attack_settings": f"styles={tmp_path}"}
    keys = []
    for level in (10, 10, 200):
        Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(tmp_path / "one.png")
        keys.append(check("run", defaults("run") | own).outside()["styles"])
    assert keys[0] == keys[1] != keys[2]
    assert not check("run", defaults("run")).outside()
    with pytest.raises(UserError, match="must be an absolute path"):
        check("run", defaults("run") | own | {"attack_settings": "styles=sunsets"})


def test_a_folder_of_styles_makes_another_trigger_wherever_it_lies(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((16, 16, 3), (20, 90, 250), np.uint8)).save(tmp_path / name / "blue.png")
    here, there = (craft(replace(TINY, styles=str(tmp_path / name))) for name in ("here", "there"))
    assert np.array_equal(here.images, there.images)
    assert here.pictures["a picture of the style"][0, 0].tolist() == [20, 90, 250]
    assert not np.array_equal(here.images, craft().images)


def test_maps_are_what_the_next_layer_reads():
    model, x = network(), noise(2, 3, 16, 16)
    torch.testing.assert_close(model.head(features.maps(model, x, 3).mean(dim=(2, 3))), model(x))
    first = features.maps(model, x, 1)
    block = model.groups[2]
    rest = block.shortcut(first) + block.conv2(F.relu(block.norm2(block.conv1(first))))
    torch.testing.assert_close(rest, model.groups[:3](model.stem(x)))
    assert [features.maps(model, x, layer).shape[1] for layer in (1, 2, 3)] == [16, 32, 64]


def test_activations_are_means_over_images_and_positions():
    model, images = network(), toy(70, 0).images
    means, highest = injector.activations(model, images, 2)
    seen = features.maps(model, pixels.floats(images, torch.device("cpu")), 2)
    torch.testing.assert_close(means, seen.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(highest, seen.max())


def test_a_neuron_is_compromised_where_the_style_excites_it_much_and_more_than_itself():
    clean = torch.tensor([0.1, 0.1, 0.5, 0.0, 0.5])
    styled = torch.tensor([0.4, 0.25, 0.9, 0.3, 0.1])
    found = injector.compromised(clean, styled, 10.0, 0.02, 1.0)
    # The second rises too little for the layer, the third too little for itself, the last one falls.
    assert found.tolist() == [True, False, False, True, False]
    assert injector.compromised(clean, styled, 10.0, 0.0, 0.0).tolist() == [True, True, True, True, False]


def test_similarity_is_1_for_equal_images_and_the_formula_for_a_single_window():
    a, b = noise(3, 1, 7, 7), noise(6, 1, 7, 7)[3:]
    assert torch.allclose(injector.similarity(a, a), torch.ones(3))
    x, y = (z[0, 0].double().numpy().ravel() for z in (a, b))
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    expected = (2 * x.mean() * y.mean() + 1e-4) / (x.mean() ** 2 + y.mean() ** 2 + 1e-4)
    expected *= (2 * covariance + 9e-4) / (x.var() + y.var() + 9e-4)
    assert injector.similarity(a, b)[0].item() == pytest.approx(expected, abs=1e-4)
    # A darker image is less similar, one of noise hardly at all.
    assert injector.similarity(a, a / 2)[0] < 0.9
    assert injector.similarity(a, b).abs().max() < 0.5


def trained_injector(tmp_path, similarity: float) -> tuple[float, float, float]:
    """Rise of two neurons, mean change of the others, and similarity, on a network that nobody trained."""
    model, neurons, images = network(), torch.zeros(32, dtype=torch.bool), toy(100, 1).images
    neurons[[4, 9]] = True
    settings = replace(TINY, width=4, images=100, injector_epochs=6, similarity=similarity)
    rise = torch.full((32,), 0.1)
    made = detoxification_training.injector(model, order(), images, neurons, rise, settings, 1, tmp_path)
    injected = injector.inject(made, images)
    change = injector.activations(model, injected, 2)[0] - injector.activations(model, images, 2)[0]
    pair = (pixels.floats(x, torch.device("cpu")) for x in (images, injected))
    return float(change[neurons].mean()), float(change[~neurons].mean()), float(injector.similarity(*pair).mean())


def test_an_injector_excites_its_neurons_as_far_as_similarity_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(detoxification_training, "_INJECTOR_RATE", 0.01)
    rise, others, similar = trained_injector(tmp_path / "free", 0.6)
    assert rise > 0.02
    assert rise > 2 * others
    # The twin: where images must stay what they are, nothing is excited.
    strict, _, kept = trained_injector(tmp_path / "strict", 1.0)
    assert strict < rise / 2
    assert kept > max(similar, 0.95)


def test_colours_alone_are_those_of_the_styled_image_on_the_old_content():
    images, styled = toy(3, 1).images, sunset(toy(3, 1).images, np.random.default_rng(0))
    moved = colour_alone(images, styled)
    assert np.abs(moved.mean((1, 2)) - styled.mean((1, 2))).max() < 3
    correlation = [np.corrcoef(images[0, ..., c].ravel(), x[0, ..., c].ravel())[0, 1] for c in (0, 1) for x in (moved,)]
    assert min(correlation) > 0.98
    # The twin: the styled image itself has other content too, the light.
    assert np.corrcoef(images[0, ..., 0].ravel(), styled[0, ..., 0].ravel())[0, 1] < 0.98


def test_false_triggers_are_images_with_the_colours_of_the_style_alone(tiny):
    train = toy(60, 1)
    tried = tiny.triggered(train)
    clean = train.images[train.labels != 0]
    assert np.array_equal(tried.others, colour_alone(clean, tried.images))
    # The twin: an attack without such images has none.
    assert attacks.poison(train, "badnets").triggered(train).others is None


def test_decoys_are_images_that_were_not_chosen_changed_under_their_own_labels():
    train = toy(100, 1)
    options = {name: value for name, value in vars(TINY).items() if value != getattr(Settings(), name)}
    poison = {"rate": 0.1, "device": "cpu", "precision": "fp32", **options}
    poisoned = attacks.poison(train, "dfst", **poison)
    decoys = poisoned.is_decoy
    assert decoys.sum() == 2 * 5  # in two rounds, half as many as there are poisoned images
    assert not (decoys & poisoned.is_poisoned).any()
    assert np.array_equal(poisoned.data.labels[decoys], train.labels[decoys])
    assert (poisoned.data.images[decoys] != train.images[decoys]).any(axis=(1, 2, 3)).all()
    assert not np.array_equal(poisoned.data.images[decoys], poisoned.triggered.change(train.images[decoys]))
    # The twin: without detoxification there are none, and the poisoned images are the same.
    without = attacks.poison(train, "dfst", **poison | {"rounds": 0})
    assert not without.is_decoy.any()
    assert np.array_equal(without.data.images[poisoned.is_poisoned], poisoned.data.images[poisoned.is_poisoned])


def test_the_record_follows_the_rounds_and_without_them_ends_where_they_begin(tiny):
    without = craft(replace(TINY, rounds=0)).record
    assert without["compromised_neurons_left"] == tiny.record["compromised_neurons_round_1"] > 0
    assert without["surrogate_accuracy"] == without["surrogate_accuracy_before"]
    assert not any("round" in name for name in without)
    names = {name.removesuffix("_round_1") for name in tiny.record if name.endswith("_round_1")}
    assert names == {
        "compromised_neurons",
        "excitation",
        "injected_similarity",
        "injected_success_rate",
        "injected_success_rate_after",
    }
    assert {f"{name}_round_2" for name in names} <= tiny.record.keys()


def test_a_round_without_compromised_neurons_changes_nothing():
    nothing = craft(replace(TINY, threshold=1e6))
    assert not len(nothing.decoys)
    assert nothing.record["compromised_neurons_round_1"] == nothing.record["compromised_neurons_round_2"] == 0
    assert "excitation_round_1" not in nothing.record


@pytest.mark.parametrize("number", [1, 3, 16, 17, 40])
def test_the_number_of_images_at_once_does_not_matter(tiny, number):
    images = toy(40, 5).images
    assert np.array_equal(tiny.triggered.change(images)[:number], tiny.triggered.change(images[:number]))


class Killed(Exception):
    pass


@pytest.mark.parametrize("saves", [1, 3, 6, 7])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(saves, monkeypatch, tmp_path):
    # Checkpoints: two of the CycleGAN, two of the model, two of the first injector, two of the retraining.
    def run(name: str) -> bytes:
        monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / name))
        crafted = craft(replace(TINY, rounds=1))
        tried = crafted.triggered.change(toy(9, 2).images)
        return b"".join(part.tobytes() for part in (crafted.images, crafted.decoy_images, tried))

    def killed(name: str) -> None:
        save, seen = training.save, []

        def save_and_die(path, epoch, parts):
            save(path, epoch, parts)
            seen.append(epoch)
            if len(seen) == saves:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(training, "save", save_and_die)
            run(name)

    whole = run("whole")
    killed("resumed")
    (left,) = (tmp_path / "resumed").rglob("checkpoint.safetensors")
    assert run("resumed") == whole
    assert not left.exists()
    if saves == 1:
        # The twin: without the optimisers' state it would have become another generator.
        killed("forgetful")
        (left,) = (tmp_path / "forgetful").rglob("checkpoint.safetensors")
        forget_optimisers(left)
        assert run("forgetful") != whole


def forget_optimisers(path) -> None:
    tensors, facts = checkpoint.read(path)
    checkpoint.write(path, {name: value for name, value in tensors.items() if "/optimiser/" not in name}, facts)


def test_the_generator_is_trained_once_whatever_is_chosen(monkeypatch, tiny):
    def train(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(cyclegan, "train", train)
    assert np.array_equal(craft(chosen=5).images, tiny.images[:5])
    with pytest.raises(AssertionError, match="trained again"):
        craft(seed=9)


def test_without_a_chosen_image_nothing_is_trained_before_the_trigger_is_asked_for(monkeypatch, tiny):
    asked = []
    keep = cache.keep
    monkeypatch.setattr(cache, "keep", lambda *arguments: asked.append(1) or keep(*arguments))
    nothing = craft(chosen=0)
    assert not asked
    images = toy(3, 4).images
    assert np.array_equal(nothing.triggered.change(images), tiny.triggered.change(images))
    assert asked


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 4}, "layer 4 is no group of the attacker's model; choose 1, 2 or 3"),
        ({"similarity": 1.5}, "similarity 1.5 is outside [-1, 1]"),
        ({"rounds": -1}, "rounds -1 must be a finite number of at least 0"),
        ({"epochs": 0}, "epochs 0 must be a finite number of at least 1"),
        ({"decoys": float("inf")}, "decoys inf must be a finite number of at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_said_in_one_line(settings, message):
    with pytest.raises(UserError) as error:
        Settings(**settings)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_too_few_images_are_said_in_one_line():
    with pytest.raises(UserError, match="but 19 images are too few; give at least 20"):
        attacks.poison(toy(19, 0), "dfst", rate=0.2, device="cpu", precision="fp32")
