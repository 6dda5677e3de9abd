"""The page about other data sets, and the sweep that makes its runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ablkit.report.collect import Collection, collect
from ablkit.report.pages import attack, data_sets
from ablkit.report.render import markdown
from ablkit.sweep import definition

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def collection() -> Collection:
    return collect(ROOT / "reports" / "data")


def elsewhere(c: Collection, **values: object) -> Collection:
    """The committed runs of three seeds as if they had been made on GTSRB."""
    own = (c.runs["preset"] == "quick") & (c.runs["dataset"] == "cifar10")
    runs = c.runs[c.runs["is_standard"] & own & (c.runs["seed"] < 3)]
    return replace(c, runs=runs.assign(dataset="gtsrb", **values))


def test_the_page_says_what_is_left_on_each_data_set(collection):
    page = data_sets.page(elsewhere(collection, attack_success_rate=0.04))
    first, *lines = page.finding.split("\n")
    whole = r"At most 5 % .* left with ABL on (\d+) of \1 runs and with suspects excluded on (\d+) of \2 runs\."
    assert re.fullmatch(whole, first) and "demonstration" not in page.finding
    assert [line for line in lines if line.startswith("- GTSRB, suspects excluded: ")]
    assert "GTSRB, BadNets | wrn-16-1, 10,000 images, target 0" in markdown(page)
    assert "no undefended run" not in page.finding
    alone = replace(collection, runs=elsewhere(collection, attack_success_rate=0.04).runs.query("method != 'none'"))
    told = data_sets.page(alone).finding
    many = re.search(r"For (\d+) of (\d+) defended sets there is no undefended run to compare with\.$", told)
    assert many and many[1] == many[2]
    after = r"is poisoned in the \d+ runs after which the backdoor is gone"
    assert re.search(rf"Of what ABL isolates, \d+ % to 100 % {after}", markdown(page))
    price = (
        r"runs; \d+ points of clean accuracy lost in the mean, \d+ at most; \d+ of the \d+ models without a backdoor"
    )
    assert re.search(price, page.finding) and "missed" not in page.finding
    # The twin: backdoors that stay.
    worse = data_sets.page(elsewhere(collection, attack_success_rate=0.06))
    assert "GTSRB, ABL: 0 of" in worse.finding and not re.search(after, markdown(worse))
    assert re.search(r"runs; missed: .*SIG on (\d) of \1.*; \d+ points of clean accuracy lost", worse.finding)
    assert "of no use" not in worse.finding


def test_without_abl_the_question_is_open_and_a_model_of_two_attacks_is_told_as_one(collection):
    own = elsewhere(collection)
    runs = own.runs[(own.runs["method"] == "exclude") & own.runs["attack"].isin(["badnets", "blend"])]
    alike = runs.assign(clean_accuracy=0.7, target_class_accuracy=0.6)
    told = data_sets.page(replace(own, runs=alike)).finding
    assert told.startswith(
        "Not known yet: ABL was not run. At most 5 % attack success is left with suspects excluded on"
    )
    assert (
        "\n- BadNets and Blend poison the same images, so that the model without them is one, tried with each" in told
    )
    # The twins: ABL was run, and no two models are alike.
    assert not data_sets.page(own).finding.startswith("Not known yet")
    other = alike.assign(clean_accuracy=[0.7 + number / 100 for number in range(len(alike))])
    assert "poison the same images" not in data_sets.page(replace(own, runs=other)).finding


def test_the_page_names_the_sweeps_that_made_its_runs_and_no_other(collection):
    own = elsewhere(collection)
    assert "Made by `ablkit sweep notebooks/sweeps/other_data.yaml`." in markdown(data_sets.page(own))
    larger = markdown(data_sets.page(elsewhere(collection, model="resnet-18")))  # the twin
    assert "Made by `ablkit sweep notebooks/sweeps/larger_networks.yaml`." in larger


def test_cifar10_digits_and_clean_data_have_no_part_in_it(collection):
    own = elsewhere(collection)
    assert len(data_sets.runs_of(own))
    for values in ({"dataset": "cifar10"}, {"dataset": "digits"}, {"poison_rate": 0.0}):
        other = replace(own, runs=own.runs.assign(**values))
        assert data_sets.page(other).finding.startswith("Not known yet")
    assert "ablkit sweep notebooks/sweeps/other_data.yaml" in markdown(data_sets.page(replace(own, runs=own.runs[:0])))


def test_the_sweep_runs_what_the_page_compares():
    jobs = definition.read(ROOT / "notebooks" / "sweeps" / "other_data.yaml")
    found = {(job.parameters.dataset, job.parameters.attack, job.parameters.method) for job in jobs}
    assert len(found) == 12 and len(jobs) == 36
    assert {method for *_, method in found} == set(data_sets._COMPARED)


def test_larger_networks_are_run_once_each_with_the_same_methods():
    jobs = definition.read(ROOT / "notebooks" / "sweeps" / "larger_networks.yaml")
    found = {(job.parameters.dataset, job.parameters.model, job.parameters.method) for job in jobs}
    assert len(found) == len(jobs) == 6
    assert {(dataset, model) for dataset, model, _ in found} == {("imagenette", "resnet-34"), ("gtsrb", "resnet-18")}
    assert {method for *_, method in found} == set(data_sets._COMPARED)


def test_the_pictures_of_an_attack_are_of_the_set_that_the_index_shows(collection):
    picture = attack.strip(collection, "badnets", "poisoned-images-strip.png", "Clean images")
    key = picture.path.split("/")[1]
    assert set(collection.runs.loc[collection.runs["key"] == key, "dataset"]) == {"cifar10"}
    assert "BadNets, CIFAR-10, seed" in picture.caption
    # The twin: where that has none, another set's stands there with its name.
    runs = collection.runs[collection.runs["dataset"] == "fashion_mnist"]
    scales = [scale for scale in collection.scales if scale.dataset == "fashion_mnist"]
    assert len(runs) and scales
    other = attack.strip(replace(collection, runs=runs, scales=scales), "badnets", "poisoned-images-strip.png", "Clean")
    assert "BadNets, Fashion-MNIST, seed" in other.caption


def test_what_was_not_run_is_named_with_its_command(collection):
    own = collection.runs[~collection.runs["method"].isin(["exclude"])]
    told = markdown(data_sets.page(replace(collection, runs=own)))
    assert "**Not run:** training without the suspects on all 3 seeds of GTSRB with BadNets" in told
    whole = elsewhere(collection)
    many = whole.runs["attack"].isin(["badnets", "blend"])
    assert "training without the suspects on all" not in markdown(data_sets.page(replace(whole, runs=whole.runs[many])))
    # Larger networks, too, and their twin.
    assert "**Not run:** larger networks" in told
    larger = replace(whole, runs=whole.runs.assign(model="resnet-18"))
    assert "**Not run:** larger networks" not in markdown(data_sets.page(larger))
