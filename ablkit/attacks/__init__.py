"""The attacks by name, and how a clean training set becomes a poisoned one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ablkit import settings as own_settings
from ablkit.attacks.attack import Attack, Order, Poisoned
from ablkit.attacks.attacker import adaptive
from ablkit.data import checks
from ablkit.data.images import Images
from ablkit.errors import UserError, shown, unknown
from ablkit.provenance import Registry
from ablkit.randomness import numpy_stream
from ablkit.shapes import Int64, ndarray

ATTACKS: Registry[Attack] = Registry(
    __name__,
    {
        "badnets": "badnets:ATTACK",
        "trojan": "trojan:ATTACK",
        "blend": "blend:ATTACK",
        "dynamic": "dynamic:ATTACK",
        "sig": "sig:ATTACK",
        "cl": "cl:ATTACK",
        "fc": "fc:ATTACK",
        "dfst": "dfst:ATTACK",
        "lba": "lba:ATTACK",
        "cba": "cba:ATTACK",
    },
)
"""Every attack that the kit has, in the order of the paper's Table 1."""


def poison(
    train: Images,
    attack: str = "badnets",
    *,
    rate: float = 0.1,
    target: int = 0,
    seed: int = 0,
    include_target: bool = False,
    released: bool = False,
    device: str = "auto",
    precision: str = "auto",
    **settings: object,
) -> Poisoned:
    """Poison a random share of the training images.

    Args:
        rate: share that is poisoned, in [0, 1); 0 changes nothing. For a dirty-label attack it is a share of the whole
            training set, for a clean-label one of the target class, rounded to whole images.
        target: index of the class that a triggered image is to be taken for.
        seed: draws the poisoned images from their own stream, and whatever else the attack draws.
        include_target: let a dirty-label attack also draw images that are of the target class already, as the authors'
            code does.
        released: do what the authors' code really does where that differs from the attack's own paper. A clean-label
            rate is then a share of the whole set, of which only the images of the target class are poisoned.
        device: where surrogates and generators are trained; `precision` likewise.
        **settings: the attack's own, see `ATTACKS[attack].settings`.

    Raises UserError for an unknown attack, setting, device or precision, a rate or target out of range, or fewer
    eligible images than asked for.
    """
    if (device, precision) != ("auto", "auto"):  # wrong ones are refused even if this attack trains nothing
        from ablkit.training import hardware  # here, as most attacks do without torch

        hardware.choose(device, precision)
    rate, target = checks.number("rate", rate, "give 0.1"), checks.whole("target", target, "give 0")
    seed = checks.whole("seed", seed, "give 0, 1, 2, ...", least=0)
    kind = find(attack)
    own = own_settings.make(attack, kind.settings, settings)
    aims = _aims(train, own, target)
    choice = {"rate": rate, "target": target, "seed": seed, "include_target": include_target, "released": released}
    chosen = choose(train, attack, **choice, **settings)
    crafted = kind.craft(Order(train, chosen, target, aims, seed, released, device, precision), own)
    images, labels = np.array(train.images), np.array(train.labels)
    images[chosen] = crafted.images
    if kind.kind == "dirty label":
        labels[chosen] = aims[labels[chosen]] if crafted.labels is None else crafted.labels
    if len(crafted.decoys):
        images[crafted.decoys] = crafted.decoy_images
    is_poisoned, is_decoy = (np.isin(np.arange(len(train)), part) for part in (chosen, crafted.decoys))
    return Poisoned(
        replace(train, images=images, labels=labels),
        attack,
        target,
        crafted.triggered,
        is_poisoned,
        np.array(train.labels),
        aims,
        is_decoy,
        crafted.record,
        crafted.pictures,
    )


def choose(
    train: Images,
    attack: str = "badnets",
    *,
    rate: float = 0.1,
    target: int = 0,
    seed: int = 0,
    include_target: bool = False,
    released: bool = False,
    **settings: object,
) -> Int64[ndarray, " k"]:
    """Indices of the images that `poison` would poison; see there for the arguments and what is raised."""
    kind = find(attack)
    own = own_settings.make(attack, kind.settings, settings)
    aims = _aims(train, own, target)
    if kind.kind == "clean label":
        chosen = _choose_clean_label(train, rate, target, seed, released=released)
    else:
        chosen = _choose_dirty_label(train, rate, aims, seed, include_target=include_target)
    if len(chosen):
        check_train(train, attack, target=target, released=released, **settings)
        if isinstance(own, adaptive.Adaptive):
            adaptive.check(train, chosen, aims, own, released=released)
    return chosen


