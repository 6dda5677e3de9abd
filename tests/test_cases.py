"""Notebooks that vary one thing: their runs, the verdict, the figure, the pages."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
from finished import with_metrics

from ablkit.errors import UserError
from ablkit.metrics import summary
from ablkit.report import cases, findings
from ablkit.report.collect import Collection, collect
from ablkit.report.page import Page
from ablkit.report.pages import cases as pages
from ablkit.report.render import markdown
from ablkit.runs import execute
from ablkit.runs.job import Job
from ablkit.runs.parameters import NOTEBOOKS, Cases, changed, check
from ablkit.runs.parameters.cases import AS_IT_IS
from ablkit.sweep import definition

ROOT = Path(__file__).parents[1]
STUDIED = [name for name, model in NOTEBOOKS.items() if issubclass(model, Cases)]
TITLES = {"low": "1 %", "high": "50 %"}


def parameters(notebook: str, preset: str = "quick", **values: str) -> Cases:
    return check(notebook, changed(notebook, preset, values))


# The runs


@pytest.mark.parametrize("name", STUDIED)
def test_a_case_changes_what_it_names_and_nothing_else(name):
    p = parameters(name, seeds="0")
    own = {case: {one.model_dump_json() for at, one in p.each() if at == case} for case in p.cases}
    assert sum(map(len, own.values())) == len({one.model_dump_json() for one in p.runs()}) == len(p.runs())
    for _, one in p.each():
        plain = p.one(one.attack, 0, one.method).model_dump()
        differing = {key for key, value in one.model_dump().items() if value != plain[key]}
        assert differing <= {*p.chosen, "attack_settings"} - {"attack", "seed", "method"}
    # The twin: most cases do differ from the preset.
    assert sum(one != p.one(one.attack, 0, one.method) for one in p.runs()) >= len(p.runs()) / 2


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_another_turning_epoch_leaves_the_number_of_epochs_and_where_the_rate_drops(preset):
    p = parameters("turning_epoch", preset, seeds="0", attack_names="badnets")
    found = [(one.isolation_epochs, one.finetune_epochs, one.finetune_drop_epoch) for one in p.runs()]
    assert len({first for first, _, _ in found}) == 4
    assert len({first + second for first, second, _ in found}) == 1
    assert len({first + drop for first, _, drop in found}) == 1
    if preset == "paper":
        assert [first for first, _, _ in found] == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("notebook", "values", "message"),
    [
        ("gamma", {"case_names": "0.5 0.55"}, "'0.55' is no case"),
        ("gamma", {"case_names": ""}, "case_names '' must name one or more"),
        ("gamma", {"method_names": "nad"}, "this notebook compares none, abl, exclude"),
        ("gamma", {"changes": "gamma=1"}, "changes sets gamma, which the comparison itself sets"),
        ("turning_epoch", {"changes": "finetune_epochs=3"}, "which the comparison itself sets"),
        ("adaptive", {"attack_names": "badnets", "case_names": "weaker"}, "name one of both that go together"),
    ],
)
def test_what_makes_no_comparison_is_refused_in_one_line(notebook, values, message):
    with pytest.raises(UserError) as error:
        parameters(notebook, **values)
    assert message in str(error.value) and "\n" not in str(error.value)


# The sweep of what notebooks compare


def test_a_sweep_of_comparisons_makes_the_runs_that_they_compare_each_once(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(
        "preset: smoke\nparams: {seeds: '0'}\ncomparisons:\n  - {notebook: gamma, attack_names: badnets}\n  - gamma\n"
    )
    made = [job.parameters.model_dump_json() for job in definition.read(path)]
    assert made == list(dict.fromkeys(made))
    assert set(made) == {one.model_dump_json() for one in parameters("gamma", "smoke", seeds="0").runs()}
    assert len(definition.read(path, "quick")) == len(made)
    assert definition.read(path, "quick")[0].parameters.train_size == 10_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comparisons: [gamma]\nnotebook: run", "comparisons and notebook exclude each other"),
        ("comparisons: [gamma]\ngrid: {seed: [0]}", "comparisons and grid exclude each other"),
        ("comparisons: gamma", "comparisons must be a list of notebooks, got 'gamma'"),
        ("comparisons: [3]", "each of comparisons must name a notebook, got 3"),
        ("comparisons: [{seeds: '0'}]", "each of comparisons must name a notebook"),
        ("comparisons: [gama]", "'gama' is no notebook; did you mean 'gamma'?"),
        ("comparisons: [run]", "run compares no runs of run.ipynb; name it as 'notebook'"),
        ("comparisons: [{notebook: gamma, seds: '0'}]", "'seds' is no parameter of gamma"),
    ],
)
def test_comparisons_of_another_form_are_refused(tmp_path, text, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        definition.read(path)
    assert message in str(error.value)


# The verdict


def frame(left: dict[tuple[str, str], list[float]], attack: str = "blend") -> pd.DataFrame:
    """Runs by method and case: the attack success that each seed is left with."""
    rows = [
        {"attack": attack, "case": case, "method": method, "seed": seed, "attack_success_rate": value}
        | {"clean_accuracy": 0.7, "target_class_accuracy": 0.6, "isolation_precision": 0.9}
        for (method, case), values in left.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_the_verdict_is_that_of_the_claimed_method_over_all_cases():
    low, high = ("abl", "low"), ("abl", "high")
    good, bad = [0.01, 0.05, 0.0], [0.01, 0.06, 0.0]
    for values, word in ((good, "**Holds.**"), (bad, "**Holds in part.**")):
        assert findings.of_cases(frame({low: good, high: values}), TITLES, "abl").startswith(word)
    told = findings.of_cases(frame({low: good, high: bad}), TITLES, "abl")
    assert "on every seed, in 1 of 2 pairs of attack and case. It leaves up to 6.0 % (at 50 %) with Blend." in told
    fails = findings.of_cases(frame({low: bad, high: [0.5, 0.0, 0.9]}), TITLES, "abl")
    assert fails.startswith("**Fails.**") and "Least is left with Blend (1 %), 2.3 % in the mean." in fails
    assert "Least is left" not in told
    assert findings.of_cases(frame({low: good[:2], high: good[:2]}), TITLES, "abl").startswith("**Cannot be said.**")


def test_what_is_left_without_any_poison_is_said_to_be_no_backdoor():
    left = frame({("exclude", "low"): [0.0] * 3, ("exclude", "high"): [0.04, 0.06, 0.07]})
    told = findings.of_cases(left.assign(exclusion_recall=1.0), TITLES, "exclude")
    assert "up to 7.0 % (at 50 %) with Blend. With Blend (50 %) no poisoned image was left in the training:" in told
    # The twin: on one seed an image is left.
    recall = [
        0.99 if (case, seed) == ("high", 1) else 1.0 for case, seed in zip(left["case"], left["seed"], strict=True)
    ]
    assert "no poisoned image" not in findings.of_cases(left.assign(exclusion_recall=recall), TITLES, "exclude")
    assert "no poisoned image" not in findings.of_cases(left, TITLES, "exclude")


def test_a_backdoor_that_nobody_learns_is_not_counted():
    runs = {("none", "low"): [0.1] * 3, ("none", "high"): [0.9] * 3, ("abl", "low"): [0.0] * 3}
    told = findings.of_cases(frame(runs | {("abl", "high"): [0.9] * 3}), TITLES, "abl")
    assert told.startswith("**Fails.**") and "learns no backdoor: Blend (1 %)" in told
    # The twin: it is learned.
    runs[("none", "low")] = [0.9] * 3
    told = findings.of_cases(frame(runs | {("abl", "high"): [0.9] * 3}), TITLES, "abl")
    assert told.startswith("**Holds in part.**") and "learns no backdoor" not in told


def test_a_weak_backdoor_that_the_method_leaves_is_counted():
    runs = {("none", "low"): [0.4] * 3, ("none", "high"): [0.9] * 3, ("abl", "high"): [0.0] * 3}
    told = findings.of_cases(frame(runs | {("abl", "low"): [0.4] * 3}), TITLES, "abl")
    assert told.startswith("**Holds in part.**") and "It leaves up to 40 % (at 1 %) with Blend." in told
    assert "learns it in less than 50 %, as ABL leaves more than 5 %: Blend (1 %)." in told
    twin = findings.of_cases(frame(runs | {("abl", "low"): [0.0] * 3}), TITLES, "abl")
    assert "learns no backdoor: Blend (1 %)" in twin and "Counted, though" not in twin


def test_cases_without_an_undefended_run_are_told_and_one_seed_is_not_every_seed():
    runs = {("none", "low"): [0.9], ("abl", "low"): [0.0], ("abl", "high"): [0.0]}
    told = findings.of_cases(frame(runs), TITLES, "abl")
    assert "In 1 of the 2 pairs undefended training was not run" in told and "on every seed" not in told
    twin = findings.of_cases(frame({pair: [0.9] * 3 for pair in (*runs, ("none", "high"))}), TITLES, "abl")
    assert "was not run" not in twin and "on every seed" in twin


def test_the_verdict_is_about_pairs_on_seeds_enough_and_the_others_stand_apart():
    low, high = ("abl", "low"), ("abl", "high")
    told = findings.of_cases(frame({low: [0.0], high: [0.01] * 3}), TITLES, "abl")
    assert told.startswith("**Holds.**") and "in 1 of 1 pair of attack and case." in told
    assert "On fewer than 3 seeds, which prove little, it does so in 1 of 1 more." in told
    # A backdoor that is there on one seed refutes the claim; one that is weak does not.
    for left, word in ((0.9, "**Holds in part.**"), (0.2, "**Holds.**")):
        told = findings.of_cases(frame({low: [left], high: [0.01] * 3}), TITLES, "abl")
        assert told.startswith(word) and f"in 0 of 1 more. It leaves up to {100 * left:.0f} % (at 1 %)" in told
    twin = findings.of_cases(frame({low: [0.0] * 3, high: [0.9] * 3}), TITLES, "abl")
    assert "prove little" not in twin and "in 1 of 2 pairs" in twin


def test_a_model_of_no_use_is_no_success():
    runs = frame({("abl", "low"): [0.0] * 3, ("abl", "high"): [0.0] * 3})
    destroyed = runs.assign(clean_accuracy=runs["case"].map({"low": 0.7, "high": 0.12}))
    undefended = pd.DataFrame({"attack_success_rate": [1.0], "clean_accuracy": [0.76]}, index=["blend"])
    told = findings.of_cases(destroyed, TITLES, "abl", undefended)
    assert told.startswith("**Holds in part.**")
    assert "in 1 of 2 pairs of attack and case. It destroys the model, to a clean accuracy of 12 % (at 50 %)" in told
    # The twins: undefended training is as bad there, what it does is not known, and no model is worse.
    same = destroyed.assign(method="none", attack_success_rate=0.9)
    for known in (pd.concat([destroyed, same]), destroyed, runs):
        found = findings.of_cases(known, TITLES, "abl", undefended if known is runs else None)
        assert found.startswith("**Holds.**") and "destroys" not in found


def test_a_model_that_hardly_names_the_target_class_is_no_success():
    runs = frame({("abl", "low"): [0.0] * 3, ("abl", "high"): [0.0] * 3})
    mute = runs.assign(target_class_accuracy=runs["case"].map({"low": 0.1, "high": 0.09}))
    told = findings.of_cases(mute, TITLES, "abl")
    assert told.startswith("**Holds in part.**") and "in 1 of 2 pairs" in told
    assert "hardly names the target class, with an accuracy there of 9.0 % (at 50 %)" in told
    twin = findings.of_cases(runs.assign(target_class_accuracy=0.1), TITLES, "abl")
    assert twin.startswith("**Holds.**") and "hardly" not in twin


def test_cases_are_compared_on_the_same_seeds(collection):
    """The preset's own settings were run on more seeds than others: their mean would be one over other seeds."""
    for notebook in ("gamma", "turning_epoch", "isolation_rate"):
        found, p = cases.of_collection(collection, notebook)
        own = found[(found["attack"] == "badnets") & (found["method"] == "abl")]
        seeds = own.groupby("case")["seed"].agg(frozenset)
        assert len(seeds) == len(p.cases) and len(set(seeds)) == 1
    found, _ = cases.of_collection(collection, "adaptive")  # where ABL was run in one case alone
    own = found[(found["attack"] == "badnets") & (found["case"] == AS_IT_IS)]
    bare, excluded = (set(own.loc[own["method"] == method, "seed"]) for method in ("none", "exclude"))
    assert bare == excluded == set(seeds.iloc[0])
    assert len(collection.main.of("abl", "badnets")) > len(seeds.iloc[0])  # the twin
    alone = collection.runs[collection.runs["gamma"] == 0.5]  # and with nothing to compare all seeds stay
    found, _ = cases.of_collection(replace(collection, runs=alone), "gamma")
    assert len(found[(found["attack"] == "badnets") & (found["method"] == "abl")]) > len(seeds.iloc[0])


