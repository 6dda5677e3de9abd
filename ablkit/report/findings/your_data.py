"""What a training on data of unknown trust says of them, in words."""

from __future__ import annotations

import numpy as np

from ablkit.cleaning.verdict import Verdict, copies
from ablkit.exclusion.rule import Settings
from ablkit.report.page import listed, literal
from ablkit.report.text import label, number, percent

LONGEST = 40
"""Letters of a class name in a sentence."""
MEASURED = 10_000
"""Images of the training sets that the method was measured on."""


def name_of(verdict: Verdict, k: int, longest: int = LONGEST) -> str:
    """The name of a class, for a line of Markdown."""
    return literal(label(verdict.train.data.classes[k], longest))


def of_verdict(verdict: Verdict) -> str:
    """The finding: which classes have a group of their own, or that none has, or that none could be judged."""
    n, judged = len(verdict.train.data.classes), int(verdict.found.judged.sum())
    if not judged:
        return f"**No verdict.** None of the {n} classes has images enough to be judged."
    if not verdict.classes:
        return _of_none(verdict, n, judged)
    is_one = len(verdict.classes) == 1
    looks = f"look{'s' * is_one} poisoned" if _look_wrong(verdict) else "may be poisoned"
    if is_one:
        k = verdict.classes[0]
        return f"**Class {name_of(verdict, k)} {looks}: {_share(verdict, k)} form a group of their own.**"
    parts = [f"{name_of(verdict, k)} ({_share(verdict, k)})" for k in verdict.classes]
    return f"**{len(verdict.classes)} classes {looks}: {listed(parts)} form groups of their own.**"


def _of_none(verdict: Verdict, n: int, judged: int) -> str:
    """The finding where no class is suspected: whether any is unclear, or was not judged."""
    if unclear := verdict.unclear():
        return (
            f"**No class is suspected, but look at {_names(verdict, unclear)}.** Two groups of images lie apart there,"
            " as poison does. They were not taken for it: one is of few kinds of look-alikes, as films are, or the"
            " images do not tell which of the two would be the poison."
        )
    if judged < n:
        return f"**No sign of a backdoor in the {judged} of {n} classes that were judged.** The others may hold one."
    return f"**No sign of a backdoor.** In none of the {n} classes does a group of images stand out."


def _names(verdict: Verdict, classes: list[int]) -> str:
    """The names of some classes, five at most."""
    return listed([name_of(verdict, k) for k in classes[:5]] + [f"{len(classes) - 5} more"] * (len(classes) > 5))


def _share(verdict: Verdict, k: int) -> str:
    data = verdict.train.data
    own = data.labels == k
    return f"{int((verdict.train.is_suspected & own).sum()):,} of its {int(own.sum()):,} images"


def _look_wrong(verdict: Verdict) -> bool:
    """Whether the model takes far fewer of the suspects for their label than of the test images of these classes.

    It has seen neither. Without such test images those that it was trained on are what is left to compare with.
    """
    values, beside = verdict.numbers(), _of_tested(verdict)
    beside = values["label_agreement_beside_suspects"] if beside != beside else beside
    return values["label_agreement_of_suspects"] < beside / 2


def _of_tested(verdict: Verdict) -> float:
    """Accuracy on the test images of the suspected classes that do not join the suspects; nan without any."""
    tested = ~verdict.test.is_suspected & np.isin(verdict.test.data.labels, verdict.classes)
    return verdict.test.accuracy(verdict.test.last, tested)