def check_train(
    train: Images, attack: str = "badnets", *, target: int = 0, released: bool = False, **settings: object
) -> None:
    """Raise UserError where an attack cannot be carried out on these training images, however few are poisoned.

    See `poison` for the arguments.
    """
    kind = find(attack)
    kind.fits(train, target, own_settings.make(attack, kind.settings, settings))
    if len(train) < kind.fewest and not released:  # as authors' code may train nothing
        raise UserError(
            f"attack {attack} trains networks on the training set, but {len(train)} images are too few;"
            f" give at least {kind.fewest}"
        )


def check_test(test: Images, attack: str = "badnets", *, target: int = 0, **settings: object) -> None:
    """Raise UserError where an attack, its target or its success cannot be measured on these test images.

    Args:
        **settings: the attack's own, see `ATTACKS[attack].settings`.
    """
    kind = find(attack)
    own = own_settings.make(attack, kind.settings, settings)
    aims = _aims(test, own, target)
    if not (test.labels == target).any():
        raise UserError(
            f"{test.name} has no test image of the target, class {target} ({shown(test.classes[target])}), so nothing"
            f" can be measured of it; choose another target{_such_as(test)}"
        )
    kind.fits(test, target, own)
    if (aims[test.labels] == test.labels).all():
        raise UserError(
            f"{test.name} has test images of the target alone, class {target}, so no attack can be tried on them;"
            " add test images of other classes"
        )


def _such_as(images: Images) -> str:
    return f", such as {np.bincount(images.labels).argmax()}" if len(images) else ""


def check(attack: str, settings: str) -> None:
    """Raise UserError where `attack` is unknown or `settings`, a text such as "delta=30", does not fit it."""
    own_settings.make(attack, find(attack).settings, own_settings.parse(settings))


def find(attack: str) -> Attack:
    """The attack of that name; raises UserError with the nearest names where there is none."""
    if attack not in ATTACKS:
        raise unknown("attack", attack, ATTACKS)
    return ATTACKS[attack]


def _aims(train: Images, own: object, target: int) -> Int64[ndarray, " classes"]:
    if not 0 <= target < len(train.classes):
        raise UserError(f"target {target} is no class of {train.name}; choose 0 to {len(train.classes) - 1}")
    return adaptive.aims(train, getattr(own, "labels", "all2one"), target)


def _choose_dirty_label(
    train: Images, rate: float, aims: Int64[ndarray, " classes"], seed: int, *, include_target: bool
) -> Int64[ndarray, " k"]:
    eligible = np.arange(len(train)) if include_target else np.flatnonzero(aims[train.labels] != train.labels)
    count = _count(rate, len(train))
    if count > len(eligible):
        most = np.floor(100 * len(eligible) / len(train)) / 100
        way_out = f"lower it to {most:.2f}" if most else "choose another target, or a set with other classes in it"
        raise UserError(
            f"poison_rate {rate} asks for {count} poisoned images, but only {len(eligible)} may be poisoned"
            f" (not of the target class); {way_out}"
        )
    return numpy_stream(seed, "poison").choice(eligible, count, replace=False)


def _choose_clean_label(train: Images, rate: float, target: int, seed: int, *, released: bool) -> Int64[ndarray, " k"]:
    stream, eligible = numpy_stream(seed, "poison"), np.flatnonzero(train.labels == target)
    if rate and not len(eligible):
        raise UserError(
            f"a clean-label attack poisons images of the target, class {target} ({shown(train.classes[target])}), and"
            f" {train.name} has no training image of it; choose another target{_such_as(train)}"
        )
    if released:
        drawn = stream.choice(len(train), _count(rate, len(train)), replace=False)
        return drawn[train.labels[drawn] == target]
    return stream.choice(eligible, _count(rate, len(eligible)), replace=False)


def _count(rate: float, n: int) -> int:
    if not 0 <= rate < 1:
        raise UserError(f"poison_rate {rate} is outside [0, 1); the paper uses 0.1")
    return round(rate * n)