def test_a_recipe_of_ones_own_says_nothing_of_those_of_others():
    runs = frame({("abl", "quick-10"): [0.0] * 3, ("abl", "paper-10"): [0.9] * 3})
    titles = {name: name for name in ("quick-10", "paper-10")}
    told = findings.of_cases(runs, titles, "abl")
    assert told.startswith("**Fails.**") and "in 0 of 1 pair" in told and "quick" not in told
    other = runs.assign(case=runs["case"].replace("quick-10", "toolbox-10"))
    assert findings.of_cases(other, {"toolbox-10": "t", **titles}, "abl").startswith("**Holds in part.**")  # the twin


def test_a_method_that_ran_in_one_case_alone_is_not_held_against_the_others():
    runs = {("none", "low"): [0.9], ("none", "high"): [0.9], ("abl", "low"): [0.0], ("abl", "high"): [0.0]}
    assert "Excluding" not in findings.of_cases(frame(runs | {("exclude", "low"): [0.0]}), TITLES, "abl")
    both = runs | {("exclude", "low"): [0.0], ("exclude", "high"): [0.0]}
    assert "Excluding suspects removes the backdoor" in findings.of_cases(frame(both), TITLES, "abl")  # the twin


def test_the_figure_shows_every_seed_of_every_method():
    rows = frame({(m, c): [0.1, 0.2, 0.3] for m in ("none", "abl", "exclude") for c in TITLES})
    figure = cases.drawn(rows, TITLES)
    assert len(figure.axes) == 4
    assert sum(len(dots.get_offsets()) for dots in figure.axes[0].collections) == len(rows)
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == list(TITLES.values())
    plt.close("all")