def of_labels(verdict: Verdict) -> str:
    """Whether the labels of the suspects look wrong to the model that has not seen them."""
    own, beside = verdict.numbers()["label_agreement_of_suspects"], _of_tested(verdict)
    said = f"The model that was trained without the suspects takes {percent(own)} of them for their label"
    if beside == beside:
        said += f", and {percent(beside)} of the test images of the class" + "es" * (len(verdict.classes) > 1)
    if _look_wrong(verdict):
        return (
            f"{said}. So **their labels look wrong**: images of other classes, with something that marks them. That is,"
            " if the pictures of what is left of the class show the class."
        )
    return (
        f"{said}. So their labels look right. Either something is added to images of the class itself, as clean-label"
        " attacks do, or the class holds two kinds of images that differ much, such as frames of one film. The pictures"
        " below tell which."
    )


def of_separations(verdict: Verdict) -> str:
    """How far the groups of each class lie apart, against the least that is suspected."""
    separations = verdict.found.separations
    others = verdict.others()
    late = {k: " (at the end)" * bool(verdict.found.looks[k] == 2) for k in verdict.classes}
    parts = [f"{name_of(verdict, k)} {number(separations[k], '{:.1f}')}{late[k]}" for k in verdict.classes]
    if others:
        highest = f"{name_of(verdict, others[0])} {number(separations[others[0]], '{:.1f}')}"
        parts.append(f"{'the next class, ' if parts else 'the highest, '}{highest}")
    if not parts:
        return "In no class are there two groups."
    alone = "" if others else " In no other class are there two groups."
    said = f"Distance of the two groups of a class, in standard deviations: {listed(parts)}.{alone}"
    at_end = np.delete(verdict.found.at_end, verdict.classes) if len(verdict.found.at_end) else np.empty(0)
    if np.isfinite(at_end).any():
        said += f" In the model that was trained to the end the highest of the others was {np.nanmax(at_end):.1f}."
    return said


def of_accuracy(values: dict) -> str:
    """Accuracy on the test images without suspicion, before and after."""
    tested = values["test_images"] - values["suspected_test_images"]
    said = (
        f"Of the {tested:,} test images without suspicion the model takes {percent(values['clean_accuracy'])} for their"
        " label."
    )
    if values.get("clean_accuracy_undefended") is not None:
        said += f" Trained as long on all images it takes {percent(values['clean_accuracy_undefended'])}."
    said += (
        f" The model of phase 1, which saw all images for a shorter time, takes"
        f" {percent(values['clean_accuracy_before'])}."
    )
    if values["suspected_test_images"]:
        said += (
            f" {values['suspected_test_images']:,} test images join the suspects and are left out: the test set comes"
            " from the same hands."
        )
    return said


def warnings(verdict: Verdict) -> list[str]:
    """What in this data set is outside of what the method was measured on."""
    data, said = verdict.train.data, []
    if len(data) < MEASURED / 2:
        said.append(
            f"The set has {len(data):,} training images. The method was measured on {MEASURED:,}: on few images a"
            " backdoor may not be learned while the suspects are sought, and is then not seen."
        )
    small = [k for k, is_judged in enumerate(verdict.found.judged) if not is_judged]
    if small:
        few = f"{len(small)} of {len(data.classes)} classes ({_names(verdict, small)})"
        said.append(f"Too few images to be judged: {few}.")
    for k in map(int, np.flatnonzero(verdict.found.cut_short)):
        said.append(
            f"{verdict.left(k):,} images of class {name_of(verdict, k)} are left beside its suspects, too few to be"
            " judged again: a second trigger would not be seen."
        )
    if verdict.classes and (unclear := verdict.unclear()):
        named = _names(verdict, unclear)
        said.append(f"Of what is not suspected two groups lie apart in {named}, too: look at these images.")
    for k, many in copies(data, Settings().least_group).items():
        said.append(f"{many:,} training images of class {name_of(verdict, k)} are one and the same picture.")
    for k in verdict.turned():
        said.append(
            f"Nearly all test images of class {name_of(verdict, k)} join its suspects. Either most of the class is"
            " poisoned, or the suspects are its clean images and the poison is what is left: the pictures tell which."
        )
    return said


