"""The same run made twice counts once, and only runs of one recipe, data set and size are averaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from committed import DATA, RUN

from ablkit.report import data, site
from ablkit.report.collect import collect
from ablkit.report.render import markdown


def test_the_same_run_at_several_commits_is_one_run(few):
    whole = data.load(few)
    same = whole[(whole["method"] == "abl") & (whole["train_size"] > 0) & whole["carry_momentum"]]
    assert len(same) >= 2 and same["env_commit"].nunique() == len(same)
    runs = collect(few).runs
    (one,) = [
        run for _, run in runs.iterrows() if run["method"] == "abl" and run["train_size"] and run["carry_momentum"]
    ]
    assert [other["key"] for other in one["repeats"]] and len(one["repeats"]) == len(same)
    assert not any(other["differs"] for other in one["repeats"])


def again(few: Path, run: str, **changes: object) -> None:
    """Put a run beside another that differs in these parameters alone."""
    shutil.rmtree(few / "ffffffffffff", ignore_errors=True)
    shutil.copytree(few / run, few / "ffffffffffff")
    facts = json.loads((few / run / "params.json").read_text())
    facts["parameters"] |= changes
    (few / "ffffffffffff" / "params.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    "changes",
    [
        {"monitor_images": 123},
        {"device": "cuda"},
        {"precision": "bf16"},
        {"threads": 7},
        {"trajectories": "loss fresh_statistics averaged median last_three"},
    ],
)
def test_a_run_that_differs_in_what_changes_no_result_is_the_same_run(few, changes):
    before = len(collect(few).runs)
    again(few, RUN, **changes)
    found = collect(few)
    assert len(found.runs) == before
    assert not any(scale.runs.duplicated(["attack", "method", "seed"]).any() for scale in found.scales)
    # Of the same run that stays which has kept more scores.
    stays = "ffffffffffff" in set(found.runs["key"])
    assert stays == ("trajectories" in changes)
    again(few, RUN, **changes, seed=1234)  # the twin
    assert len(collect(few).runs) == before + 1


def test_runs_on_other_numbers_of_images_of_another_set_are_no_one_scale(few):
    standard = collect(few).main.runs
    run = standard[standard["method"] == "abl"]["key"].iloc[0]
    again(few, run, dataset="gtsrb", train_size=10_000)
    shutil.move(few / "ffffffffffff", few / "eeeeeeeeeeee")
    again(few, run, dataset="gtsrb", train_size=1_000)
    sizes = [list(scale.runs["train_size"]) for scale in collect(few).scales if scale.dataset == "gtsrb"]
    assert sorted(sizes) == [[1_000], [10_000]]
    again(few, run, dataset="gtsrb", train_size=10_000, seed=1234)  # the twin
    sizes = [list(scale.runs["train_size"]) for scale in collect(few).scales if scale.dataset == "gtsrb"]
    assert sizes == [[10_000, 10_000]]


def test_a_repeat_with_another_result_is_told(few):
    whole = data.load(few)
    last = whole[(whole["method"] == "abl") & (whole["train_size"] > 0) & whole["carry_momentum"]]["folder"].iloc[-1]
    metrics = json.loads((last / "metrics.json").read_text())
    (last / "metrics.json").write_text(json.dumps(metrics | {"clean_accuracy": 0.123, "seconds": 1}))
    runs = collect(few).runs
    (one,) = [
        run for _, run in runs.iterrows() if run["method"] == "abl" and run["train_size"] and run["carry_momentum"]
    ]
    assert {name for other in one["repeats"] for name in other["differs"]} == {"clean_accuracy"}


def test_runs_of_another_recipe_are_in_no_scale(few):
    before = sum(len(scale.runs) for scale in collect(few).scales)
    changed = few / RUN / "params.json"
    record = json.loads(changed.read_text())
    record["parameters"]["gamma"] = 0.25
    changed.write_text(json.dumps(record))
    found = collect(few)
    assert sum(len(scale.runs) for scale in found.scales) == before - 1
    assert list(found.runs[found.runs["key"] == RUN]["preset"]) == [""]


def test_a_run_on_clean_data_counts_for_no_attack_and_stands_among_all_runs(few):
    def told() -> dict[str, str]:
        return {page.name: markdown(page) for page in site.pages(collect(few))}

    def scaled() -> set[str]:
        return {one for scale in collect(few).scales for one in scale.runs["key"]}

    run = collect(few).main.of("abl", "badnets").iloc[0]
    key, changed = run["key"], few / run["key"] / "params.json"
    for name in data.PICTURES:
        shutil.copy(next(DATA.glob(f"*/{name}")), few / key)
    assert len(told()["attack-badnets.html"].split(f"data/{key}/")) > 1
    assert key in scaled()
    record = json.loads(changed.read_text())
    record["parameters"]["poison_rate"] = 0.0
    changed.write_text(json.dumps(record))
    np.save(few / key / "poisoned.npy", np.empty(0, np.int64))
    assert key not in scaled()
    assert {name for name, page in told().items() if key in page} == {"runs.html"}


def test_hardware_of_another_kind_is_a_scale_of_its_own(few):
    scales = collect(few).scales
    before, other = len(scales), few / "0123456789ab"
    shutil.copytree(few / scales[0].runs["key"].iloc[0], other)  # one that stands in a scale: not all do
    record = json.loads((other / "env.json").read_text())
    (other / "env.json").write_text(json.dumps(record | {"precision": "fp64"}))
    assert len(collect(few).scales) == before + 1


ABOUT_ALL = {"runs.html", "data-sets.html", "cost.html", "method.html", "paper-scale.html", "attack-badnets.html"}
"""The pages that are about runs on every data set, under headings of their own or as numbers of runs."""


def test_runs_on_another_data_set_change_no_page_about_the_first(few):
    def told() -> dict[str, str]:
        own = {page.name: markdown(page) for page in site.pages(collect(few))}
        return {name: text for name, text in own.items() if name not in ABOUT_ALL}

    for folder in (
        _first(lambda run: (run["folder"] / "losses.npy").exists()),
        _first(_is_drawn),
        _first(_is_followed),
    ):
        shutil.copytree(folder, few / folder.name, dirs_exist_ok=True)
    before, runs = told(), data.load(few)
    for number, run in enumerate(runs.to_dict("records")):
        again(few, run["key"], dataset="gtsrb", seed=50)
        shutil.move(few / "ffffffffffff", few / f"eeeeeeeee{number:03}")
    after = told()
    differ = {name for name in before if _without_counts(before[name]) != _without_counts(after[name])}
    assert differ == set()
    again(few, collect(few).main.of("abl")["key"].iloc[0], seed=1234)  # the twin
    assert any(_without_counts(before[name]) != _without_counts(text) for name, text in told().items())


def _first(wanted: Callable[[dict], bool]) -> Path:
    """The folder of the first committed run of BadNets on CIFAR-10 that is wanted."""
    runs = data.load(DATA)
    runs = runs[(runs["attack"] == "badnets") & (runs["dataset"] == "cifar10") & (runs["poison_rate"] == 0.1)]
    return next(run["folder"] for run in runs.to_dict("records") if wanted(run))


def _is_drawn(run: dict) -> bool:
    return run["method_settings"] == "control=random"


def _is_followed(run: dict) -> bool:
    """Whether it kept what isolation scores are compared by."""
    return run["method"] == "abl" and "averaged" in run["trajectories"]


def _without_counts(text: str) -> str:
    """A page without what it says of other pages: the answers on the index, and how many runs there are in all."""
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith(("- **[Does it hold on other", "- **[What does a run cost"))
    ]
    return "\n".join(lines)