def test_the_figure_leaves_out_an_attack_with_one_case_and_cases_that_an_attack_lacks():
    both = frame({("abl", case): [0.1, 0.2] for case in TITLES})
    one = frame({("abl", "low"): [0.1, 0.2]}, "sig")
    titles = TITLES | {"other": "70 %"}
    figure = cases.drawn(pd.concat([both, one]), titles, "poisoned")
    assert [place.get_title(loc="left") for place in figure.axes if place.get_title(loc="left")] == ["Blend"]
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == list(TITLES.values())
    assert figure.axes[-1].get_xlabel() == "poisoned"
    # A method that one of the attacks lacks has no marker there.
    other = frame({("abl", case): [0.1] for case in TITLES} | {("none", case): [1.0] for case in TITLES}, "sig")
    first, second = cases.drawn(pd.concat([both, other]), titles).axes[:2]
    assert [sum(len(dots.get_offsets()) for dots in place.collections) for place in (first, second)] == [4, 4]
    # The twin: where no attack has several cases, all are drawn.
    assert cases.drawn(one, titles).axes[0].get_title(loc="left") == "SIG"
    plt.close("all")


# The pages


@pytest.fixture(scope="module")
def collection() -> Collection:
    return collect(ROOT / "reports" / "data")


@pytest.fixture(scope="module")
def standard(collection) -> Collection:
    """The committed runs without those of any case that a notebook varies."""
    return replace(collection, runs=collection.runs[collection.runs["is_standard"]])


