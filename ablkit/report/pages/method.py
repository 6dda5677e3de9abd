"""How everything is measured and judged, and what is not known."""

from __future__ import annotations

from ablkit.metrics import statistics
from ablkit.report.collect import Collection
from ablkit.report.findings import ANSWERED, CHEAP, DEAR, GONE, PRESENT
from ablkit.report.findings.words import count
from ablkit.report.page import Block, Cell, Heading, Page, Table, Text, code, literal
from ablkit.report.text import percent
from ablkit.report.verdicts import CLOSE, FEWEST, LOW, REPRODUCED, WIDEST
from ablkit.runs.parameters import defaults

_DEFINITIONS = {
    "clean accuracy": "fraction of clean test images classified correctly, all classes",
    "other classes": "the same without the target class: what the paper's code reports as accuracy",
    "target class": "the same for the target class alone, which the unlearning damages most",
    "attack success": "fraction of triggered test images of the other classes that is taken for the target class",
    "robust accuracy": "fraction of the same images still taken for their true class",
    "false triggers": "fraction taken for the target of images that only resemble triggered ones; only CBA and DFST"
    " have such images",
    "isolation precision": "fraction of the isolated images that is poisoned; isolated is the 1 % with the lowest loss"
    " unless another rate is given",
    "isolation recall": "fraction of the poisoned images that is isolated",
    "DER": "defence effectiveness, 0 to 1: 1 is a backdoor gone at no cost in clean accuracy, 0.5 no effect",
}
_TERMS = {
    "gone": f"said of a backdoor with at most {percent(GONE, 0)} attack success",
    "removed": "said of a backdoor that is gone, on every seed where several are meant, from models that are of use",
    "of no use": f"said of a model that has lost {100 * DEAR:.0f} points of clean accuracy or more against undefended"
    f" training of its seed, or has less than {percent(ANSWERED, 0)} accuracy in the target class: one that hardly"
    " names that class has a low attack success whatever became of the backdoor",
    "LGA": "local gradient ascent, ABL's loss of phase 1: the gradient turns where a batch's mean loss is below gamma",
    "pair": "an attack in one of the cases that a page compares, such as a poisoning rate",
    "arm": "one way of unlearning among several that are compared",
    "twin": "an attack without the idea that makes it what it is",
    "AUROC": "probability that a poisoned image ranks before a clean one; 0.5 is chance",
    "phase 1": "ABL's training on all images, with a loss that holds back; at its end, the turning epoch, images are"
    " isolated",
    "isolated": "the images of the lowest loss after phase 1, which ABL unlearns",
    "suspects, excluded": "the images that the method `exclude` takes for poisoned, and trains without",
    "look": "one search of `exclude` for suspects in what the layers of a model see: the first after phase 1, the"
    " second in the model that was trained without the suspects so far",
    "deviations": "the distance between the two groups of a class, over the spread inside the groups",
    "valley": "images midway between two groups, over images in the middle of one",
    "rule": "the version of `exclude` that says who is suspected; each change has a number, and runs record it",
    "decoys": "clean images with the trigger of another image and their true label, a part of Dynamic",
    "cover images": "images with the trigger and their true label, with which an attacker hides the others",
    "preset": "all settings of a run by one name: see the table below",
    "place": "the kind of hardware, with the precision of the arithmetic",
    "scale": "preset, data set, number of images and place: only runs of one scale are averaged",
    "points": "difference of two percentages",
}
_PRESETS = ("quick", "paper", "released")

_OLDER_DIGEST, _DIGEST = "6ba7e88c5ac5", "d8baa3419b03"
"""Of CIFAR-10, by two formulas; see `prepared.digest`."""


def page(c: Collection) -> Page:
    """Definitions, rules and limits."""
    finding = (
        f"A backdoor counts as gone at an attack success of at most {percent(GONE, 0)}, isolation as failed below"
        f" {percent(LOW, 0)} precision, and a number of the paper is judged only at its own scale and on at least"
        f" {FEWEST} seeds."
    )
    blocks: list[Block] = [
        Heading("What is measured"),
        Text(
            "All on the whole test set, at the end of each stage.\n\n"
            + "\n".join(f"- **{name}**: {text}" for name, text in _DEFINITIONS.items())
        ),
        Heading("Words", "terms"),
        Text("\n".join(f"- **{name}**: {text}" for name, text in _TERMS.items())),
        Heading("How the presets differ", "presets"),
        _presets(),
        Heading("When a number counts as reproduced", "verdicts"),
        Text(_rules()),
        Heading("What a verdict means", "words"),
        Text(_words()),
        Heading("Means and intervals"),
        Text(
            f"A mean over seeds has the lowest and highest seed below it. From n = {statistics.ENOUGH} on it is the"
            " 95 % BCa bootstrap interval (Efron 1987), of five and six values over all their resamples; fewer values"
            " do not carry one. One seed is a demonstration."
            " Differences between methods are paired by seed."
        ),
        Heading("Limits", "limits"),
        Text("\n".join(f"- {text}" for text in _limits(c))),
        Heading("How a page is made"),
        Text(
            f"Every page is a function of {code('reports/data')}: a folder a run with parameters, environment, metrics"
            " and epochs. Sentences with numbers are computed from them. A test makes all pages again and compares them"
            " byte for byte. The paper's numbers are in `ablkit/metrics/paper_values.csv`, each marked verified or"
            " transcribed from memory."
        ),
    ]
    return Page("method.html", "Method: definitions, rules, limits", finding, blocks, "Method")


