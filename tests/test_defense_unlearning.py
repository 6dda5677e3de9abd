"""Each way to use the isolated examples does what its docstring says, and only that."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, toy, train_toy, weights

from ablkit import attacks, metrics
from ablkit.attacks import attack
from ablkit.data import vision
from ablkit.defenses import DEFENSES, Given, named
from ablkit.defenses.ways.finetuning import LastLayers, fine_tune, last_layers
from ablkit.defenses.ways.isolated import Settings, isolated_examples
from ablkit.defenses.ways.noise import GradientNoise, PixelNoise
from ablkit.defenses.ways.relabelling import LabelSmoothing
from ablkit.errors import NotRunError, UserError
from ablkit.training import Trained

SHORT = replace(
    TOY_RECIPE, isolation_epochs=1, finetune_epochs=1, finetune_drop_epoch=1, unlearn_epochs=2, carry_momentum=False
)
WAYS = named("ways")
ON_ISOLATED = [name for name in WAYS if name not in ("finetune_all", "finetune_last", "retrain", "pretrained")]


def given_by(trained: Trained, recipe=SHORT, poisoned: attack.Poisoned | None = None, **changes) -> Given:
    """What a defence is given after a training on a toy set."""
    poisoned = poisoned or attacks.poison(toy(200, 1))
    made = Given(trained.model, None, poisoned.data, trained.isolated, recipe, 0, "cpu", "fp32")
    return replace(made, **changes)


def labelled(given: Given, labels: np.ndarray) -> Given:
    """The same with other labels on the training set."""
    return replace(given, data=replace(given.data, labels=labels))


def run(name: str, given: Given, evaluate=None, **settings):
    """One of the defences by name."""
    return DEFENSES[name].repair(given, DEFENSES[name].settings(**settings), evaluate)


def same(first, second) -> bool:
    """Whether two trained models hold the same values."""
    return np.array_equal(weights(first), weights(second))


@pytest.fixture(scope="module")
def given() -> Given:
    """After fine-tuning, before the ascent; on 200 images."""
    return given_by(train_toy(replace(SHORT, unlearn_epochs=0)))


@pytest.fixture(scope="module")
def plain(given):
    """The twin of every way: fine-tuned on the isolated examples as they are."""
    return fine_tune(given, Settings(), "plain", isolated_examples(given))


# The ascent and the retraining are trainings that the kit has already.


@pytest.mark.parametrize("augmented", [False, True])
def test_gradient_ascent_is_the_unlearning_stage_of_abl(given, augmented):
    recipe = replace(SHORT, unlearn_augmentation=augmented)
    ascended = run("gradient_ascent", replace(given, recipe=recipe))
    assert same(ascended, train_toy(recipe))
    assert [record["loss"] for record in ascended.history] == [r["loss"] for r in train_toy(recipe).history[-2:]]


def test_with_the_momentum_of_the_fine_tuning_the_stage_is_another(given):
    assert not same(run("gradient_ascent", given), train_toy(replace(SHORT, carry_momentum=True)))


@pytest.mark.parametrize("batchnorm", ["train", "eval", "momentum_0"])
def test_batch_norm_is_that_of_the_recipe(given, batchnorm):
    recipe = replace(SHORT, unlearn_batchnorm=batchnorm)
    ascended = run("gradient_ascent", replace(given, recipe=recipe))
    assert same(ascended, train_toy(recipe))
    assert same(ascended, run("gradient_ascent", given)) == (batchnorm == "train")


def test_retraining_with_nothing_isolated_is_plain_training(given):
    nothing = replace(given, isolated=np.empty(0, dtype=np.int64))
    again, plainly = run("retrain", nothing), train_toy(SHORT, method="none")
    assert same(again, plainly)
    assert [record["loss"] for record in again.history] == [record["loss"] for record in plainly.history]
    assert [(record["stage"], record["epoch"]) for record in again.history] == [("retrain", 1), ("retrain", 2)]
    # The twins: with the isolated left out, and from another seed, it is another training.
    assert not same(run("retrain", given), plainly)
    assert not same(run("retrain", replace(nothing, seed=1)), plainly)


def test_retraining_takes_nothing_of_the_given_model_but_its_classes(given):
    other = replace(given, model=train_toy(SHORT, seed=5).model)
    assert same(run("retrain", given), run("retrain", other))
    assert not same(run("gradient_ascent", given), run("gradient_ascent", other))


# A change of size nothing is no change.


@pytest.mark.parametrize(
    ("name", "off", "on"),
    [
        ("pixel_noise", {"deviation": 0.0}, {}),
        ("gradient_noise", {"deviation": 0.0}, {}),
        ("label_smoothing", {"smoothing": 0.0}, {}),
        ("label_uniform", None, {}),
        ("self_learning", None, {}),
        ("label_shuffling", None, {"among": "training set"}),
    ],
)
def test_switched_off_a_way_is_fine_tuning_on_the_isolated_examples(given, plain, name, off, on):
    if off is not None:
        assert same(run(name, given, **off), plain)
    assert not same(run(name, given, **on), plain)


def test_a_permutation_of_equal_labels_changes_nothing(given, plain):
    labels = given.data.labels.copy()
    labels[given.isolated] = 0
    alike = labelled(given, labels)
    shuffled = run("label_shuffling", alike)
    assert shuffled.record["relabelled"] == 0.0
    assert same(shuffled, fine_tune(alike, Settings(), "plain", isolated_examples(alike)))
    # The twin: as soon as labels differ, some change place.
    labels[given.isolated[:3]] = 1
    assert run("label_shuffling", labelled(given, labels)).record["relabelled"] > 0


def test_shuffling_keeps_the_labels_and_drawing_them_does_not(given, monkeypatch):
    from ablkit.defenses.ways import relabelling

    seen = {}

    def spy(given, settings, stage, examples, evaluate=None, **others):
        seen[stage] = examples
        return fine_tune(given, replace(settings, epochs=1), stage, examples, evaluate, **others)

    monkeypatch.setattr(relabelling, "fine_tune", spy)
    labels = given.data.labels.copy()
    labels[given.isolated] = np.arange(len(given.isolated)) % 3
    mixed = labelled(given, labels)
    run("label_shuffling", mixed)
    run("label_uniform", mixed)
    assert np.array_equal(seen["label_shuffling"].images, given.data.images[given.isolated])
    assert sorted(seen["label_shuffling"].labels) == sorted(labels[given.isolated])
    assert sorted(seen["label_uniform"].labels) != sorted(labels[given.isolated])
    run("label_uniform", replace(mixed, isolated=np.arange(200)))
    assert set(seen["label_uniform"].labels.tolist()) == set(range(10))
    assert np.bincount(seen["label_uniform"].labels).max() < 40  # 20 of 200 are expected for each class


def test_the_pseudo_label_is_the_second_choice(given, plain):
    # With the label at hand excluded, all examples get another; the model itself would give its own label again.
    assert run("self_learning", given).record["relabelled"] == 1.0
    from ablkit.training.inference import predict

    chosen = predict(given.model, given.data.images[given.isolated], "fp32")
    own = run("self_learning", given, excludes_label=False)
    assert own.record["relabelled"] == float((chosen != given.data.labels[given.isolated]).mean())
    labels = given.data.labels.copy()
    labels[given.isolated] = chosen
    agreeing = labelled(given, labels)
    assert run("self_learning", agreeing, excludes_label=False).record["relabelled"] == 0.0


# What is trained.


def test_only_the_last_layers_move(given):
    before = given.model.state_dict()
    for layers, moved in ((1, {"head.weight", "head.bias"}), (2, {"head.weight", "head.bias", "norm.weight"})):
        after = run("finetune_last", given, layers=layers, epochs=1).model.state_dict()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved <= changed
        assert all(name.startswith(("head", "norm.")[:layers]) for name in changed)
    after = run("finetune_all", given, epochs=1).model.state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) == len(before)


def test_the_isolated_examples_play_no_part_in_the_ways_that_leave_them_out(given):
    labels = given.data.labels.copy()
    labels[given.isolated] = (labels[given.isolated] + 1) % 10
    other = labelled(given, labels)
    for name in ("finetune_all", "finetune_last"):
        assert same(run(name, given, epochs=1), run(name, other, epochs=1))
    assert not same(run("gradient_ascent", given), run("gradient_ascent", other))


@pytest.mark.parametrize("name", ["pixel_noise", "gradient_noise", "label_shuffling", "label_uniform", "self_learning"])
def test_with_the_kept_examples_all_are_trained_on(given, name):
    both, alone = run(name, given, epochs=1, with_kept=True), run(name, given, epochs=1)
    assert (both.record["training_images"], alone.record["training_images"]) == (200.0, float(len(given.isolated)))
    assert not same(both, alone)


def test_pixel_noise_touches_the_isolated_images_alone_and_is_drawn_anew(given, monkeypatch):
    from ablkit.defenses.ways import noise

    redraw = {}

    def spy(*arguments, **others):
        redraw["now"] = others["redraw"]
        return fine_tune(*arguments, **others)

    monkeypatch.setattr(noise, "fine_tune", spy)
    run("pixel_noise", given, epochs=1, with_kept=True)
    grey = torch.full((200, 16, 16, 3), 128, dtype=torch.uint8)
    first, second = (redraw["now"](grey, epoch) for epoch in (0, 1))
    count = len(given.isolated)
    assert torch.equal(first[count:], grey[count:])
    assert not torch.equal(first[:count], second[:count])
    assert first[:count].float().std().item() == pytest.approx(25.0, rel=0.05)
    assert first[:count].float().mean().item() == pytest.approx(128.0, abs=1.5)


# What every way keeps to.


@pytest.mark.parametrize("name", [name for name in WAYS if name != "pretrained"])
def test_every_way_leaves_the_given_model_alone_and_repeats_itself(given, name):
    before = {key: value.clone() for key, value in given.model.state_dict().items()}
    reported = []
    watched = replace(given, report=reported.append)
    state = torch.get_rng_state()
    settings = {} if name == "retrain" else {"epochs": 1}
    repaired = run(name, watched, lambda model, stage, epoch, last: {"seen": (stage, epoch)}, **settings)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in given.model.state_dict().items())
    assert not repaired.model.training and all(p.requires_grad for p in repaired.model.parameters())
    assert {"stage", "epoch", "loss", "learning_rate", "seconds"} <= repaired.history[0].keys()
    assert [record["seen"] for record in repaired.history] == [(name, i + 1) for i in range(len(repaired.history))]
    assert [record["loss"] for record in reported] == [record["loss"] for record in repaired.history]
    assert same(repaired, run(name, given, **settings))
    assert not same(repaired, run(name, replace(given, seed=1), **settings))


def test_the_settings_take_the_place_of_the_recipe(given):
    changed = replace(given, recipe=replace(SHORT, unlearn_epochs=1, unlearn_learning_rate=1e-3))
    set_here = run("gradient_ascent", given, epochs=1, learning_rate=1e-3)
    assert same(set_here, run("gradient_ascent", changed))
    assert not same(set_here, run("gradient_ascent", given))


# What they do to a backdoor.


@pytest.fixture(scope="module")
def backdoored():
    poisoned, test = attacks.poison(toy(2000, 1)), toy(500, 2)
    trained = train_toy(replace(TOY_RECIPE, unlearn_epochs=0), poisoned)
    return given_by(trained, TOY_RECIPE, poisoned), test, poisoned, poisoned.triggered(test)


def measured(backdoored, name: str, batchnorm: str = "train", **settings) -> dict:
    given, test, poisoned, triggered = backdoored
    given = replace(given, recipe=replace(given.recipe, unlearn_batchnorm=batchnorm))
    return metrics.evaluate(run(name, given, **settings).model, test, poisoned, "fp32", triggered)


def test_the_ascent_removes_the_backdoor_and_fine_tuning_on_the_kept_examples_does_not(backdoored):
    ascended = measured(backdoored, "gradient_ascent")
    assert ascended["attack_success_rate"] <= 0.05
    assert ascended["robust_accuracy"] >= 0.9
    for name in ("finetune_all", "finetune_last"):
        assert measured(backdoored, name, epochs=1)["attack_success_rate"] >= 0.95


def test_training_on_the_poison_as_it_is_weakens_the_backdoor_through_batch_norm_alone(backdoored):
    assert measured(backdoored, "label_shuffling")["attack_success_rate"] <= 0.8
    assert measured(backdoored, "label_shuffling", "eval")["attack_success_rate"] >= 0.95


def test_the_second_choice_gives_triggered_images_their_class_back_and_the_first_does_not(backdoored):
    second, first = (measured(backdoored, "self_learning", excludes_label=excludes) for excludes in (True, False))
    assert second["attack_success_rate"] <= 0.1 < 0.3 <= first["attack_success_rate"]
    assert second["robust_accuracy"] >= 0.85 > 0.7 >= first["robust_accuracy"]


# Bad input.


@pytest.mark.parametrize("name", ON_ISOLATED)
def test_without_isolated_examples_a_way_that_needs_them_is_refused(given, name):
    with pytest.raises(UserError, match="nothing was isolated"):
        run(name, replace(given, isolated=np.empty(0, dtype=np.int64)))


def test_wrong_input_is_refused(given):
    with pytest.raises(UserError, match="isolated index 200 is outside the 200 training images"):
        run("gradient_ascent", replace(given, isolated=np.array([3, 200])))
    with pytest.raises(UserError, match="finetune_all has no examples to train on"):
        run("finetune_all", replace(given, isolated=np.arange(200)))
    with pytest.raises(UserError, match="layers 1000 is more than the model has; choose 1 to"):
        run("finetune_last", given, layers=1000)
    with pytest.raises(UserError, match=r"the loss is (nan|inf|-inf) in stage gradient_ascent, epoch \d; lower its"):
        run("gradient_ascent", given, learning_rate=1e30, epochs=3)
    assert len(last_layers(given.model, 3)) == 3


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (Settings, {"epochs": -1}, "epochs -1 must be"),
        (PixelNoise, {"deviation": -1.0}, "deviation -1.0 must be"),
        (GradientNoise, {"deviation": float("inf")}, "deviation inf must be"),
        (LabelSmoothing, {"smoothing": 1.5}, "smoothing 1.5 is outside"),
        (LastLayers, {"layers": 0}, "layers 0 must be"),
    ],
)
def test_a_wrong_setting_is_refused(settings, values, message):
    with pytest.raises(UserError, match=message):
        settings(**values)


# The pretrained start.


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file that stands for torchvision's: fresh weights, named by their checksum as those are."""
    models = vision.torchvision().models
    torch.manual_seed(0)
    network = models.resnet18()
    torch.save(network.state_dict(), tmp_path / "raw.pth")
    digest = hashlib.sha256((tmp_path / "raw.pth").read_bytes()).hexdigest()[:8]
    path = (tmp_path / "raw.pth").rename(tmp_path / f"resnet18-{digest}.pth")
    monkeypatch.setenv("ABLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(models.ResNet18_Weights.DEFAULT.value, "url", path.as_uri())
    return path, network


def test_the_pretrained_network_starts_from_the_published_weights(given, published):
    path, network = published
    small = replace(given, isolated=np.arange(190))  # ten examples are enough here
    repaired = run("pretrained", small, epochs=1, learning_rate=1e-30)
    conv = repaired.model.model.conv1.weight
    assert torch.equal(conv, network.conv1.weight)
    assert repaired.model.model.fc.weight.shape[0] == 10
    assert (path.parent / "cache" / "torchvision" / path.name).exists()
    kept = path.parent / "cache" / "torchvision" / path.name
    kept.write_bytes(kept.read_bytes()[:-1])  # cut, it is
    run("pretrained", small, epochs=1, learning_rate=1e-30)
    assert kept.read_bytes() == path.read_bytes()
    path.unlink()  # kept, it is not fetched again
    moved = run("pretrained", small, epochs=1, learning_rate=0.1)
    assert not torch.equal(moved.model.model.conv1.weight, network.conv1.weight)


def test_without_its_weights_the_pretrained_way_is_reported_as_not_run(given, published):
    path, _ = published
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(NotRunError, match=r"weights of resnet18 cannot be had \(.*\), so this was not run; put resnet"):
        run("pretrained", given)
    # Another file in the place of the published one is no substitute either.
    path.write_bytes(content + b"x")
    with pytest.raises(NotRunError, match="is not what was published: its sha256 is another"):
        run("pretrained", given)
    assert issubclass(NotRunError, UserError)