def test_committed_runs_are_found_as_cases_by_what_they_are(standard):
    found, _ = cases.of_collection(standard, "gamma")
    assert set(found["case"]) == {"0.5"} and set(found["method"]) == {"none", "abl"}  # undefended ones beside them
    # The twin: the same runs with another gamma are another case, and none with what no case has.
    for gamma, wanted in ((1.0, {"1"}), (1.1, set())):
        other = replace(standard, runs=standard.runs.assign(gamma=gamma))
        assert set(cases.of_collection(other, "gamma")[0]["case"]) == wanted


def pages_of(c: Collection) -> list[Page]:
    return pages.pages(c, pages.studied(c))


def test_a_page_waits_for_a_second_case_and_then_judges(standard):
    before = {page.name: page for page in pages_of(standard)}
    assert before["gamma.html"].finding.startswith("Not known yet: 3 of 18 combinations")
    assert "ablkit run gamma -p attack_names blend" in markdown(before["gamma.html"])
    assert re.search(r"blend`: 18 runs of about \d+ minutes [^;\n]*; 3 of them are in", markdown(before["gamma.html"]))
    more = standard.runs.assign(gamma=1.0)
    after = {page.name: page for page in pages_of(replace(standard, runs=pd.concat([standard.runs, more])))}
    assert "of 6 pairs of attack and case" in after["gamma.html"].finding
    assert sum(block.block == "figure" and b"<svg" in block.svg for block in after["gamma.html"].blocks) == 1
    assert after["adaptive.html"].finding == before["adaptive.html"].finding


