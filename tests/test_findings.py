"""Verdicts follow the numbers: each test has a twin whose numbers are changed so that the verdict is another."""

from __future__ import annotations

import pandas as pd
import pytest

from ablkit.attacks import ATTACKS
from ablkit.defenses import METHODS
from ablkit.report import findings
from ablkit.report.findings import words


def word(finding: str) -> str:
    assert finding.startswith("**") and "nan" not in finding and "None" not in finding
    return finding.split("**")[1].rstrip(".")


def metrics(**changes: float | None) -> dict:
    """An ABL run that removes the backdoor for three points of accuracy."""
    before = {"attack_success_rate_finetuned": 1.0, "clean_accuracy_finetuned": 0.8}
    after = {"attack_success_rate": 0.02, "clean_accuracy": 0.77, "target_class_accuracy": 0.76}
    return before | {"target_class_accuracy_finetuned": 0.79} | after | changes


RUNS = {
    "removed": ("abl", {}, "Holds"),
    "at the limit": ("abl", {"attack_success_rate": findings.GONE}, "Holds"),
    "above the limit": ("abl", {"attack_success_rate": 0.051}, "Fails"),
    "a high price": ("abl", {"clean_accuracy": 0.65}, "Holds in part"),
    "a high price in the target class alone": ("abl", {"target_class_accuracy": 0.25}, "Holds in part"),
    "a model that is of no use": ("abl", {"clean_accuracy": 0.13}, "Fails"),
    "a price that was not measured": ("abl", {"target_class_accuracy": None}, "Holds in part"),
    "no attack before": ("abl", {"attack_success_rate_finetuned": 0.3}, "Cannot be said"),
    "not measured before": ("abl", {"attack_success_rate_finetuned": None}, "Cannot be said"),
    "not measured": ("abl", {"attack_success_rate": float("nan")}, "Cannot be said"),
    "undefended": ("none", {"attack_success_rate": 0.9}, "Holds"),
    "undefended, weak": ("none", {"attack_success_rate": 0.3}, "Holds in part"),
    "undefended, no backdoor": ("none", {"attack_success_rate": 0.01}, "Fails"),
    "clean data": ("oracle", {"attack_success_rate": 0.01}, "Holds"),
    "clean data with a backdoor": ("oracle", {"attack_success_rate": 0.2}, "Fails"),
    "a repair": ("nad", {}, "Holds"),
    "a repair that leaves it": ("nad", {"attack_success_rate": 0.5}, "Fails"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_the_verdict_on_a_run(kind):
    method, changes, expected = RUNS[kind]
    found = findings.of_run(metrics(**changes), method)
    assert word(found) == expected
    assert "n = 1 seed: a demonstration" in found
    if changes.get("attack_success_rate", 0) == changes.get("attack_success_rate", 0):
        assert "target class" in found


def test_a_run_says_what_is_left_and_what_it_costs():
    found = findings.of_run(metrics(clean_accuracy=0.65, target_class_accuracy=0.25), "abl")
    assert "from 100 % to 2.0 %; the price is 15 points of clean accuracy" in found
    assert "the target class falls from 79 % to 25 %" in found


def test_a_run_without_a_backdoor_before_says_why_it_is_not_judged():
    found = findings.of_run(metrics(attack_success_rate_finetuned=0.37), "abl")
    assert "Before ABL's unlearning the attack success rate was 37 %, below the 50 % from which" in found
    assert "was 0.0 %, below the 50 %" in findings.of_run(metrics(attack_success_rate_finetuned=0.0), "abl")
    assert "was not measured; after it, 2.0 %" in findings.of_run(metrics(attack_success_rate_finetuned=None), "abl")
    assert "clean accuracy is 77 %, in the target class 76 %" in found.lower()


CLEAN = {
    "none": ({}, "the model takes 2.0 % of triggered images for the target."),
    "abl": ({"isolated_images": 6}, "target. 6 of 600 clean images (1.0 %) were isolated. Clean accuracy is 77 %, in"),
    "exclude": (
        {"isolated_images": 6, "method_excluded_images": 1.0},
        "target. 1 of 600 clean images (0.2 %) was excluded. Clean",
    ),
    "nad": ({}, "NAD: the price is 3 points of clean accuracy"),
}


@pytest.mark.parametrize("method", CLEAN)
def test_on_clean_data_a_run_speaks_of_no_removed_backdoor(method):
    changes, expected = CLEAN[method]
    counts = {"training_images": 600, "poisoned_images": 0}
    found = findings.of_run(metrics(**changes, **counts), method)
    assert word(found) == "Cannot be said" and "No image is poisoned, so there is no backdoor to judge" in found
    assert expected in found and "removed" not in found and "takes the attack success rate" not in found
    # The twin: with a poisoned image it is judged.
    assert word(findings.of_run(metrics(**changes, **counts | {"poisoned_images": 1}), "abl")) == "Holds"


def test_a_half_trained_model_is_no_price():
    values = {name.replace("_finetuned", "_before"): value for name, value in metrics().items()}
    found = findings.of_run(values, "exclude")
    assert word(found) == "Holds in part" and "points" not in found and "only an undefended run" in found
    assert word(findings.of_run(values | {"attack_success_rate": 0.4}, "exclude")) == "Fails"


def gap(**changes: list | float) -> pd.DataFrame:
    """Two first phases of two epochs, in which the poisoned images are learned first."""
    columns = {
        "method": ["none", "none", "abl", "abl"],
        "epoch": [1, 2, 1, 2],
        "clean_loss": [2.0, 1.2, 2.0, 1.2],
        "poisoned_loss": [2.2, 0.02, 2.2, 0.02],
        "isolation_precision": [0.0, 1.0, 0.0, 0.98],
    }
    return pd.DataFrame(columns | changes)


def on_seeds(frame: pd.DataFrame, number: int = 3) -> pd.DataFrame:
    """The same on so many seeds, of which a verdict takes three."""
    return pd.concat([frame.assign(seed=seed) for seed in range(number)])


def check_verdict_takes_seeds(finding, frame: pd.DataFrame, expected: str) -> None:
    assert word(finding(on_seeds(frame))) == expected
    # The twin: the same numbers on two seeds are no verdict.
    few = finding(on_seeds(frame, 2))
    assert word(few) == "Cannot be said" and few.endswith("A verdict takes 3 seeds. n = 2 seeds.")


GAPS = {
    "faster and isolated": ({}, "Holds"),
    "not faster at all": ({"poisoned_loss": 1.3, "isolation_precision": 0.1}, "Fails"),
    "faster, and not isolated": ({"isolation_precision": 0.1}, "Holds in part"),
    "only with one method": (
        {"poisoned_loss": [2, 0, 2, 1.9], "isolation_precision": [0, 1, 0, 0.1]},
        "Holds in part",
    ),
    "not measured": ({"poisoned_loss": None}, "Cannot be said"),
}


@pytest.mark.parametrize("kind", GAPS)
def test_the_verdict_on_a_loss_gap(kind):
    changes, expected = GAPS[kind]
    if expected == "Cannot be said":
        assert word(findings.of_gap(on_seeds(gap(**changes)))) == expected
    else:
        check_verdict_takes_seeds(findings.of_gap, gap(**changes), expected)


def test_a_loss_gap_names_its_worst_phase_and_says_whether_the_ascent_does_anything():
    assert "changes nothing here" in findings.of_gap(gap())
    other = findings.of_gap(gap(clean_loss=[2.0, 1.2, 2.0, 1.5], isolation_precision=[0, 1, 0, 0.3]))
    assert "1.50 with local gradient ascent, 1.20 without" in other
    assert (
        "(plain training, the one of 2 runs whose two losses lie nearest); 30 % to 100 % of the isolated images"
        in other
    )
    assert "n = 1 seed" in other
    two = pd.concat([gap(seed=0), gap(seed=1)])
    assert "n = 2 seeds." in findings.of_gap(two)
    assert "ascent" not in findings.of_gap(gap().query("method == 'none'"))


def test_loss_gaps_of_several_attacks_are_counted_and_the_worst_is_named():
    both = pd.concat([gap(attack="sig"), gap(attack="cba", poisoned_loss=1.3, isolation_precision=0.2)])
    told = findings.of_gap(on_seeds(both))
    assert word(told) == "Holds in part" and "Both is so in 6 of 12 first phases." in told
    assert "(plain training, CBA, the one of 12 runs whose two losses lie nearest)" in told
    assert "Both is so" not in findings.of_gap(gap(attack="sig"))


def undefended(**rates: list[float | None]) -> pd.DataFrame:
    rows = [
        {"attack": name, "seed": seed, "attack_success_rate": rate, "clean_accuracy": 0.7 + 0.01 * len(name)}
        for name, own in rates.items()
        for seed, rate in enumerate(own)
    ]
    return pd.DataFrame(rows)


ATTACKED = {
    "all work": ({"badnets": [1.0, 0.9, 0.9], "fc": [0.5, 0.8, 0.8]}, "Holds"),
    "one fails on one seed": ({"badnets": [1.0, 0.9, 0.9], "fc": [0.49, 0.8, 0.8]}, "Holds in part"),
    "one was not measured": ({"badnets": [1.0, 0.9, 0.9, None], "fc": [0.6, 0.8, 0.8]}, "Holds in part"),
    "none works": ({"badnets": [0.1] * 3, "fc": [0.2] * 3}, "Fails"),
    "nothing was measured": ({"badnets": [None, None, None]}, "Cannot be said"),
    "one was measured on two seeds": ({"badnets": [1.0, 0.9, 0.9], "fc": [0.6, 0.8, None]}, "Cannot be said"),
}


@pytest.mark.parametrize("kind", ATTACKED)
def test_the_verdict_on_attacks(kind):
    rates, expected = ATTACKED[kind]
    assert word(findings.of_attacks(undefended(**rates))) == expected


def test_attacks_name_the_worst_case_and_both_ends_of_the_accuracy():
    found = findings.of_attacks(undefended(badnets=[1.0, 0.9], fc=[0.49, 0.8]))
    assert "for 1 of 2 attacks; the lowest is 49 % (FC, seed 0)" in found
    assert "Mean clean accuracy is 72 % with FC to 77 % with BadNets. A verdict takes 3 seeds. n = 2 seeds." in found
    lacking = findings.of_attacks(undefended(badnets=[1.0, None]).assign(clean_accuracy=None))
    assert "Clean accuracy was not measured. Of 1 run it was not measured" in lacking
    alike = findings.of_attacks(undefended(sig=[1.0, 0.9], cba=[0.9, 0.8]))
    assert "Mean clean accuracy is 73 % with SIG. A" in alike  # the same with both


def twins(**rates: tuple[float | None, float | None]) -> pd.DataFrame:
    rows = [
        {"attack": name, "attack_settings": settings, "seed": 0, "attack_success_rate": rate}
        for name, own in rates.items()
        for settings, rate in zip(("", ATTACKS[name].twin.settings), own, strict=True)
    ]
    return pd.DataFrame(rows)


TWINS = {
    "ideas matter": ({"lba": (0.91, 0.06), "fc": (0.78, 0.58)}, "Holds"),
    "one does not": ({"lba": (0.91, 0.06), "dfst": (0.987, 0.997)}, "Holds in part"),
    "none does": ({"lba": (0.91, 0.86), "dfst": (0.987, 0.997)}, "Fails"),
    "one was not measured": ({"lba": (0.91, None)}, "Cannot be said"),
}


@pytest.mark.parametrize("kind", TWINS)
def test_the_verdict_on_ideas(kind):
    rates, expected = TWINS[kind]
    found = findings.of_twins(on_seeds(twins(**rates)))
    assert word(found) == expected
    if expected != "Cannot be said":
        check_verdict_takes_seeds(findings.of_twins, twins(**rates), expected)
    if kind == "one does not":
        assert "for 1 of 2 attacks (LBA 91 % to 6.0 %). For the others it does not: DFST 99 % to 100 %." in found


def compared(**methods: tuple) -> pd.DataFrame:
    """Runs with BadNets; method -> attack success, clean accuracy and target class accuracy, each one or one a seed."""
    rows = []
    for seed in range(3):
        for name, numbers in ({"none": (1.0, 0.76, 0.8)} | methods).items():
            own = [number[seed] if isinstance(number, list) else number for number in numbers]
            named = dict(zip(("attack_success_rate", "clean_accuracy", "target_class_accuracy"), own, strict=True))
            rows.append({"attack": "badnets", "seed": seed, "method": name, **named})
    return pd.DataFrame(rows)


COMPARED = {
    "gone at nearly no price": ({"abl": (0.02, 0.75, 0.78)}, "Holds"),
    "gone on two seeds": ({"abl": ([0.01, 0.01, 0.06], 0.75, 0.78)}, "Holds in part"),
    "gone at a price": ({"abl": (0.02, 0.64, 0.25)}, "Holds in part"),
    "gone at a price in the target class alone": ({"abl": (0.02, 0.75, 0.25)}, "Holds in part"),
    "a target class that was not measured": ({"abl": (0.02, 0.75, None)}, "Holds in part"),
    "not gone": ({"abl": (0.3, 0.75, 0.78)}, "Fails"),
    "not measured": ({"abl": (None, 0.75, 0.78)}, "Cannot be said"),
    "no attack": ({"none": (0.2, 0.76, 0.8), "abl": (0.02, 0.75, 0.78)}, "Cannot be said"),
    "no defence": ({"oracle": (0.02, 0.78, 0.8)}, "Cannot be said"),
    "two that hold": ({"nad": (0.02, 0.75, 0.78), "mcr": (0.01, 0.74, 0.78)}, "Holds"),
    "one of two": ({"nad": (0.02, 0.75, 0.78), "mcr": (0.9, 0.74, 0.78)}, "Holds in part"),
    "none of two": ({"nad": (0.2, 0.75, 0.78), "mcr": (0.9, 0.74, 0.78)}, "Fails"),
}


@pytest.mark.parametrize("kind", COMPARED)
def test_the_verdict_on_methods(kind):
    methods, expected = COMPARED[kind]
    assert word(findings.of_methods(compared(**methods))) == expected


def test_a_weak_backdoor_on_one_seed_is_no_verdict_and_a_strong_one_is():
    few = compared(abl=(0.075, 0.75, 0.78))[lambda frame: frame["seed"] == 0]
    assert word(findings.of_methods(few)) == "Cannot be said"
    assert word(findings.of_methods(compared(abl=(0.075, 0.75, 0.78)))) == "Fails"
    assert word(findings.of_methods(few.assign(attack_success_rate=0.9))) == "Fails"


def test_a_method_says_on_how_many_seeds_how_bad_at_worst_and_at_what_price():
    found = findings.of_methods(compared(abl=([0.01, 0.011, 0.059], 0.64, 0.25)))
    assert found == (
        "**Holds in part.** ABL brings BadNets to at most 5 % attack success on 2 of 3 seeds (mean 2.7 %, at worst"
        " 5.9 % on seed 2); the price is 12 points of clean accuracy, and the target class falls from 80 % to 25 %."
        " n = 3 seeds."
    )
    both = pd.concat([compared(abl=(0.01, 0.64, 0.25)), compared(abl=(0.9, 0.64, 0.25)).assign(attack="cba")])
    assert "ABL brings 2 attacks to at most" in (found := findings.of_methods(both))
    assert "on 3 of 6 runs (mean 46 %, at worst 90 % with CBA, seed 0)" in found


def test_the_claimed_method_is_judged_beside_the_others():
    own, worse = {"abl": (0.02, 0.75, 0.78)}, {"nad": (0.5, 0.76, 0.8)}
    found = findings.of_methods(compared(**own, **worse, oracle=(0.02, 0.78, 0.8)), claimed="abl")
    assert word(found) == "Holds" and "No other method here removes it on every run." in found
    assert "\n- NAD: at most" in found and "the ceiling: 2.0 % attack success, +2.0 points" in found
    assert "less of the backdoor than 1 of 1 other method, and costs less clean accuracy than 0 of 1." in found
    # The twin: another that does as well takes the claim away.
    found = findings.of_methods(compared(**own, nad=(0.01, 0.76, 0.8)), claimed="abl")
    assert word(found) == "Holds in part" and "Removed on every run, at no higher price: NAD." in found
    dearer = findings.of_methods(compared(**own, nad=(0.01, 0.70, 0.8)), claimed="abl")
    assert word(dearer) == "Holds" and "Others that remove it on every run: NAD." in dearer
    assert "than 0 of 1 other method, and costs less clean accuracy than 1 of 1." in dearer


def test_runs_without_an_undefended_one_of_their_seed_say_so():
    frame = compared(abl=(0.02, 0.75, 0.78))
    part = findings.of_methods(frame[(frame["method"] != "none") | (frame["seed"] == 0)])
    assert word(part) == "Holds" and "held against an undefended run on 1 of 3" in part
    alone = findings.of_methods(frame[frame["method"] != "none"])
    assert word(findings.of_methods(compared(abl=(0.9, 0.75, 0.78)).query("method != 'none'"))) == "Fails"
    assert word(alone) == "Cannot be said" and "without an undefended run of the same seed" in alone


def test_seeds_on_which_there_is_nothing_to_remove_do_not_count():
    found = findings.of_methods(compared(none=([1.0, 0.1, 1.0], 0.76, 0.8), abl=([0.0, 0.0, 0.02], 0.75, 0.78)))
    assert "on 2 of 2 seeds" in found and "the attack does not work undefended on 1 run" in found


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_verdict(method):
    assert word(findings.of_run(metrics(), method)) in ("Holds", "Fails")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.1, 0.8, 0.7), "the price is 10 points of clean accuracy, and the target class falls from 80 % to 70 %"),
        ((0.01, 0.8, 0.8), "the price is 1 point of clean accuracy, and the target class stays at 80 %"),
        ((-0.02, 0.7, 0.8), "it gains 2 points of clean accuracy, and the target class rises from 70 % to 80 %"),
        ((0.004, 0.8, 0.7), "the price is 0.4 points of clean accuracy, and the target class falls from 80 % to 70 %"),
        ((None, 0.8, None), "the price in clean accuracy was not measured; the target class was not measured"),
    ],
)
def test_the_price_never_leaves_the_target_class_out(numbers, text):
    assert words.price(*numbers) == text
