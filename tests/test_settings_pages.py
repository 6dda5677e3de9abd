"""What is known of a setting before any model is trained with other values of it, and the page that leads there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ablkit.report.collect import Collection, collect
from ablkit.report.pages import cases, isolation, isolation_rate, settings, turning_epoch

DATA = Path(__file__).parents[1] / "reports" / "data"


@pytest.fixture(scope="module")
def collection() -> Collection:
    return collect(DATA)


def test_the_sentence_counts_the_attacks_that_are_precise_on_every_seed(collection):
    told, _ = isolation_rate.known(collection)
    phases = isolation.first_phases(collection)
    own = phases[(phases["epoch"] == 6) & (phases["loss"] == "lga-0.5")]
    counted = {
        score: [
            sum(part[name].min() >= 0.9 for _, part in own[own["score"] == score].groupby("attack"))
            for name in ("precision", "precision_at_5", "precision_at_10")
        ]
        for score in ("loss", "averaged")
    }
    assert counted["loss"] != counted["averaged"]  # or the sentence could have mixed them up
    first, second = counted.values()
    of_all = "{} of 10, {} of 10 and {} of 7 attacks".format(*first)
    assert f"with {of_all}; by averaged weights with {'{}, {} and {}'.format(*second)} (" in told


def test_an_attack_that_poisons_less_than_is_isolated_is_not_counted_there(collection):
    told, blocks = isolation_rate.known(collection)
    assert told.endswith("(at 10 % it is impossible with SIG, CL and FC, which poison 5 to 7 % of the set).")
    phases = isolation.first_phases(collection)
    most = phases.groupby("attack")["precision_at_10"].max()
    assert (most[["sig", "cl", "fc"]] < 0.9).all() and (most.drop(["sig", "cl", "fc", "cba", "dynamic"]) >= 0.9).all()
    table = next(block for block in blocks if block.block == "table")
    kinds = {row[0]: row[4].kind for row in table.rows}  # of the first 10 %, by the loss
    assert {kinds[name] for name in ("SIG", "CL", "FC")} == {"soft"}
    assert kinds["Blend"] == "bad"  # the twin: it could have been
    assert isolation_rate._too_little(phases.assign(poisoned=0.1), ["sig"]) == ""


def test_the_turning_epoch_is_held_against_the_others(collection):
    told, blocks = turning_epoch.known(collection)
    precision = turning_epoch.precisions(collection, collection.main)
    failed = [int((precision[epoch] < 0.5).sum()) for epoch in range(1, 7)]
    reliable = [int((precision[epoch] >= 0.9).sum()) for epoch in range(1, 7)]
    assert failed == [17, 15, 11, 6, 7, 8] and reliable == [14, 16, 17, 26, 23, 20]
    assert "in 8 of 33 runs; the fewest are 6, after epoch 4 (seen afterwards" in told
    assert "Of these, 4 reach 90 % after another epoch (Dynamic and CL), and 4 reach 90 % after no epoch (FC" in told
    (table,) = [block for block in blocks if block.block == "table"]
    assert [list(map(int, row[1:])) for row in table.rows] == [failed, reliable]
    # The twins: the epoch that was used fails least, and two others fail as often.
    assert ", the fewest of epochs 1 to 6. Of these" in turning_epoch._sentence(precision, 4)
    tied = precision.assign(**{"4": precision[5]}).drop(columns=4).rename(columns={"4": 4})[[1, 2, 3, 4, 5, 6]]
    assert "the fewest are 7, after epoch 4 and 5 (" in turning_epoch._sentence(tied, 6)


def test_recall_is_the_share_of_all_poison(collection):
    _, blocks = isolation_rate.known(collection)
    precision, recall, by_run = [block for block in blocks if block.block == "table"]
    blend = [next(row for row in table.rows if row[0] == "Blend") for table in (precision, recall)]
    # A tenth of the set is poisoned: of a tenth that is isolated, precision and recall are one number ...
    assert [cell.markdown for cell in blend[0][4:8:3]] == [cell.markdown for cell in blend[1][4:8:3]]
    # ... and of a hundredth the recall is a tenth of the precision.
    assert (blend[0][5].markdown, blend[1][5].markdown) == ("100", "10")
    assert all(len(row) == 1 + len(isolation_rate.RATES) for row in by_run.rows)
    # A row a training: phases 1 with another gamma, and the same with other isolation rates, are no rows of their own.
    names = [row[0] for row in by_run.rows]
    assert len(set(names)) == len(names) >= 10
    (folder,) = {run["folder"] for _, run in isolation_rate._of_preset(collection).iterrows() if run["attack"] == "sig"}
    sig = collection.runs["folder"] == folder
    for changed, rows in (({"gamma": 0.7}, 0), ({"isolation_rate": 0.2}, 1), ({"finetune_epochs": 9}, 1)):
        other = replace(collection, runs=collection.runs[sig].assign(**changed))
        assert len(isolation_rate._of_preset(other)) == rows


def test_runs_that_kept_nothing_tell_nothing(collection):
    none = replace(collection, runs=collection.runs.iloc[:0], scales=[])
    for without in (none, replace(none, runs=pd.DataFrame())):
        assert isolation_rate.known(without) == turning_epoch.known(without) == ("", [])
    (page,) = [page for page in cases.pages(none, cases.studied(none)) if page.name == "isolation-rate.html"]
    assert page.finding.startswith("Not known yet: 0 of 15")


def test_the_page_of_settings_says_in_which_cases_the_backdoor_is_removed(collection):
    studied = cases.studied(collection)
    table = cases.overview(studied)
    assert table in settings.page(collection, table).blocks
    rows = {row[0].markdown: row for row in table.rows}
    assert len(rows) == len(table.rows) == len([study for study in cases.STUDIES if not study.short])
    gamma = rows["[Does the threshold of local gradient ascent matter?](gamma.html)"]
    finding = next(page.finding for page in cases.pages(collection, studied) if page.name == "gamma.html")
    assert f"in {gamma[2]} pairs of attack and case" in finding
    assert "1.5" in gamma[4].markdown and "0.75" in gamma[3].markdown and "1.5" not in gamma[3].markdown
    # The twin: that gamma, too, leaves nothing but a good model.
    runs, good = collection.runs, {"attack_success_rate": 0.0, "clean_accuracy": 0.7}
    runs = runs.assign(**{name: runs[name].where(runs["gamma"] != 1.5, value) for name, value in good.items()})
    other = cases.overview(cases.studied(replace(collection, runs=runs)))
    assert "1.5" in next(row for row in other.rows if "threshold" in row[0].markdown)[3].markdown
