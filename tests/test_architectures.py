"""Models by name: sizes, stages and features; and the notebook and the page that hold them against one another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import toy
from finished import with_metrics
from safetensors.torch import save_file

from ablkit import models, training
from ablkit.data import Images
from ablkit.defenses import DEFENSES, Given
from ablkit.defenses.repairs import nad
from ablkit.errors import UserError
from ablkit.metrics import summary
from ablkit.models.architectures import ARCHITECTURES
from ablkit.report import architectures, findings
from ablkit.report.collect import Collection, collect
from ablkit.report.pages import architectures as page_of
from ablkit.report.render import markdown
from ablkit.runs import execute, methods
from ablkit.runs.job import Job
from ablkit.runs.parameters import changed, check
from ablkit.sweep import definition
from ablkit.training.inference import features_of

ROOT = Path(__file__).parents[1]


def count(name: str, size: int = 32) -> int:
    return sum(p.numel() for p in models.build(name, 10, size=size).parameters())


# torchvision publishes the number for 1,000 classes, of which the head has HEAD x 1,001; ours has HEAD x 11 less 990.
# ImageNet's stem of a ResNet has 3 x 64 x 7 x 7 = 9,408 weights, the 3 x 3 one 1,728.
@pytest.mark.parametrize(
    ("name", "size", "number"),
    [
        ("resnet-18", 64, 11_689_512 - 990 * 513),
        ("resnet-18", 32, 11_689_512 - 990 * 513 - 9_408 + 1_728),
        ("resnet-34", 64, 21_797_672 - 990 * 513),
        ("resnet-34", 32, 21_797_672 - 990 * 513 - 9_408 + 1_728),
        # Convolutions, norms and shortcuts of the four stages, and the head; the number of kuangliu's pytorch-cifar.
        ("preact-resnet-18", 32, 1_728 + 147_968 + 525_184 + 2_098_944 + 8_392_192 + 5_130),
        # All of VGG-16-BN but its three linear layers.
        ("vgg-16-bn", 32, 138_365_992 - 25_089 * 4_096 - 4_097 * 4_096 - 4_097 * 1_000 + 5_130),
        ("mobilenet-v3-small", 32, 2_542_856 - 990 * 1_025),
        ("mobilenet-v3-large", 64, 5_483_032 - 990 * 1_281),
        # The stem; three groups of six blocks, the first of which widens; the last norm; the head.
        ("wrn-40-2", 32, 432 + 107_232 + 427_456 + 1_706_880 + 256 + 1_290),
    ],
)
def test_a_model_has_as_many_parameters_as_is_published(name, size, number):
    assert count(name, size) == number


def test_the_stem_follows_the_size_of_the_images():
    for name in ("resnet-18", "mobilenet-v3-small"):
        for size, side in ((32, 32), (63, 63), (64, 16 if name == "resnet-18" else 32)):
            network = models.build(name, 10, size=size).eval()
            with torch.no_grad():
                assert models.group_outputs(network, torch.rand(1, 3, size, size))[0].shape[2] == side, (name, size)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("normalise", [False, True])
def test_every_model_learns_and_can_be_looked_into(name, normalise):
    smallest = models.smallest_side(name)
    model = models.build(name, 7, size=smallest, normalise=normalise, seed=1)
    x = torch.rand(2, 3, smallest, smallest)
    model.train()(x[:1]).sum().backward()  # batch norm sees more than one position of the smallest image
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        logits, outputs, found = model(x), models.group_outputs(model, x), models.features(model, x)
        assert logits.shape == (2, 7) and torch.equal(logits, model(x))
        assert torch.equal(models.unwrapped(model).classify(outputs[-1]), logits)
        sides = [output.shape[2] for output in outputs]
        assert sides == sorted(set(sides), reverse=True) and len(sides) >= 4
        last = models.unwrapped(model).last_channels(outputs[-1])
        own = [output.mean(dim=(2, 3)) for output in outputs]
        same = torch.equal(last, outputs[-1])
        assert torch.equal(found, torch.cat(own if same else [*own, last.mean(dim=(2, 3))], dim=1))
    # The twin: one pixel less, and the last norm sees a single one.
    with pytest.raises((ValueError, RuntimeError), match=r"Expected more than 1 value per channel|too small"):
        models.build(name, 7, size=smallest - 1).train()(x[:1, :, 1:, 1:])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_seed_draws_all_weights_of_a_model(name):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (models.build(name, 10, seed=s).state_dict() for s in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], again[key]) for key in first)
    convolutions = [key for key in first if first[key].dim() == 4]
    assert convolutions and not any(torch.equal(first[key], other[key]) for key in convolutions)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("resnet18", "'resnet18' is no model; did you mean 'resnet-18'"),
        ("x", "known: mobilenet-v3-large"),
        ("wrn", "wrn"),
    ],
)
def test_a_slip_in_a_name_is_told_in_one_line(wrong, told):
    with pytest.raises(UserError, match="is no model") as error:
        training.recipe("quick", model=wrong)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "side"), [("wrn-16-1", 5), ("resnet-18", 9), ("vgg-16-bn", 32)])
def test_images_that_are_too_small_for_the_model_are_refused(name, side):
    recipe = training.recipe("quick", model=name, crop_padding=0)
    recipe.check_images((side, side, 3))
    with pytest.raises(UserError, match=f"too small for the model {name}.*at least {side} x {side}"):
        recipe.check_images((side - 1, 40, 3), "mine")


# Methods


def test_fine_pruning_refuses_a_model_without_its_norm_before_anything_runs():
    values = changed("run", "quick", {"method": "fine_pruning"})
    check("run", values)  # the twin
    with pytest.raises(UserError, match="fine_pruning cuts channels at the norm before the head, and resnet-18"):
        check("run", values | {"model": "resnet-18"})
    for notebook, told in (("table1", "fine_pruning cuts"), ("what_unlearns", "arm group_norm needs a model wrn")):
        check(notebook, changed(notebook, "quick", {}))
        with pytest.raises(UserError, match=told):
            check(notebook, changed(notebook, "quick", {"changes": "model=resnet-18"}))


def grown(number: int) -> Images:
    """The toy set with as many pixels as every model takes."""
    small = toy(number, 1)
    return replace(small, images=small.images.repeat(2, axis=1).repeat(2, axis=2))


def test_the_last_three_stages_are_distilled_and_excluding_sees_every_model():
    data = grown(40)
    recipe = training.recipe("smoke", model="mobilenet-v3-small", batch_size=20)
    model = models.build(recipe.model, 10, seed=1).eval()
    assert features_of(model, data.images).shape == (40, 776)
    given = Given(model, data, data, np.empty(0, np.int64), recipe, 0, "cpu", "fp32")
    repaired = DEFENSES["nad"].repair(given, nad.Settings(epochs=1, teacher_epochs=1, batch_size=20))
    plain = DEFENSES["nad"].repair(
        given,
        nad.Settings(epochs=1, teacher_epochs=1, batch_size=20, beta_low=0.0, beta_middle=0.0, beta_high=0.0),
    )
    losses = [repaired.record["distill_loss"], plain.record["distill_loss"]]
    assert np.isfinite(losses).all() and losses[0] != losses[1]


@pytest.mark.parametrize("size", [32, 64])
def test_a_run_keeps_the_model_of_its_images_size(size, tmp_path):
    one = check("run", changed("run", "smoke", {"model": "resnet-18"}))
    model = models.build("resnet-18", 10, size=size, seed=3)

    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = methods.load_model(tmp_path, one, 10, size)
    assert torch.equal(loaded.head.weight, model.head.weight)
    with pytest.raises(UserError, match="is damaged"):  # the twin: of the other size it does not fit
        methods.load_model(tmp_path, one, 10, 96 - size)


# The comparison


def epochs(**precisions: list[float]) -> pd.DataFrame:
    """Two epochs of phase 1 with each model, whose name has _ for -, a seed a value; a backdoor in each."""
    rows = [
        {"model": model.replace("_", "-"), "attack": "badnets", "seed": seed, "epoch": epoch}
        | dict.fromkeys(summary.FIRST_PHASE, 0.7)
        | {"isolation_precision": value if epoch == 2 else 0.0}
        for model, values in precisions.items()
        for seed, value in enumerate(values)
        for epoch in (1, 2)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("made", "word", "told"),
    [
        (epochs(wrn_16_1=[1.0, 0.9, 1.0]), "Holds.", "in 3 of 3 runs (1 model, 1 attack). n = 3"),
        (epochs(wrn_16_1=[1.0, 0.8, 1.0], resnet_18=[0.0, 0.0, 1.0]), "Holds in part.", "learned in 3 of 3."),
        (epochs(resnet_18=[0.0, 0.1, 0.2]), "Fails.", "- ResNet-18, mean precision: BadNets 10 % (lowest 0.0 %"),
        (epochs(resnet_18=[1.0]), "Cannot be said.", "A verdict takes 3 seeds."),
        (epochs(resnet_18=[1.0]).iloc[:0], "Cannot be said.", "No run"),
    ],
)
def test_the_verdict_on_architectures(made, word, told):
    found = findings.of_architectures(made)
    assert found.startswith(f"**{word}**") and told in found and "nan" not in found


def test_what_is_trained_to_the_end_is_told_too():
    whole = pd.DataFrame({"model": ["resnet-18"] * 2, "method": "abl", "attack_success_rate": [0.0, 0.4]})
    made = epochs(resnet_18=[1.0])
    found = findings.of_architectures(made, whole.assign(clean_accuracy=0.6))
    assert "ResNet-18, ABL, trained to the end: at most 5 % attack success on 1 of 2 runs, mean 20 %" in found
    assert "to the end" not in findings.of_architectures(made)  # the twin


def test_every_seed_of_every_model_is_drawn():
    made = epochs(wrn_16_1=[1.0, 0.8], resnet_18=[0.0, 0.1])
    first, *others = architectures.after_phase_1(made).axes
    assert [sum(len(dots.get_offsets()) for dots in place.collections) for place in (first, *others)] == [8, 4, 4]
    assert [text.get_text() for text in first.get_yticklabels()] == ["WRN-16-1, BadNets", "ResNet-18, BadNets"]
    assert [len(place.lines) for place in architectures.by_epoch(made).axes] == [6, 6]
    plt.close("all")


def test_the_sweep_makes_runs_that_the_notebook_compares():
    made = {job.parameters.model_dump_json() for job in definition.read(ROOT / "notebooks/sweeps/architectures.yaml")}
    values = changed("architectures", "quick", {})
    assert made < {one.model_dump_json() for one in check("architectures", values).runs()} and len(made) == 30
    few = check("architectures", values | {"model_names": "resnet-18", "to_the_end": "none abl", "seeds": "0"})
    assert [(one.method, bool(one.finetune_epochs)) for one in few.runs()] == 2 * [
        ("abl", False),
        ("none", True),
        ("abl", True),
    ]


@pytest.fixture(scope="module")
def collections(tmp_path_factory) -> tuple[Collection, Collection]:
    """A folder of numbers without a run of phase 1, and with those of one model."""
    folder = tmp_path_factory.mktemp("architectures") / "data"
    like = next(
        path.parent
        for path in sorted((ROOT / "reports/data").glob("*/params.json"))
        if "blend" in str(path.read_text())
    )
    (folder / like.name).mkdir(parents=True)
    for name in ("params.json", "env.json", "metrics.json", "history.csv"):
        (folder / like.name / name).write_bytes((like / name).read_bytes())
    before = collect(folder)
    facts, metrics = (json.loads((like / name).read_text()) for name in ("params.json", "metrics.json"))
    values = changed("architectures", "quick", {"model_names": "resnet-18 vgg-16-bn"})
    for number, one in enumerate(check("architectures", values).runs()):
        if (one.model, one.seed) == ("vgg-16-bn", 2):
            continue
        run = folder / f"{number:012x}"
        run.mkdir()
        (run / "params.json").write_text(json.dumps(facts | {"parameters": one.model_dump()}))
        (run / "metrics.json").write_text(json.dumps(metrics))
        (run / "env.json").write_bytes((like / "env.json").read_bytes())
        rows = epochs(**{one.model: [1.0 if one.model == "resnet-18" else 0.2]}).assign(stage="isolate")
        rows.drop(columns=["model", "attack", "seed"]).to_csv(run / "history.csv", index=False)
    return before, collect(folder)


def test_the_page_says_what_the_runs_say_and_which_are_missing(collections):
    before, after = (page_of.page(c) for c in collections)
    assert before.finding == "Not known yet: none of the 48 runs that would tell is there."
    assert "ablkit run architectures -p model_names resnet-18" in markdown(before)
    assert after.finding.startswith("**Holds in part.**") and "in 6 of 10 runs (2 models, 2 attacks)" in after.finding
    text = markdown(after)
    assert "VGG-16-BN, mean precision: BadNets 20 %" in text
    assert "model_names vgg-16-bn" in text and "model_names resnet-18" not in text
    assert sum(block.block == "figure" and b"<svg" in block.svg for block in after.blocks) == 2


def test_the_notebook_makes_the_run_that_is_missing_and_ends_with_the_verdict(folders):
    values = {"attack_names": "badnets", "model_names": "mobilenet-v3-small", "to_the_end": "none", "epochs": 1}
    values = changed("architectures", "smoke", values | {"train_size": 300, "changes": "finetune_epochs=1"})
    with pytest.raises(UserError, match="changes sets finetune_epochs"):
        check("architectures", values)
    own = check("architectures", values | {"changes": ""})
    (whole,) = (Job("run", "", one) for one in own.runs() if one.method == "none")
    with_metrics(whole, dict.fromkeys(summary.COMPARED, 0.5))
    folder = execute.execute("architectures", own).folder
    numbers = pd.read_csv(folder / "figures" / "architectures.csv")
    assert list(numbers["model"]) == ["mobilenet-v3-small"] and numbers["isolation_precision"].notna().all()
    verdict = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert verdict.startswith(findings.of_architectures(numbers)) and "undefended, trained to the end" in verdict
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"architectures", "epochs"}