def test_a_page_about_abl_shows_this_kits_own_method_where_abl_was_not_run(standard):
    more = standard.runs[standard.runs["method"] == "exclude"]
    runs = pd.concat([standard.runs, more.assign(poison_rate=0.2)])
    found = {page.name: page.finding for page in pages_of(replace(standard, runs=runs))}["poison-rate.html"]
    assert found.startswith("Not known yet of ABL; of this kit's own method: ")
    assert "Excluding suspects removes the backdoor, to at most 5 %" in found


def test_a_run_that_excludes_nothing_is_known_undefended_too(collection):
    """Its model is that of undefended training: so are the numbers of the committed runs of CBA, whatever the seed."""
    runs = collection.runs[(collection.runs["attack"] == "cba") & collection.runs["is_standard"]]
    runs = runs[runs["place"] == "CPU, bf16"]
    of = {method: own.set_index("seed")["clean_accuracy"] for method, own in runs.groupby("method")}
    nothing = runs.loc[(runs["method"] == "exclude") & (runs["method_excluded_images"] == 0), "seed"]
    seeds = sorted(set(nothing) & set(of["none"].index))
    assert len(seeds) >= 3 and of["exclude"][seeds].tolist() == of["none"][seeds].tolist()
    alone = collection.runs[(collection.runs["attack"] != "badnets") | (collection.runs["method"] != "none")]
    found = [
        cases.of_collection(replace(collection, runs=alone.assign(method_excluded_images=number)), "poison_rate")[0]
        for number in (0.0, 1.0)
    ]
    made = [frame[(frame["attack"] == "badnets") & (frame["method"] == "none")] for frame in found]
    assert len(made[0]) >= 3 and made[0]["is_same_model"].all() and made[1].empty
    own = found[0][(found[0]["attack"] == "badnets") & (found[0]["method"] == "exclude")]
    assert sorted(made[0]["attack_success_rate"]) == sorted(own["attack_success_rate"])
    assert f"{len(made[0])} of the undefended runs were not made" in pages._same_model(made[0])
    assert pages._same_model(own) == ""  # the twin
    # Where it excludes on one seed and not on another, the latter alone would say what undefended training does.
    mixed = alone.assign(method_excluded_images=(alone["seed"] == 0).astype(float))
    part, _ = cases.of_collection(replace(collection, runs=mixed), "poison_rate")
    assert part[(part["attack"] == "badnets") & (part["method"] == "none")].empty


