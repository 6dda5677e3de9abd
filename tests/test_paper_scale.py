"""Claims about the page of the paper's scale: what it says of runs that the clock stopped, from their table alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ablkit.report.collect import Collection, Scale, collect, hardware_of, place_of
from ablkit.report.page import Table, Text
from ablkit.report.pages import attack, first_looks, paper_scale
from ablkit.report.verdicts import over_seeds

DATA = Path(__file__).parents[1] / "reports" / "data"


@pytest.fixture(scope="module")
def whole() -> Collection:
    return collect(DATA)


def told(whole: Collection, folder, change=lambda table: table) -> tuple[str, Table]:
    """The sentence and the table of the stopped runs, after a change of their numbers."""
    shutil.copy(DATA / "gpu-unfinished-epochs.csv", folder)
    table = pd.read_csv(DATA / "gpu-unfinished.csv")
    change(table).to_csv(folder / "gpu-unfinished.csv", index=False)
    _, text, rows = first_looks._unfinished(replace(whole, folder=folder))
    assert isinstance(text, Text) and isinstance(rows, Table)
    return text.markdown, rows


def test_stopped_runs_are_called_no_results_and_none_of_them_counts(whole, tmp_path):
    text, rows = told(whole, tmp_path)
    table = pd.read_csv(DATA / "gpu-unfinished.csv")
    assert "is a result" in text and len(rows.rows) == len(table)
    assert not set(table["key"]) & set(whole.runs["key"])


def test_what_the_first_look_missed_is_said(whole, tmp_path):
    text, _ = told(whole, tmp_path)
    assert "it saw nothing in SIG, seed 1 and SIG, seed 2" in text
    found, _ = told(whole, tmp_path, lambda table: table.assign(left_out_images=table["poisoned_images"]))
    assert "it saw nothing" not in found


def test_two_attacks_of_one_seed_that_left_the_same_images_have_the_same_losses(whole, tmp_path):
    text, _ = told(whole, tmp_path)
    assert "the same after 193 of 193 epochs" in text and "the same images were left out of both" in text
    # The twin: BadNets of one seed beside Blend of another.
    other = {("blend", 0): 2, ("blend", 2): 0}
    swapped, _ = told(
        whole,
        tmp_path,
        lambda table: table.assign(
            seed=[other.get(one, one[1]) for one in zip(table["attack"], table["seed"], strict=True)]
        ),
    )
    assert "left out of both" not in swapped and "193 of" not in swapped


def test_gpus_of_two_kinds_are_one_scale_and_both_are_named(whole):
    (full,) = whole.full
    assert all(name in hardware_of(full.runs) for name in ("H100", "H200"))
    gpu = {"env_device": "cuda", "env_gpu": "NVIDIA H100", "env_precision": "bf16"}
    assert place_of(pd.Series(gpu)) == place_of(pd.Series(gpu | {"env_gpu": "another"})) == "GPU, bf16"
    assert place_of(pd.Series(gpu | {"env_device": "cpu"})) == "CPU, bf16"  # the twin


def with_strong_sig(whole: Collection) -> Collection:
    """The same as if undefended training had learned SIG at the paper's size."""

    def strong(scale: Scale) -> Scale:
        is_it = (scale.runs["attack"] == "sig") & (scale.runs["method"] == "none")
        success = scale.runs["attack_success_rate"].mask(is_it, 0.9)
        return replace(scale, runs=scale.runs.assign(attack_success_rate=success)) if scale.is_full else scale

    return replace(whole, scales=[strong(scale) for scale in whole.scales])


def test_a_backdoor_too_weak_to_judge_by_does_not_count_as_removed(whole):
    (full,) = whole.full
    weak = "32.3 % attack success undefended on 1 seed, less than 50 %; 10 % of the target class is poisoned, 70 % at"
    page, own = paper_scale.page(whole), next(one for one in attack.pages(whole) if one.name == "attack-sig.html")
    assert f"SIG is not judged ({weak} the small scale)" in page.finding and "SIG on" not in page.finding
    assert f"SIG is not judged where its backdoor is too weak ({full.title}): {weak} the small" in own.finding
    assert f"gone on 3 of 3 seeds ({full.title})" not in own.finding
    judged = [block.markdown for block in own.blocks if getattr(block, "markdown", "").startswith("Is the backdoor")]
    assert "**Cannot be said.** The backdoor is too weak to judge by: 32.3 %" in judged[-1]
    assert "**Holds" in judged[0]  # at the small scale
    # The twin: a strong one is judged, and so counts.
    strong = with_strong_sig(whole)
    assert "and SIG on 3 of 3 seeds" in paper_scale.page(strong).finding
    (other,) = [one for one in attack.pages(strong) if one.name == "attack-sig.html"]
    assert f"gone on 3 of 3 seeds ({full.title})" in other.finding and "not judged" not in other.finding


def test_the_table_has_the_share_that_is_poisoned_and_greys_what_is_not_judged(whole):
    table = next(block for block in paper_scale.page(whole).blocks if isinstance(block, Table))
    assert table.columns[1] == "poisoned, % of the set" and "Grey: not judged" in table.note
    rows = {row[0]: row[1:3] for row in table.rows}
    assert (rows["SIG, ABL"][0], rows["BadNets, ABL"][0], rows["BadNets, trained on clean data"][0]) == (
        "1.0",
        "10.0",
        "0.0",
    )
    assert (rows["SIG, ABL"][1].kind, rows["BadNets, ABL"][1].kind, rows["Blend, ABL"][1].kind) == ("soft", "", "bad")
    strong = next(block for block in paper_scale.page(with_strong_sig(whole)).blocks if isinstance(block, Table))
    assert "Grey" not in strong.note  # the twin


def test_the_finding_counts_the_failed_epochs_of_every_attack(whole):
    (full,) = whole.full
    epochs = paper_scale._epochs(whole, full)
    told = paper_scale._swings(epochs)
    for name, title in (("badnets", "BadNets"), ("blend", "Blend"), ("sig", "SIG")):
        own = epochs[(epochs["attack"] == name) & (epochs["epoch"] > 1)]
        low = [int((own[score] < 0.5).sum()) for score in ("loss (the paper)", "averaged weights")]
        assert f"{title} {low[0]} and {low[1]} of {len(own)}" in told
    assert told in paper_scale.page(whole).finding and "SIG 56 and 57 of 57" in told
    assert "SIG 0 and 57 of 57" in paper_scale._swings(epochs.assign(**{"loss (the paper)": 1.0}))  # the twin


def test_shares_by_losses_alone_count_each_seed_once(whole):
    _, table = first_looks._suspects(whole)
    row = next(row for row in table.rows if row[0] == "BadNets, averaged weights")
    own = pd.read_csv(DATA / "suspects.csv", dtype={"classes": str}).dropna(subset="classes")
    own = own[(own["attack"] == "badnets") & (own["score"] == "averaged")]
    means = 100 * own.groupby("seed")["isolation_precision"].mean()
    assert row[4].markdown == f"{means.mean():.1f}" and row[4].small == f"{means.min():.1f} to {means.max():.1f}"
    assert len(own) > 2 * len(means)  # the twin: as numbers of epochs they would have an interval
    assert over_seeds(own["isolation_precision"]).small.startswith("CI ")


def test_without_such_runs_nothing_is_said(whole, tmp_path):
    assert first_looks._unfinished(replace(whole, folder=tmp_path)) == []
    shutil.copy(DATA / "gpu-unfinished.csv", tmp_path)
    assert first_looks._unfinished(replace(whole, folder=tmp_path))
