"""Isolation scores beside one another: the runs that are compared, the verdict, the figures and the page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

from ablkit.attacks import ATTACKS
from ablkit.errors import UserError
from ablkit.metrics import summary
from ablkit.report import findings, isolators
from ablkit.report.collect import Collection, collect
from ablkit.report.findings.isolators import SCORES, at_the_end
from ablkit.report.page import Table
from ablkit.report.pages import isolation, runs, settings
from ablkit.report.render import markdown
from ablkit.runs import execute
from ablkit.runs.parameters import OneRun, changed, check, losses
from ablkit.sweep import definition

ROOT = Path(__file__).parents[1]
DATA = ROOT / "reports" / "data"
GOOD, BAD = [0.1, 0.5, 1.0, 0.95], [0.1, 0.5, 0.1, 0.95]


def named(**values: object) -> list[OneRun]:
    return check("isolators", changed("isolators", "quick", values)).runs()


# The runs


@pytest.mark.parametrize("name", ["plain", "flooding-0.5", "lga-0.25", "lga-1", "lga-0.5-per-sample"])
def test_a_loss_is_named_by_what_it_stands_for(name):
    assert losses.name_of(**losses.settings_of(name)) == name
    assert losses.name_of("flooding", 0.3, False) != name  # the twin


@pytest.mark.parametrize("wrong", ["lga", "lga-", "lga-.", "lga--1", "lga-1e400", "lga-0.5-per-samples", "x" * 9_999])
def test_a_loss_that_is_none_is_refused_in_one_line(wrong):
    with pytest.raises(UserError, match=r"losses names .*; use plain, or LGA or flooding") as error:
        named(losses=wrong)
    assert len(str(error.value)) < 300


def test_wrong_lists_and_epochs_are_refused():
    for values, message in (
        ({"losses": "plain plain"}, "each once"),
        ({"losses": ""}, "must name one or more"),
        ({"epochs": 0}, "epochs 0 must be a whole number from 1"),
        ({"changes": "gamma=0.3"}, "changes sets gamma, which the comparison itself sets"),
    ):
        with pytest.raises(UserError, match=message):
            named(**values)


def test_the_sweeps_make_the_runs_that_the_notebook_compares():
    def made(file: str) -> set[str]:
        return {job.parameters.model_dump_json() for job in definition.read(ROOT / "notebooks/sweeps" / file)}

    first, second = made("isolators.yaml"), made("isolators_losses.yaml")
    assert first == {one.model_dump_json() for one in named()}
    longer = {"attack_names": "badnets blend sig", "losses": isolation.LOSSES, "epochs": 20}
    assert second == {one.model_dump_json() for one in named(**longer)}
    assert (len(first), len(second)) == (30, 54)


# The verdict


def frame(**scores: list[list[float]]) -> pd.DataFrame:
    """Precision by score, seed and epoch; of the losses too, where the name has one behind two underscores."""
    rows = [
        {"attack": "badnets", "loss": [*name.split("__"), "lga-0.5"][1], "seed": seed, "poisoned": 0.1}
        | {"epoch": epoch, "score": name.split("__")[0], **dict.fromkeys(summary.ISOLATION, value)}
        for name, seeds in scores.items()
        for seed, values in enumerate(seeds)
        for epoch, value in enumerate(values, start=1)
    ]
    found = pd.DataFrame(rows)
    return found.replace({"loss": {"lga_1": "lga-1"}})


def test_it_is_told_on_how_many_runs_the_loss_of_phase_1_changes_nothing():
    own = frame(loss=[[0, 0, 0.96], [1, 1, 0.94]], averaged=[[0, 0, 0.95], [0, 0, 1]])
    same = findings.of_isolators(pd.concat([own, own.assign(loss="plain")]))
    told = "LGA, gamma 0.5, has the same precision and AUROC as plain training, by every score after every epoch, on"
    assert f"{told} 2 of 2 runs (BadNets)." in same
    moved = own.assign(loss="plain", precision=own["precision"].where(own["seed"] == 0, 0.2))
    assert f"{told} 1 of 2 runs" in findings.of_isolators(pd.concat([own, moved]))
    # The same precision of other images is not the same.
    ranked = own.assign(loss="plain", auroc=own["auroc"].where(own["seed"] == 0, 0.2))
    assert f"{told} 1 of 2 runs" in findings.of_isolators(pd.concat([own, ranked]))
    assert told not in findings.of_isolators(own)  # the twin


def test_the_last_epoch_alone_is_held_against_the_aim():
    own = frame(loss=[[0, 0, 0.96], [1, 1, 0.94]], averaged=[[0, 0, 0.95], [0, 0, 1]])
    told = at_the_end(own, 0.95)
    assert told.startswith(
        "After epoch 3, where ABL isolates, at least 95 % of what is isolated is poisoned on every seed"
    )
    assert told.endswith("so many of 1 attack: loss (the paper) 0 and averaged weights 1.")
    best = "at best 95 % on the worst seed, by averaged weights; AUROC by averaged weights 0.97"
    never = f" No score reaches that with BadNets ({best})."
    assert at_the_end(own, 0.99).endswith(never)
    assert at_the_end(own.drop(columns="auroc"), 0.99).endswith(
        "(at best 95 % on the worst seed, by averaged weights)."
    )
    nothing = at_the_end(frame(loss=[[0, 0, 0.0]], averaged=[[1, 1, 0.0]]), 0.95)
    assert "No score reaches that with BadNets (0 % on the worst seed, by all; AUROC" in nothing


@pytest.mark.parametrize(
    ("seeds", "word", "told"),
    [
        ([GOOD] * 3, "Holds.", "in 3 of 3 runs (LGA, gamma 0.5, 1 attack). In 0 it is luck"),
        ([GOOD, GOOD, BAD], "Holds in part.", "in 2 of 3 runs (LGA, gamma 0.5, 1 attack). In 1 it is luck"),
        ([BAD] * 3, "Fails.", "after each epoch from 3 to 4 in 0 of 3 runs (LGA, gamma 0.5, 1 attack). In 3"),
        ([[0.9]] * 3, "Holds.", "at least 90 % poisoned after epoch 1 in 3 of 3 runs"),
        ([[0.89]] * 3, "Fails.", "in 0 of 3 runs"),
        ([GOOD] * 2, "Cannot be said.", "A verdict takes 3 seeds."),
    ],
)
def test_the_verdict_on_ranking_by_the_loss(seeds, word, told):
    found = findings.of_isolators(frame(loss=seeds, averaged=seeds))
    assert found.startswith(f"**{word}** Ranked by the loss") and told in found and f"n = {len(seeds)} seeds." in found
    assert "nan" not in found


def test_each_score_is_counted():
    found = findings.of_isolators(frame(loss=[GOOD, BAD], averaged=[GOOD, GOOD], median=[BAD, GOOD]))
    assert "- averaged weights: reliable after 4 of 4 epochs, and after each in 2 of 2 runs; luck in 0." in found
    assert "- median over epochs: reliable after 3 of 4 epochs, and after each in 1 of 2 runs; luck in 1." in found
    assert "No score" not in found and "plain training" not in found
    # The twin: no score does it.
    assert "No score is reliable on any seed with BadNets (1 seed)." in findings.of_isolators(
        frame(loss=[BAD], averaged=[BAD])
    )


def test_losses_of_phase_1_are_compared_where_there_are_several():
    parts = {"loss": [BAD], "averaged": [GOOD], "loss__plain": [BAD], "averaged__plain": [GOOD]}
    found = findings.of_isolators(frame(**parts, loss__lga_1=[GOOD], averaged__lga_1=[GOOD]))
    plain, other = (
        f"- {name}: reliable after {{}} of 2 epochs by the loss" for name in ("plain training", "LGA, gamma 1")
    )
    assert plain.format(1) in found and f"{other.format(2)}, after 2 by averaged weights." in found
    # Counted is what all losses were run on: a second seed of one changes nothing.
    more = findings.of_isolators(frame(**parts | {"loss": [BAD, GOOD]}, loss__lga_1=[GOOD], averaged__lga_1=[GOOD]))
    assert plain.format(1) in more and "- LGA, gamma 0.5: reliable after 1 of 2 epochs by the loss" in more


def test_without_scores_nothing_can_be_said():
    for empty in (frame(loss=[GOOD]).iloc[:0], frame(averaged=[GOOD])):
        assert findings.of_isolators(empty).startswith("**Cannot be said.**")


# Figures and tables


def test_every_seed_of_every_score_is_drawn():
    made = frame(loss=[GOOD, BAD], averaged=[GOOD, GOOD], median=[GOOD, BAD])
    lines = isolators.by_epoch(made).axes[0].lines
    assert len(lines) == 1 + 2 * 2  # what counts as reliable; two scores on two seeds
    assert len({(line.get_color(), line.get_linestyle()) for line in lines[1:]}) == 2
    (place,) = isolators.by_score(made).axes
    assert sum(len(dots.get_offsets()) for dots in place.collections if len(dots.get_offsets()) > 1) == 3 * 2 * 2
    assert [text.get_text() for text in place.get_xticklabels()] == [SCORES[s] for s in ("loss", "averaged", "median")]
    plt.close("all")


def test_the_table_has_the_median_and_the_lowest_of_what_is_compared():
    table = isolators.table(frame(loss=[GOOD, BAD]))
    assert table.to_dict("records") == [{"attack": "BadNets", SCORES["loss"]: "95.0 (lowest 10.0)"}]


# The page


def phase_one(folder: Path, one: OneRun, key: str) -> None:
    """A committed run of phase 1 alone, made up; the loss isolates nothing after its last epoch."""
    like = next(path.parent for path in sorted(folder.glob("*/params.json")) if '"abl"' in path.read_text())
    run = shutil.copytree(like, folder / key, ignore=shutil.ignore_patterns("*.png", "*.np*"))
    facts = json.loads((run / "params.json").read_text())
    (run / "params.json").write_text(json.dumps(facts | {"parameters": one.model_dump()}))
    metrics = {"attack_success_rate": 0.4321, "clean_accuracy": 0.4321, "isolation_precision": 0.1}
    (run / "metrics.json").write_text(json.dumps(metrics | {"training_images": 10_000, "poisoned_images": 1_000}))
    rows = []
    for epoch in range(1, 9):
        row = {"stage": "isolate", "epoch": epoch, "clean_loss": 2.0, "poisoned_loss": 1.0, "isolation_precision": 0.1}
        for score in SCORES:
            value = 0.1 if (score, epoch) == ("loss", 8) else 1.0
            row |= {f"{known}_{score}": value for known in summary.ISOLATION.values()}
        rows.append(row)
    pd.DataFrame(rows).to_csv(run / "history.csv", index=False)


@pytest.fixture(scope="module")
def collections(tmp_path_factory) -> tuple[Collection, Collection]:
    """The committed runs of two attacks but for those of phase 1 alone, and the same with made-up ones."""
    folder = tmp_path_factory.mktemp("phase-one") / "data"
    for run in sorted(path.parent for path in DATA.glob("*/metrics.json")):
        own = json.loads((run / "params.json").read_text())["parameters"]
        is_whole = own["method"] != "exclude" and own["finetune_epochs"]
        if own["attack"] in ("badnets", "blend") and own["seed"] < 2 and is_whole:
            shutil.copytree(run, folder / run.name)
    before = collect(folder)
    wanted = named(attack_names="badnets blend", seeds="0 1", losses="lga-0.5 plain")
    for number, one in enumerate(wanted):
        phase_one(folder, one, f"{number:012x}")
    return before, collect(folder)


def test_the_page_says_what_is_missing_and_then_what_the_runs_say(collections):
    before, after = (isolation.page(c) for c in collections)
    assert before.finding == "Not known yet: none of the 30 runs that would tell is there."
    assert "ablkit run isolators" in markdown(before) and re.search(r"30 runs of about \d+ minutes", markdown(before))
    assert after.finding.startswith("**Cannot be said.** Ranked by the loss") and "in 0 of 4 runs" in after.finding
    text = markdown(after)
    assert "| averaged weights | 24 | 4 | 0 |" in text and "| plain training | 20 | 24 |" in text
    assert sum(block.block == "figure" and b"<svg" in block.svg for block in after.blocks) == 4


def test_what_was_not_run_is_what_no_run_has(collections):
    text = markdown(isolation.page(collections[1]))
    lacking = "flooding-0.5, lga-0.25, lga-1 and lga-0.5-per-sample"
    assert f"**Not run:** other losses of phase 1 ({lacking}) and longer first phases (20 epochs)." in text
    assert "**Not run:** first phases with Trojan, Dynamic, SIG, CL, FC, DFST, LBA and CBA." in text
    losses, attacks = isolation.LOSSES.split(), list(ATTACKS)
    rows = [{"attack": attack, "loss": loss, "epoch": 20} for attack in attacks for loss in losses]
    assert isolation._not_run(collections[1], pd.DataFrame(rows)) == []  # the twin: once all are there
    short = pd.DataFrame(rows).assign(epoch=6)
    (left,) = isolation._not_run(collections[1], short)
    assert left.markdown.startswith("**Not run:** longer first phases (20 epochs).")


def test_phase_1_of_any_run_that_kept_the_scores_counts(collections):
    runs = isolation.first_phases(collect(DATA))
    assert {"badnets", "blend", "sig", "cl"} <= set(runs["attack"])
    assert not runs.duplicated(["attack", "loss", "seed", "epoch", "score"]).any()
    assert isolation.first_phases(collections[0]).empty  # the twin: of runs that kept the loss alone


def test_phase_1_alone_is_no_run_of_a_finished_defence(collections):
    before, after = collections
    assert after.runs["is_first_phase"].sum() == 8 and not before.runs["is_first_phase"].any()
    for one, other in zip(before.scales, after.scales, strict=True):
        assert list(one.runs["key"]) == list(other.runs["key"])
    nothing = Table((), [])
    assert markdown(settings.page(before, nothing)) == markdown(settings.page(after, nothing))
    lines = [line for line in markdown(runs.page(after)).splitlines() if "phase 1 alone" in line]
    assert len(lines) == 8 and not any("43.2" in line for line in lines)
    # The twin: as if it had gone on.
    whole = after.runs.assign(is_first_phase=False)
    assert "43.2" in markdown(runs.page(Collection(after.folder, whole, after.scales)))


# The notebook


def test_the_notebook_makes_its_runs_and_ends_with_the_verdict(smoke_runs, data_root, monkeypatch):
    monkeypatch.setenv("ABLKIT_DATA", str(data_root))
    monkeypatch.setenv("ABLKIT_RUNS", str(smoke_runs))
    values = changed("isolators", "smoke", {"attack_names": "badnets", "losses": "lga-0.5 plain", "epochs": 2})
    folder = execute.execute("isolators", check("isolators", values)).folder
    numbers = pd.read_csv(folder / "figures" / "precision.csv")
    assert set(numbers["score"]) == set(SCORES) and len(numbers) == 2 * 2 * len(SCORES)
    verdict = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[-1].outputs[0]["data"]["text/markdown"]
    assert verdict == findings.of_isolators(numbers)
    assert {path.stem for path in (folder / "figures").glob("*.png")} == {"precision", "scores", "auroc", "losses"}
    assert "precision_averaged_badnets_plain" in json.loads((folder / "metrics.json").read_text())
