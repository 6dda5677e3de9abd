"""Whether training without suspects ends as training on clean data does: the verdict, its page and its notebook."""

from __future__ import annotations

import json

import nbformat
import numpy as np
import pandas as pd
import pytest
from finished import with_metrics

from ablkit.attacks import ATTACKS
from ablkit.exclusion import rule
from ablkit.metrics import summary
from ablkit.report import exclusion, findings
from ablkit.report.collect import Collection
from ablkit.report.findings import exclusion as of_rule
from ablkit.report.findings.beside import beside, paired
from ablkit.report.pages import exclusion as pages
from ablkit.report.pages import protocol
from ablkit.runs import execute
from ablkit.runs.job import Job
from ablkit.runs.parameters import changed, check

NUMBERS = ("attack_success_rate", "clean_accuracy", "target_class_accuracy")
USUAL = {
    "none": (1.0, 0.78, 0.80),
    "abl": (0.01, 0.60, 0.20),
    "exclude": (0.02, 0.77, 0.78),
    "oracle": (0.02, 0.78, 0.80),
}


def compared(attacks: tuple[str, ...] = ("badnets", "sig"), seeds: int = 3, **changes: tuple) -> pd.DataFrame:
    """Runs of the usual numbers, those of some methods changed; trained on clean data with the first attack alone."""
    rows = [
        {"attack": attack, "seed": seed, "method": method, "method_settings": "", "place": "CPU, fp32"}
        | dict(zip(NUMBERS, values, strict=True))
        | ({"exclusion_precision": 0.99, "exclusion_recall": 1.0} if method == "exclude" else {})
        for attack in attacks
        for seed in range(seeds)
        for method, values in (USUAL | changes).items()
        if method != "oracle" or attack == attacks[0]
    ]
    return pd.DataFrame(rows)