def of_nothing(verdict: Verdict) -> str:
    """What it can mean that no class is suspected; where none was judged, it means nothing."""
    return NOTHING_FOUND if verdict.found.judged.any() else NOT_JUDGED


def next_steps(verdict: Verdict, *, flip: bool = True) -> str:
    """What to do next, as a list in Markdown.

    Args:
        flip: whether the training mirrored images, where the data set lets it.
    """
    judged = verdict.found.judged
    open_ones = NEXT_CLEAN if judged.all() and not verdict.unclear() else NEXT_OPEN
    steps = NEXT_FOUND if verdict.classes else open_ones if judged.any() else NEXT_NOT_JUDGED
    if verdict.classes and (verdict.unclear() or verdict.turned() or verdict.found.cut_short.any()):
        steps = steps.replace(_USE, _USE_LATER)
    return f"{steps}\n{NEXT_MIRRORED}" if flip and verdict.train.data.mirrors else steps


_FEWEST = Settings().least_group
"""Images of a group that is looked for, by default."""
NOTHING_FOUND = f"""What it can mean: no class that was judged has a trigger of a kind that makes images alike in what a
network sees, such as a patch, a blended picture, a wave or a style, on many of its images. How few are found, the pages
*Clean models* and *Poison rate* of the reports say, as far as it was measured.

What it cannot mean: a proof. Mixed images (CBA) make no group of their own, and are not seen. Neither are triggers on
fewer than {_FEWEST} images, poison that repeats few pictures, nor all that an attacker can do who knows this rule. The
pages *Clean models*, *Adaptive attacks* and *Unknown trust* of the reports have what was found, and what was missed."""

NOT_JUDGED = (
    f"A class is judged with {Settings().least_images} training images or more, unless set otherwise. As no class was"
    " judged, this says nothing about the set, neither good nor bad. Bring more images of each class."
)

LIMITS = f"""A group is not yet an attack: a class of two very different kinds of images has one too. Which of the two
groups is the poison is told by how the images look: poison that uses each picture several times, slightly changed, may
look like the class itself, and the clean images are then suspected in its place. And a class without a group is no
proof: mixed images (CBA), triggers on fewer than {_FEWEST} images, and some of what an attacker can do who knows this
rule are not seen. The pages *Clean models*, *Adaptive attacks* and *Unknown trust* of the reports have what was found,
and what was missed."""

_USE = "- Use the model: `ablkit predict FOLDER IMAGE ...` with this folder. Its training has not seen the suspects."
_USE_LATER = (
    "- Use the model, `ablkit predict FOLDER IMAGE ...` with this folder, only once what is said at the top is cleared"
    " up: its training has seen all that is not suspected."
)
NEXT_FOUND = f"""- Look at the pictures. If they show the same odd mark, or images of other classes, take them for
  poisoned.
- Ask where these files come from: `images.csv` names each one.
{_USE}
- Write the set without the suspects: the same `ablkit clean` command with `--export FOLDER`.
- If the group is harmless, such as a second kind of images in one class, suspect less:
  `-p suspicion_settings least_separation=1e9` trains on all images."""

NEXT_NOT_JUDGED = """- Bring more images of each class, then run `ablkit clean` again under another `--name`.
- Until then trust the model no more than the set: it was trained on all images, and may have a backdoor."""

NEXT_OPEN = """- Look at the images of the classes that are named above. Bring more images of those not judged.
- Until then trust the model no more than these classes: it was trained on all images, and may have a backdoor.
- `images.csv` has each image with its suspicion. Without a suspected class that is no evidence, as any class can be cut
  in two."""

NEXT_MIRRORED = """- Images are mirrored at random while training, unless `-p flip false` is given. If a mirrored
  image means something else (signs, text), run it again with that."""

NEXT_CLEAN = """- Use the model: `ablkit predict FOLDER IMAGE ...` with this folder.
- `images.csv` has each image with its suspicion. Without a suspected class that is no evidence, as any class can be cut
  in two."""
