"""The committed runs hold what the choice of settings claims of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ablkit.defenses import METHODS, named
from ablkit.report.collect import Scale, collect
from ablkit.report.pages import attack, defenses, exclusion, loss_gap
from ablkit.report.render import markdown

DATA = Path(__file__).parents[1] / "reports" / "data"
FRESH = [1, 2, 3, 4, 5]
"""Seeds of BadNets that had no part in the choice of settings."""


@pytest.fixture(scope="module")
def quick() -> Scale:
    """The committed runs of the quick preset on the hardware that its settings were chosen on."""
    found = collect(DATA)
    return next(scale for scale in found.scales if scale.preset == "quick" and scale.place == "CPU, bf16")


def test_seed_0_meets_the_targets_of_the_quick_preset(quick):
    (undefended,) = quick.of("none", "badnets").query("seed == 0").to_dict("records")
    (defended,) = quick.of("abl", "badnets").query("seed == 0").to_dict("records")
    assert undefended["attack_success_rate"] >= 0.95
    assert defended["isolation_precision"] >= 0.90
    assert defended["attack_success_rate"] <= 0.05
    assert defended["clean_accuracy_non_target"] >= 0.68


@pytest.mark.parametrize("seed", FRESH)
def test_on_every_fresh_seed_the_defence_makes_the_difference(quick, seed):
    (undefended,) = quick.of("none", "badnets").query(f"seed == {seed}").to_dict("records")
    (defended,) = quick.of("abl", "badnets").query(f"seed == {seed}").to_dict("records")
    assert undefended["attack_success_rate"] >= 0.95
    assert defended["attack_success_rate"] < defended["attack_success_rate_finetuned"] / 2
    # What it costs: the target class.
    assert defended["target_class_accuracy"] < undefended["target_class_accuracy"]


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        ("badnets", 0.9),
        ("trojan", 0.9),
        ("blend", 0.9),
        ("dynamic", 0.8),
        ("sig", 0.7),
        ("cl", 0.9),
        ("fc", 0.6),
        ("dfst", 0.85),
        ("lba", 0.85),
        ("cba", 0.75),
    ],
)
def test_each_attack_succeeds_on_undefended_models(quick, attack, least):
    own = quick.of("none", attack)
    assert set(own["seed"]) >= {0, 1, 2}
    assert own["attack_success_rate"].mean() >= least


def test_the_dynamic_trigger_of_another_image_fails_more_often_than_its_own(quick):
    own = quick.of("none", "dynamic")
    assert (own["cross_trigger_accuracy"] > 1 - own["attack_success_rate"]).all()


@pytest.fixture(scope="module")
def twins() -> pd.DataFrame:
    """Attack success of the undefended runs with an attack's idea off, and of the same attack as it is, by seed."""
    runs = collect(DATA).runs.query("method == 'none' and preset == 'quick' and place == 'CPU, bf16'")
    off = runs[runs["attack_settings"] != ""]
    both = off.merge(runs[runs["attack_settings"] == ""], on=["attack", "seed", "poison_rate"], suffixes=("_off", ""))
    assert len(both) == len(off) == 12
    return both.set_index("attack")


@pytest.mark.parametrize(("attack", "margin"), [("fc", 0.1), ("lba", 0.5), ("cba", 0.25)])
def test_without_its_idea_an_attack_succeeds_less_often_on_every_seed(twins, attack, margin):
    own = twins.loc[attack]
    assert (own["attack_success_rate"] - own["attack_success_rate_off"] >= margin).all()


def test_detoxification_adds_no_success_and_takes_colours_from_the_attackers_model(twins, quick):
    own = twins.loc["dfst"]
    assert own["attack_success_rate"].mean() <= own["attack_success_rate_off"].mean()
    for _, run in quick.of("none", "dfst").iterrows():
        # The model before the rounds is that of the attack without them.
        assert run["poisoning_compromised_neurons_left"] < run["poisoning_compromised_neurons_round_1"]
        before = run["poisoning_surrogate_colour_success_rate_before"]
        assert run["poisoning_surrogate_colour_success_rate"] <= before / 1.5