def _presets() -> Table:
    """The parameters in which the paper's settings, those of its code and ours at quick scale differ."""
    own = {preset: defaults("run", preset) for preset in _PRESETS}
    differ = [name for name in own["quick"] if len({str(values[name]) for values in own.values()}) > 1]
    rows = [(code(name), *(Cell(literal(str(own[p][name])), kind="text") for p in _PRESETS)) for name in differ]
    note = (
        f"All other parameters are the same; {code('ablkit parameters run --preset paper')} lists them. Where the paper"
        f" is silent its code decides. {code('train_size')} 0: all images. {code('released')}: what that code does."
    )
    return Table(("parameter", *_PRESETS), rows, note=note)


def _rules() -> str:
    wide = f"{100 * WIDEST:.0f}"
    asr, accuracy = "attack_success_rate", "clean_accuracy_non_target"

    def points(rule: dict) -> str:
        most = round(100 * rule[accuracy])
        return f"{count(most, 'point')} of accuracy or {100 * rule[asr]:.0f} of attack success"

    return (
        f"- **reproduced**: the paper's number lies between our lowest and highest seed, which are at most {wide}"
        f" points apart, or within {points(REPRODUCED)}"
        f" of our mean\n- **close**: within {points(CLOSE)}\n- **missed**: none of these\n- **agrees** or **differs**:"
        f" the same as close or better, and the rest, for a number that was transcribed from memory; grey, never"
        f" counted\n- **not run**: with the command and what it would cost\n\nWhere the authors published two numbers"
        " for one setting, each has its own line."
    )


def _words() -> str:
    return (
        f"A verdict is about the hypothesis on its page or in its notebook, on at least {FEWEST} seeds.\n\n"
        "- **Holds**: in every case, on every seed, and, where a method has a price, at a low one: at most"
        f" {100 * CHEAP:.0f} points of accuracy, over all classes and in the target class\n- **Holds in part**: in some"
        " cases, or at a higher price\n- **Fails**: in none\n- **Cannot be said**: not measured, or on too few"
        f" seeds; but a backdoor that stays, at {percent(PRESENT, 0)} attack success or more, refutes on one seed"
    )


def _limits(c: Collection) -> list[str]:
    texts = []
    for scale in c.scales:
        if scale.preset == "quick":
            texts.append(
                "The turning epoch of the quick preset was chosen on seeds 100 to 103 and 105, after seed 0 had been"
                " looked at. Take seed 0 as fitted."
            )
            texts.append(
                "The poisoning rates of SIG, CL, FC and CBA and Dynamic's share of decoys were chosen on seeds 100 to"
                " 102."
            )
            break
    texts += [
        "Results differ in their last digits between kinds of processor and numbers of threads, and training amplifies"
        " that. Compare distributions over seeds.",
        "The joint second phase (`schedule=joint`) is the paper's equation, which has no lower bound; the sequential"
        " one of the authors' code is the default.",
        "The attack's strength depends on augmentation: phase 1 has none, fine-tuning crops, flips and cuts out.",
    ]
    changed = int(c.runs["env_commit"].astype(str).str.endswith("+changes").sum()) if len(c.runs) else 0
    if changed:
        texts.append(
            f"{_were(changed)} made with code that was not committed yet (`+changes` behind the commit): `package`"
            " in their params.json is the digest of that code."
        )
    if older := int((c.runs["env_data"] == _OLDER_DIGEST).sum()) if "env_data" in c.runs else 0:
        texts.append(
            f"{_were(older)} made when the digest of a data set stood for its arrays alone: {code(_OLDER_DIGEST)} and"
            f" {code(_DIGEST)} are the same CIFAR-10, without and with its classes and shapes."
        )
    lacking = {str(text) for text in c.runs["env_missing"].dropna()} if "env_missing" in c.runs else set()
    for text in sorted(lacking):
        number = int((c.runs["env_missing"] == text).sum())
        texts.append(f"{_were(number)} taken over from pages of older code, which had not kept: {literal(text)}.")
    return texts


def _were(number: int) -> str:
    return "1 run was" if number == 1 else f"{number} runs were"
