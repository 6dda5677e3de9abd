"""The three repairs with clean data: each contains plain fine-tuning or its end models, and does more than these."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
import torch
from conftest import TOY_RECIPE, toy, train_toy, weights

from ablkit import attacks, metrics, models, settings, training
from ablkit.attacks import attack
from ablkit.data import Images
from ablkit.defenses import DEFENSES, Given, Repaired
from ablkit.defenses import training as defense_training
from ablkit.defenses.repairs import clean_data, fine_pruning, mode_connectivity, nad
from ablkit.defenses.repairs.clean_data import SECOND_END, Settings
from ablkit.errors import UserError
from ablkit.randomness import numpy_stream

NOTHING = np.empty(0, dtype=np.int64)
SHORT = {"epochs": 2, "batch_size": 16, "drop_epoch": 1}
SMALL = {
    "fine_pruning": fine_pruning.Settings(**SHORT, step=0.2, most_pruned=0.5, largest_drop=1.0),
    "nad": nad.Settings(**SHORT, teacher_epochs=1),
    "mcr": mode_connectivity.Settings(**SHORT, curve_epochs=2, points=3, t=0.3, second_end="finetuned"),
}

USUAL = {name: value for name, value in settings.defaults(mode_connectivity.Settings).items() if name in SHORT}
del USUAL["batch_size"]
"""Of the fine-tuning, which a second end that is trained anew does not read: nothing else may be given for it."""


def untrained(*, normalise: bool = False, images: int = 48, **changes) -> Given:
    """A model that knows nothing, and few clean images: enough where only bits are compared."""
    poisoned = attacks.poison(toy(48, 1))
    model = models.build("wrn-10-1", 10, normalise=normalise).eval()
    given = Given(model, toy(images, 3), poisoned.data, NOTHING, TOY_RECIPE, 0, device="cpu", precision="fp32")
    return replace(given, **changes)


def repaired(name: str, given: Given, evaluate=None, **changes) -> Repaired:
    return DEFENSES[name].repair(given, replace(SMALL[name], **changes), evaluate)


def finetuned(given: Given, **changes) -> Repaired:
    """Plain fine-tuning."""
    model = defense_training.working_copy(given)
    history = clean_data.finetune(model, given, replace(Settings(**SHORT), **changes))
    return Repaired(model.eval(), history)


def parameters(model: torch.nn.Module) -> np.ndarray:
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


@pytest.mark.parametrize(("normalise", "precision"), [(False, "fp32"), (True, "fp32"), (True, "bf16")])
def test_nad_without_its_distances_is_fine_tuning_to_the_bit(normalise, precision):
    given = untrained(normalise=normalise, precision=precision)
    plain, without = finetuned(given), repaired("nad", given, beta_low=0.0, beta_middle=0.0, beta_high=0.0)
    assert np.array_equal(weights(plain), weights(without))
    losses = [[r["loss"] for r in result.history if r["stage"] != "teacher"] for result in (plain, without)]
    assert losses[0] == losses[1]
    # Each distance alone makes it another method.
    for beta in ("beta_low", "beta_middle", "beta_high"):
        others = {"beta_low": 0.0, "beta_middle": 0.0, "beta_high": 0.0} | {beta: 1000.0}
        assert not np.array_equal(weights(plain), weights(repaired("nad", given, **others)))


def test_fine_pruning_without_pruning_is_fine_tuning_to_the_bit():
    given = untrained()
    plain, without = finetuned(given), repaired("fine_pruning", given, most_pruned=0.0)
    assert np.array_equal(weights(plain), weights(without))
    assert without.record["pruned_channels"] == 0
    pruned = repaired("fine_pruning", given)
    assert pruned.record["pruned_channels"] > 0
    assert not np.array_equal(weights(plain), weights(pruned))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_ends_of_the_curve_are_its_end_models(precision):
    given = untrained(precision=precision)
    start, end = defense_training.working_copy(given), finetuned(given).model
    middle = repaired("mcr", given, t=0.5)
    for t, model in ((0.0, start), (1.0, end)):
        result = repaired("mcr", given, t=t)
        assert np.array_equal(parameters(result.model), parameters(model))
        # All but the statistics, and these are what the documentation says.
        assert not np.array_equal(weights(result), weights(Repaired(model, [])))
        mode_connectivity.recompute_statistics(model, given, 16, defense_training.hardware_of(given))
        assert np.array_equal(weights(result), weights(Repaired(model, [])))
        assert not np.array_equal(parameters(middle.model), parameters(model))


def test_a_retrained_second_end_is_a_training_on_the_poisoned_set_from_another_seed():
    told = []
    given = untrained(recipe=replace(TOY_RECIPE, finetune_epochs=1), report=told.append)
    result = repaired("mcr", given, t=1.0, points=0, second_end="retrained", **USUAL)
    seed = int(numpy_stream(0, "defense", SECOND_END, 0, 0).integers(1 << 31))
    options = {"method": "none", "device": "cpu", "precision": "fp32", "report": None}
    trained = [training.train(given.data, given.recipe, seed=s, **options) for s in (seed, 0)]
    assert np.array_equal(parameters(result.model), parameters(trained[0].model))
    assert not np.array_equal(parameters(result.model), parameters(trained[1].model))
    stages = {record["stage"] for record in result.history}
    assert stages == {"second_end_isolate", "second_end_finetune", "curve", "t=1.00"} == {r["stage"] for r in told}


def test_the_curve_is_quadratic_and_a_bend_in_the_middle_makes_it_straight():
    ends = {"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}
    straight, bent = {"w": torch.tensor([0.5])}, {"w": torch.tensor([3.0])}
    for t in (0.0, 0.1, 0.5, 1.0):
        assert mode_connectivity.curve(ends, straight, t)["w"].item() == pytest.approx(t)
        assert mode_connectivity.curve(ends, bent, t)["w"].item() == pytest.approx(6 * t * (1 - t) + t * t)


def test_recomputed_statistics_are_those_of_the_clean_images_and_leave_the_momentum():
    given = untrained()
    model = defense_training.working_copy(given)
    mode_connectivity.recompute_statistics(model, given, 48, defense_training.hardware_of(given))
    first = model.stem(torch.tensor(given.clean.images).permute(0, 3, 1, 2).float() / 255)
    norm = model.groups[0].norm1
    torch.testing.assert_close(norm.running_mean, first.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, first.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1
    assert not model.training
    assert not torch.allclose(given.model.groups[0].norm1.running_mean, first.mean(dim=(0, 2, 3)), atol=1e-3)


def test_the_learning_rate_of_the_curve_is_halved_into_a_constant_and_a_falling_part():
    settings = mode_connectivity.Settings()
    rates = [settings.curve_rate(epoch) / 0.01 for epoch in (0, 49, 69, 89, 99)]
    assert rates == pytest.approx([1, 1, 0.505, 0.01, 0.01])


def test_pruned_channels_are_the_least_active_and_fine_tuning_does_not_wake_them():
    given = untrained(normalise=True)
    result = repaired("fine_pruning", given, validation_share=0.02, epochs=3)
    before = fine_pruning.channel_activity(given.model, given.clean.images, "fp32")
    after = fine_pruning.channel_activity(result.model, given.clean.images, "fp32")
    count = int(result.record["pruned_channels"])
    assert 0 < count < len(after)
    assert int((after == 0).sum()) == count
    # Ranked on all but one of the images, so neighbours may have changed places.
    ranks = before.argsort().argsort()
    assert ranks[after == 0].mean() < ranks[after > 0].min()
    # Without the cut every channel is active.
    assert (fine_pruning.channel_activity(finetuned(given).model, given.clean.images, "fp32") > 0).all()


def test_attention_is_where_the_activations_are_whatever_their_scale():
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, :, 0, 1] = torch.tensor([3.0, -4.0])
    maps[0, 0, 1, 1] = 5.0
    half = 0.5**0.5
    torch.testing.assert_close(nad.attention(maps, 2.0), torch.tensor([[0, half, 0, half]]))
    torch.testing.assert_close(nad.attention(7 * maps, 2.0), nad.attention(maps, 2.0))
    torch.testing.assert_close(nad.attention(maps, 1.0)[0, 1] / nad.attention(maps, 1.0)[0, 3], torch.tensor(1.4))
    assert nad.attention(torch.zeros(1, 2, 2, 2), 2.0).isfinite().all()


def test_the_two_distances_agree_up_to_the_square_and_the_pixels():
    drawn = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(1, 3, 4, 5, generator=drawn) for _ in range(2))
    mean_square, norm = (nad.attention_distance(ours, theirs, distance=d) for d in ("mean_square", "norm"))
    torch.testing.assert_close(mean_square, norm**2 / 20)
    assert nad.attention_distance(ours, ours).item() == 0 < mean_square.item()


@pytest.mark.parametrize("name", SMALL)
def test_a_repair_leaves_the_given_model_alone_and_says_what_it_did(name):
    seen, reported = [], []

    def evaluate(model: torch.nn.Module, stage: str, epoch: int, last: bool) -> dict:
        seen.append((stage, epoch))
        return {"marked": len(seen)}

    given = untrained(report=reported.append)
    before, global_state = weights(Repaired(given.model, [])), torch.get_rng_state()
    result = repaired(name, given, evaluate)
    assert np.array_equal(weights(Repaired(given.model, [])), before)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert not np.array_equal(weights(result), before)
    assert not result.model.training
    assert reported == result.history
    measured = [record for record in result.history if "marked" in record]
    assert [(record["stage"], record["epoch"]) for record in measured] == seen
    assert {record["stage"] for record in result.history if record not in measured} <= {"curve"}
    assert result.history[-1]["stage"] == {"fine_pruning": "finetune_clean", "nad": "distill", "mcr": "t=0.30"}[name]
    assert all(record["seconds"] >= 0 for record in result.history)
    assert all(np.isfinite(value) for value in result.record.values())


def test_the_points_of_the_curve_are_measured_once_each_and_the_result_last():
    result = repaired("mcr", untrained(), points=11)
    points = [record["t"] for record in result.history if record["stage"].startswith("t=")]
    assert points == [0.0, 0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.3]
    assert {f"clean_images_accuracy_t={t:.2f}" for t in points} < set(result.record)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(name):
    first, again, other = (repaired(name, untrained(seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(other))


# Each setting of a repair and another value for it; the rest is that of SMALL.
OTHERS = {
    "fine_pruning": {"step": 0.1, "most_pruned": 0.3, "validation_share": 0.9},
    "nad": {
        "teacher_epochs": 2,
        "power": 1.0,
        "beta_low": 0.0,
        "beta_middle": 0.0,
        "beta_high": 0.0,
        "distance": "norm",
    },
    "mcr": {"second_end": "retrained", "t": 0.6, "points": 5, "curve_epochs": 3, "curve_learning_rate": 0.1},
}
SHARED = {
    "epochs": 1,
    "batch_size": 24,
    "learning_rate": 0.05,
    "drop_epoch": 2,
    "drop_factor": 0.5,
    "augmentation": False,
}


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, f.name) for name in SMALL for f in fields(SMALL[name]) if f.name != "largest_drop"],  # see below
)
def test_no_setting_is_dead(name, field):
    value = (SHARED | OTHERS[name])[field]
    assert getattr(SMALL[name], field) != value
    given = untrained(recipe=replace(TOY_RECIPE, finetune_epochs=1))
    others = USUAL if value == "retrained" else {}
    changed, unchanged = repaired(name, given, **others, **{field: value}), _unchanged(name)
    if field == "points":  # what is measured, not what is made
        assert len(changed.history) > len(unchanged.history)
        return
    assert not np.array_equal(weights(changed), weights(unchanged))


@cache
def _unchanged(name: str) -> Repaired:
    return repaired(name, untrained(recipe=replace(TOY_RECIPE, finetune_epochs=1)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("nad", {"epochs": -1}, "epochs -1 must be"),
        ("nad", {"batch_size": 1}, "batch_size 1 must be"),
        ("nad", {"beta_high": float("nan")}, "beta_high nan must be"),
        ("nad", {"power": 0.5}, "power 0.5 must be"),
        ("nad", {"distance": "l2"}, "'l2' is no distance; known: mean_square, norm"),
        ("fine_pruning", {"validation_share": 1.0}, r"validation_share 1.0 is outside \(0, 1\)"),
        ("fine_pruning", {"largest_drop": -0.1}, "largest_drop -0.1 must be"),
        ("mcr", {"t": 1.5}, r"t 1.5 is outside \[0, 1\]"),
        ("mcr", {"second_end": "retrain"}, "'retrain' is no second_end; did you mean 'retrained'"),
        ("mcr", {"curve_epochs": -1}, "curve_epochs -1 must be"),
    ],
)
def test_a_wrong_setting_is_refused(as_users_run_it, name, change, message):
    with pytest.raises(UserError, match=message):
        replace(SMALL[name], **change)


@pytest.mark.parametrize("name", SMALL)
def test_a_repair_without_clean_images_or_with_too_high_a_rate_is_refused(name):
    none = Images(np.empty((0, 16, 16, 3), dtype=np.uint8), NOTHING, tuple("abcdefghij"), "toy")
    for clean in (None, none):
        with pytest.raises(UserError, match="needs clean images and got none; hold some out from training"):
            repaired(name, untrained(clean=clean))
    with pytest.raises(UserError, match=r"the loss is (nan|inf) in stage \w+, epoch \d; lower its learning rate"):
        repaired(name, untrained(), learning_rate=1e30)


def test_the_defaults_are_the_published_settings():
    assert (nad.Settings().teacher_epochs, nad.Settings().epochs, nad.Settings().batch_size) == (10, 20, 64)
    assert (nad.Settings().beta_low, nad.Settings().beta_middle, nad.Settings().beta_high) == (500, 1000, 1000)
    assert [nad.Settings().rate(epoch) for epoch in (0, 1, 2, 19)] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert mode_connectivity.Settings().second_end == "retrained"
    assert (mode_connectivity.Settings().t, mode_connectivity.Settings().curve_epochs) == (0.1, 100)
    assert (fine_pruning.Settings().step, fine_pruning.Settings().largest_drop) == (0.01, 0.1)


@cache
def backdoored() -> tuple[Given, attack.Poisoned, Images]:
    """A model that has learned a backdoor, and 5 % clean images beside its training set."""
    poisoned, test = attacks.poison(toy(2000, 1)), toy(500, 2)
    model = train_toy(TOY_RECIPE, poisoned, method="none").model
    given = Given(model, toy(100, 3), poisoned.data, NOTHING, TOY_RECIPE, 0, device="cpu", precision="fp32")
    return given, poisoned, test


def measured(model: torch.nn.Module) -> dict[str, float]:
    _, poisoned, test = backdoored()
    return metrics.evaluate(model, test, poisoned, "fp32")


def rate(model: torch.nn.Module) -> float:
    return measured(model)["attack_success_rate"]


# Maps of these images have a quarter of CIFAR-10's pixels: with a quarter of the weights the distances count as there.
TOY = {"batch_size": 32, "augmentation": False}
TOY_NAD = nad.Settings(**TOY, beta_low=125.0, beta_middle=250.0, beta_high=250.0)


def test_fine_pruning_removes_a_backdoor_that_fine_tuning_leaves():
    given, _, _ = backdoored()
    assert rate(given.model) >= 0.95
    # The backdoor goes with the channels that the accuracy can spare, on every processor; with fewer on some.
    settings = fine_pruning.Settings(**TOY, learning_rate=0.01, largest_drop=0.5)
    both, alone = (fine_pruning.repair(given, replace(settings, most_pruned=most)).model for most in (1.0, 0.0))
    assert rate(both) <= 0.1 < 0.9 <= rate(alone)
    assert measured(both)["clean_accuracy"] >= 0.6


def test_pruning_goes_as_far_as_the_accuracy_allows():
    given, _, _ = backdoored()
    settings = fine_pruning.Settings(**TOY, epochs=0)
    records = [fine_pruning.repair(given, replace(settings, largest_drop=drop)).record for drop in (0.0, 0.1, 0.5)]
    counts = [record["pruned_channels"] for record in records]
    assert 0 < counts[0] < counts[1] < counts[2]
    for drop, record in zip((0.0, 0.1, 0.5), records, strict=True):
        assert record["validation_accuracy_pruned"] >= (1 - drop) * record["validation_accuracy_before"]


def test_the_backdoor_is_lost_between_two_backdoored_models():
    given, _, _ = backdoored()
    settings = mode_connectivity.Settings(**TOY, curve_learning_rate=0.1, points=3, t=0.5)
    ends = []

    def evaluate(model: torch.nn.Module, stage: str, epoch: int, last: bool) -> dict:
        if stage in ("t=0.00", "t=1.00"):
            ends.append(rate(model))
        return {}

    result = mode_connectivity.repair(given, settings, evaluate)
    assert rate(result.model) <= 0.3 < 0.95 <= min(ends)
    assert measured(result.model)["clean_accuracy"] >= 0.6


def test_a_backdoor_that_fine_tuning_leaves_is_left_by_the_repairs_that_build_on_it():
    """On the toy set: NAD weakens it, but its teacher has it; a curve to the fine-tuned model has it everywhere."""
    given, _, _ = backdoored()
    finetuned = defense_training.working_copy(given)
    clean_data.finetune(finetuned, given, Settings(**TOY))
    assert rate(finetuned) >= 0.9
    assert rate(nad.repair(given, TOY_NAD).model) >= 0.5
    settings = mode_connectivity.Settings(**TOY, second_end="finetuned", curve_learning_rate=0.1, t=0.4, points=0)
    assert rate(mode_connectivity.repair(given, settings).model) >= 0.9


def test_distillation_draws_the_attention_to_the_teachers():
    given, _, _ = backdoored()
    teacher, plain = defense_training.working_copy(given), defense_training.working_copy(given)
    clean_data.finetune(teacher, given, Settings(**TOY, epochs=10), place_in_stream=1)
    clean_data.finetune(plain, given, Settings(**TOY))
    x = torch.tensor(given.clean.images).permute(0, 3, 1, 2).float() / 255

    @torch.no_grad()
    def distance(model: torch.nn.Module) -> float:
        pairs = zip(models.group_outputs(model.eval(), x), models.group_outputs(teacher.eval(), x), strict=True)
        return sum(nad.attention_distance(ours, theirs).item() for ours, theirs in pairs)

    assert distance(nad.repair(given, TOY_NAD).model) < distance(plain) / 2