# The notebooks


def shape(name: str) -> list[str]:
    """The code of a notebook without its parameters and its names."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code" and cell["id"] != "parameters"]
    claimed = next(study.claimed for study in pages.STUDIES if study.notebook == name)
    for own in (f'"{name}"', f'"{name.replace("_", "-")}"', f'claimed="{claimed}"'):
        code = [text.replace(own, "OWN") for text in code]
    return code


def test_these_notebooks_have_the_same_cells_and_each_a_page():
    assert {study.notebook for study in pages.STUDIES} == set(STUDIED)
    assert len({tuple(shape(name)) for name in STUDIED}) == 1


def test_a_notebook_makes_the_run_that_is_missing_and_ends_with_the_verdict(folders):
    own = parameters("isolation_rate", "smoke", attack_names="badnets", case_names="0.05 0.2")
    there, missing = (Job("run", "", one) for one in own.runs())
    with_metrics(there, dict.fromkeys((*summary.COMPARED, "isolation_precision"), 0.5))
    folder = execute.execute("isolation_rate", own).folder
    assert len(pd.read_csv(folder / "figures" / "isolation-rate.csv")) == 2
    verdict = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    told = "**Fails.** ABL removes the backdoor, to at most 5 % attack success, in 0 of 2 pairs of attack and case."
    assert verdict.startswith(told) and "n = 1 seed" in verdict
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["isolation_precision_badnets_0.05_abl"] == 0.5
    assert missing.is_done() and metrics["isolation_precision_badnets_0.2_abl"] <= 1


def test_a_setting_that_changes_nothing_is_named():
    runs = {("abl", "low"): [0.01, 0.02, 0.03], ("abl", "high"): [0.01, 0.02, 0.03]}
    told = findings.of_cases(frame(runs), TITLES, "abl")
    same = "has the same numbers on every seed, so that what is varied changes nothing there, with Blend (1 % = 50 %)."
    assert same in told
    twin = findings.of_cases(frame(runs | {("abl", "high"): [0.01, 0.02, 0.04]}), TITLES, "abl")
    assert "changes nothing" not in twin


def test_undefended_training_that_no_case_changes_is_told_once():
    runs = frame({("abl", "low"): [0.01, 0.02, 0.03], ("abl", "high"): [0.02, 0.02, 0.03]})
    numbers = {"attack_success_rate": [0.99, 0.5], "clean_accuracy": [0.7, 0.7]}
    undefended = pd.DataFrame(numbers, index=["blend", "sig"])
    told = findings.of_cases(runs, TITLES, "abl", undefended, is_of_abl=True)
    assert "Undefended training, the same in all cases, has 99 % (Blend)." in told and "was not run" not in told
    for unknown, is_of_abl in ((undefended, False), (undefended.loc[["sig"]], True), (None, True)):  # the twins
        told = findings.of_cases(runs, TITLES, "abl", unknown, is_of_abl=is_of_abl)
        assert "undefended training was not run" in told