def test_what_repairs_and_ways_leave_of_badnets(quick):
    left = {name: quick.of(name, "badnets").query("seed < 3")["attack_success_rate"].mean() for name in METHODS}
    assert left["none"] >= 0.99 and left["oracle"] <= 0.03
    assert left["abl"] <= 0.05 and left["gradient_ascent"] <= 0.05
    assert left["nad"] <= 0.5 < left["fine_pruning"] and left["mcr"] >= 0.99
    ways = [name for name in named("ways") if left[name] == left[name]]
    assert len(ways) == 10  # all but fine-tuning an ImageNet model, whose weights could not be had
    assert min(ways, key=left.get) == "gradient_ascent"


def test_the_page_of_defences_shows_training_without_suspects_wherever_it_ran_and_pairs_it_by_seed():
    found = collect(DATA)
    runs = exclusion.runs_of(found)
    is_own = (runs["method"] == "exclude") & (runs["method_settings"] == "") & (runs["attack"] == "badnets")
    own = runs[is_own & (runs["seed"] < 3)]  # the seeds on which all methods were run
    assert own["seed"].is_unique and len(own) == 3
    shown = markdown(defenses.page(found))
    row = next(line for line in shown.splitlines() if "suspects excluded" in line and line.startswith("|"))
    assert f"{100 * own['attack_success_rate'].mean():.1f}" in row and "not run" not in row
    without = found.main.runs[found.main.runs["method"] != "exclude"]
    alone = replace(found, scales=[replace(found.main, runs=without)])  # the twin: where it ran nowhere
    lines = markdown(defenses.page(alone)).splitlines()
    assert any("suspects excluded" in line and "not run" in line for line in lines)


def test_a_picture_of_a_run_that_no_table_shows_says_so_and_what_the_tables_run_isolates():
    found = collect(DATA)
    shown = {name: attack.strip(found, name, "isolated-images.png", "Isolated") for name in ("cl", "fc", "sig")}
    for name, key, mine, theirs in (("cl", "49ad86c79ea2", "100 %", "2.0 %"), ("fc", "92853bcf8034", "0 %", "97 %")):
        caption = shown[name].caption
        assert f"of 100 that are isolated {mine} are poisoned. It is of run [{key}]" in caption
        assert "(CPU, fp32, 1 epoch of fine-tuning and 1 of unlearning), which is in none of the tables." in caption
        assert f"In the table's run of that seed {theirs} are poisoned (CPU, bf16)." in caption
    # The twin: the run of SIG has a row of its own.
    assert "none of the tables" not in shown["sig"].caption
    tabled = replace(found, scales=[])
    assert "none of the tables" in attack.strip(tabled, "sig", "isolated-images.png", "Isolated").caption


def test_a_picture_of_a_run_in_a_table_comes_first():
    found = collect(DATA)
    row = found.runs[found.runs["key"] == "a604557b2bb1"]  # SIG, fp32, in a table
    other = row.assign(key="0" * 12)
    both = replace(found, runs=pd.concat([other, row], ignore_index=True))
    assert "a604557b2bb1" in attack.strip(both, "sig", "isolated-images.png", "Isolated").path
    neither = replace(both, scales=[])  # the twin: in the order of the runs
    assert "0" * 12 in attack.strip(neither, "sig", "isolated-images.png", "Isolated").path


def test_the_index_and_the_page_of_clean_models_show_the_same_runs_of_abl():
    found = collect(DATA)
    compared = exclusion.runs_of(found)
    for name, own in compared[compared["method"] == "abl"].groupby("attack"):
        main = found.main.of("abl", name)
        assert set(main["key"]) <= set(own["key"]), name


def test_it_is_told_in_how_many_first_phases_the_ascent_holds_the_clean_loss_up():
    rows = [
        {"attack": name, "seed": 0, "epoch": epoch, "method": method, "clean_loss": loss}
        for name, ends in {"badnets": (1.0, 1.2), "sig": (1.0, 0.8), "blend": (1.0, 1.0)}.items()
        for method, last in zip(("none", "abl"), ends, strict=True)
        for epoch, loss in ((1, 2.0), (2, last))
    ]
    _, told = loss_gap._sameness(pd.DataFrame(rows))
    assert told.markdown.startswith("In 1 of 3 trainings both first phases are the same in every epoch")
    assert " In 1 of the other 2 the mean loss of clean images after the last" in told.markdown
    assert told.markdown.endswith("epoch is higher with it, and not in 1, of SIG.")
    same = [row | {"clean_loss": 1.0} for row in rows]  # the twin
    assert "of the other" not in loss_gap._sameness(pd.DataFrame(same))[1].markdown