VERDICTS = {
    "as good as clean": ({}, "Holds on the 2 attacks measured so far on 3 seeds, of 10"),
    "the backdoor stays": ({"exclude": (0.9, 0.77, 0.78)}, "Fails"),
    "three points lost": ({"exclude": (0.02, 0.75, 0.78)}, "Holds in part"),
    "six points lost in the target class": ({"exclude": (0.02, 0.77, 0.74)}, "Holds in part"),
    "no model trained on clean data": ({"oracle": (None, None, None)}, "Holds in part"),
    "not measured": ({"exclude": (None, 0.7, 0.7)}, "Cannot be said"),
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_the_verdict_follows_the_numbers(kind):
    changes, expected = VERDICTS[kind]
    told = findings.of_exclusion(compared(**changes))
    assert told.startswith(f"**{expected}.**")
    assert "nan" not in told and "None" not in told


def test_it_holds_where_every_attack_is_measured():
    assert findings.of_exclusion(compared(tuple(ATTACKS))).startswith("**Holds.**")


def test_two_seeds_are_no_verdict():
    told = findings.of_exclusion(compared(seeds=2))
    assert told.startswith("**Cannot be said.** Trained without")
    assert "A verdict takes 3 seeds. n = 2 seeds. " in told


def test_an_attack_on_fewer_seeds_has_no_part_in_what_holds():
    frame = compared()
    fewer = frame[(frame["attack"] == "badnets") | (frame["seed"] < 1)]
    told = findings.of_exclusion(fewer)
    assert told.startswith("**Holds on the 1 attack measured so far on 3 seeds, of 10.**")
    assert "n = 1 to 3 seeds. ABL" in told


def test_the_verdict_names_what_is_left_and_both_prices():
    frame = compared()
    frame.loc[(frame["attack"] == "sig") & (frame["method"] == "exclude") & (frame["seed"] == 1), NUMBERS[0]] = 0.4
    told = findings.of_exclusion(frame)
    assert "at most 5 % attack success on 5 of 6 runs (on every seed with 1 of 2 attacks)" in told
    assert "More is left by SIG (1 seed, up to 40 %)." in told
    assert "ABL reaches that on 6 of 6 runs" in told
    assert (
        "the model loses 1.0 points of clean accuracy and 2.0 points in the target class, in the mean over 2"
        " attacks." in told
    )
    assert "n = 3 seeds. ABL" in told


def test_seeds_are_means_over_the_same_attacks():
    frame = compared(("badnets", "sig", "blend"))
    alone = (frame["attack"] == "badnets") | (frame["seed"] < 2) | (frame["method"] != "abl")  # seed 2: BadNets alone
    frame.loc[(frame["attack"] == "badnets") & (frame["method"] == "exclude"), "clean_accuracy"] = 0.5
    found = paired(beside(frame[alone]), "clean_accuracy", "abl")
    assert sorted(found.index) == [0, 1] and found[0] == found[1]
    assert sorted(paired(beside(frame), "clean_accuracy", "abl").index) == [0, 1, 2]  # the twin
    few = frame[(frame["attack"] == "badnets") | (frame["seed"] == 0) | (frame["method"] != "abl")]
    block = of_rule.complete(beside(few), "clean_accuracy_abl")
    assert set(block["attack"]) == {"badnets"} and set(block["seed"]) == {0, 1, 2}  # as many either way: more seeds


def test_from_five_seeds_on_the_losses_have_an_interval():
    told = of_rule.price(beside(compared(seeds=5)))
    assert told.endswith("; over the 2 attacks with all 5 seeds 1.0 (95 % BCa 1.0 to 1.0) and 2.0 (2.0 to 2.0).")
    assert "BCa" not in of_rule.price(beside(compared(seeds=4)))


def test_what_a_clean_model_has_stands_beside_what_is_left():
    frame = compared()
    frame.loc[(frame["attack"] == "badnets") & (frame["method"] == "exclude") & (frame["seed"] == 1), NUMBERS[0]] = 0.07
    told = findings.of_exclusion(frame)
    assert "More is left by BadNets (1 seed, up to 7.0 %; a model trained on clean data has 2.0 % there)." in told


def test_runs_in_which_nobody_is_suspected_are_named_apart():
    frame = compared()
    assert "At least 100.0 % (BadNets, seed 0) of the poisoned images are among" in findings.of_exclusion(frame)
    frame.loc[(frame["attack"] == "sig") & (frame["method"] == "exclude"), "exclusion_precision"] = float("nan")
    told = findings.of_exclusion(frame)
    assert "In 3 runs no class stands out, so that nothing is excluded (SIG). In the others at least 100.0 %" in told
    known = findings.of_exclusion(frame.assign(method_largest_separation=3.46))
    assert "(SIG; groups lie at most 3.5 deviations apart after phase 1, where 5 are asked for)" in known
    frame.loc[frame["method"] == "exclude", "exclusion_precision"] = float("nan")
    told = findings.of_exclusion(frame)
    assert "nothing is excluded (BadNets, SIG)" in told and "In the others" not in told


def test_each_run_stands_beside_those_of_its_attack_and_seed_and_the_clean_one_of_its_seed():
    frame = compared(seeds=2)
    drawn = frame[frame["method"] == "exclude"].assign(method_settings="control=random", attack_success_rate=0.99)
    own = beside(pd.concat([frame, drawn, frame[frame["method"] == "oracle"].assign(seed=7)]))
    assert len(own) == 4
    assert (own["attack_success_rate_random"] == 0.99).all() and (own["attack_success_rate"] == 0.02).all()
    assert own["clean_accuracy_oracle"].notna().all()  # with SIG too, where none was measured on it
    assert beside(frame[frame["method"] != "abl"])["clean_accuracy_abl"].isna().all()


def test_differences_are_paired_by_attack_and_seed():
    frame = compared(seeds=2, retrain=(0.52, 0.70, 0.50))
    frame.loc[(frame["method"] == "retrain") & (frame["attack"] == "sig") & (frame["seed"] == 1), NUMBERS[0]] = 0.12
    found = paired(beside(frame), "attack_success_rate", "retrain")
    assert found.round(9).to_dict() == {0: -0.5, 1: -0.3}  # seed 1: the mean of -0.5 and -0.1
    assert paired(beside(frame[frame["seed"] == 0]), "clean_accuracy", "abl").round(9).to_dict() == {0: 0.17}
    assert paired(beside(frame), "clean_accuracy", "random").empty  # the twin: nothing to be held against


def test_attacks_that_lose_more_than_counts_as_near_are_named():
    frame = compared()
    worse = (frame["attack"] == "sig") & (frame["method"] == "exclude")
    frame.loc[worse, "target_class_accuracy"] = 0.70
    told = findings.of_exclusion(frame)
    assert told.startswith("**Holds in part.**")  # in the mean over attacks it would be 6 points, too
    assert "6.0 points in the target class (more than 5: SIG 10.0), in the mean" in told
    assert "Of the target class of SIG at most 30 % of the images are clean" in told
    told = findings.of_exclusion(compared())  # the twin
    assert "more than" not in told and "few are left" not in told


def test_a_model_is_like_a_clean_one_only_in_all_three_respects_and_of_each_run():
    frame = compared()
    assert "6 of 6 runs also come within 2 points" in findings.of_exclusion(frame)
    by_seed = (
        "Each is held against the one model of its seed: 2 of 2 on seed 0, {} of 2 on seed 1 and 2 of 2 on seed 2."
    )
    assert by_seed.format(2) in findings.of_exclusion(frame)
    one = (frame["attack"] == "sig") & (frame["method"] == "exclude") & (frame["seed"] == 1)
    for name, value in zip(NUMBERS, (0.06, 0.75, 0.74), strict=True):
        told = findings.of_exclusion(frame.assign(**{name: frame[name].where(~one, value)}))
        assert "5 of 6 runs also come within 2 points of the clean accuracy of a model" in told
        assert "(on every seed with 1 of 2 attacks)" in told and told.startswith("**Holds in part.**")
        assert by_seed.format(1) in told


def test_an_attack_of_which_nothing_is_excluded_has_its_part_in_the_price():
    frame = compared(exclude=(0.02, 0.77, 0.78))
    assert "the model loses 1.0 points of clean accuracy" in findings.of_exclusion(frame)
    frame.loc[(frame["attack"] == "sig") & (frame["method"] == "exclude"), "clean_accuracy"] = 0.5
    frame["method_excluded_images"] = np.where(frame["attack"] == "sig", 0.0, 1000.0)
    assert "the model loses 14.5 points of clean accuracy (more than 2: SIG 28.0)" in findings.of_exclusion(frame)
    gained = findings.of_exclusion(compared(exclude=(0.02, 0.77, 0.81)))
    assert "the model loses 1.0 points of clean accuracy and gains 1.0 points in the target class, in" in gained


def test_runs_that_end_with_the_accuracies_of_another_attack_are_counted():
    own = beside(compared())
    assert "6 runs (BadNets and SIG) share 3 models, so that 6 runs made 3" in pages._twice(own)
    own["clean_accuracy"] += own["attack"].eq("sig") * 0.001
    assert pages._twice(own) == ""


def test_the_protocol_says_what_was_run_at_the_papers_scale():
    runs = pd.DataFrame({"method": ["exclude"] * 2, "method_rule": [float(rule.RULE), None]})
    runs = runs.assign(attack="blend", seed=[0, 1], attack_success_rate=[0.01, 0.107])
    stopped = pd.DataFrame({"attack": ["sig"] * 3, "seed": [0, 1, 2], "poison_rate": [0.1, 0.1, 0.0]})
    stopped = stopped.assign(left_out_images=[475, 0, 0])
    told = protocol._at_paper_scale(runs, stopped)
    assert "1.0 % attack success on Blend, seed 0 and 10.7 % attack success on Blend, seed 1 (an earlier rule)" in told
    assert told.endswith(
        "3 runs more did not end; their first look found nothing in 1 of 2 poisoned sets (SIG, seed 1)."
    )
    assert protocol._at_paper_scale(runs[:0], stopped).startswith("It was not run")
    assert "did not end" not in protocol._at_paper_scale(runs, stopped[:0])  # the twin


def test_the_attack_success_of_a_clean_model_is_that_of_the_same_attack():
    own = beside(compared()).set_index("attack")
    assert own.loc["badnets", "attack_success_rate_oracle"].notna().all()
    assert own.loc["sig", "attack_success_rate_oracle"].isna().all()  # it was measured on BadNets alone
    assert own["clean_accuracy_oracle"].notna().all()


def test_the_figure_shows_every_seed_of_every_method_the_worst_attack_first():
    figure = exclusion.drawn(compared(exclude=(0.02, 0.77, 0.78), attacks=("badnets", "blend")))
    first = figure.axes[0]
    assert [text.get_text() for text in first.get_yticklabels()] == ["BadNets", "Blend"]
    assert [len(marks.get_offsets()) for marks in first.collections] == [6, 6, 6]
    assert "trained on clean data" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_false_alarms_are_counted_on_data_without_poison(tmp_path):
    runs = pd.DataFrame(
        {"preset": "quick", "method": "exclude", "method_settings": "", "dataset": "cifar10", "poison_rate": 0.0}
        | {"place": "CPU, fp32", "training_images": 1000, "seed": [0, 1], "method_suspected_classes": [0.0, 1.0]}
        | {"method_excluded_images": [0.0, 25.0], "method_rule": [rule.RULE, np.nan]}
    )

    def told(frame: pd.DataFrame) -> str:
        return " ".join(block.markdown for block in pages._false_alarms(Collection(tmp_path, frame, []))[1:])

    assert told(runs) == (
        "On CIFAR-10 it suspects a class in 1 of 2 runs and excludes at most 2.5 % of the images (2 seeds, CPU, fp32)."
        " 1 of 2 runs without suspects is of an earlier rule than today's."
        " Folders of images without poison: [unknown trust](unknown-trust.html)."
    )
    assert "excludes no image (2 seeds" in told(runs.assign(method_excluded_images=0.0))
    assert "no_poison.yaml" in told(runs.assign(poison_rate=0.1))  # the twin: poisoned runs are no false alarms


def test_the_notebook_runs_what_is_missing_and_ends_with_the_verdict(folders):
    values = check("exclusion", changed("exclusion", "smoke", {"attack_names": "badnets"}))
    jobs = [Job("run", "", one) for one in values.runs()]
    (missing,) = (job for job in jobs if (job.parameters.method, job.parameters.method_settings) == ("exclude", ""))
    for job in jobs:
        if job is not missing:
            with_metrics(job, dict.fromkeys(summary.COMPARED, 0.5))
    folder = execute.execute("exclusion", values).folder
    assert missing.is_done() and missing.metrics()["clean_accuracy"] != 0.5
    numbers = pd.read_csv(folder / "figures" / "exclusion.csv", keep_default_na=False)
    assert numbers["method"].tolist() == ["none", "abl", "exclude", "oracle", "retrain", "exclude"]
    assert numbers["method_settings"].tolist() == ["", "", "", "", "", "control=random"]
    assert "clean_accuracy_badnets_exclude" in json.loads((folder / "metrics.json").read_text())
    shown = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert shown.startswith("**") and "n = 1 seed" in shown


def test_it_says_how_near_to_the_limit_of_the_second_look_clean_classes_come():
    name = f"{exclusion.SEPARATION_OF_OTHERS}_at_end"
    runs = pd.DataFrame({"attack": ["badnets", "blend", "sig"], "seed": [0, 1, 0], name: [3.2, 4.76, np.nan]})
    assert "where 8 are asked for, those of other classes lie at most 4.8 apart (Blend, seed 1; 2 runs)" in (
        pages._at_end(runs)
    )
    assert "9.0 apart, with too many images in between" in pages._at_end(runs.assign(**{name: 9.0}))
    assert pages._at_end(runs.drop(columns=name)) == ""  # the twin: no run knows it
