"""What every attack is made of: an order, the function that carries it out, and what that leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np

from ablkit.data.images import Images
from ablkit.errors import UserError, unknown
from ablkit.shapes import Int64, UInt8, ndarray

Trigger = Callable[[ndarray], ndarray]
"""What the attacker does to images at test time: uint8 (n h w c) -> triggered copies. It treats each on its own."""
Kind = Literal["dirty label", "clean label"]


@dataclass(frozen=True)
class Order:
    """What an attack is asked for."""

    train: Images
    """The whole clean training set, as the attacker knows it."""
    chosen: Int64[ndarray, " k"]
    """Indices of the images to be poisoned."""
    target: int
    seed: int
    released: bool
    """Do what the authors' code really does where that differs from the attack's paper."""
    device: str = "auto"
    precision: str = "auto"

    @property
    def images(self) -> UInt8[ndarray, "k h w c"]:
        """Copies of the chosen images."""
        return np.array(self.train.images[self.chosen])


@dataclass(frozen=True)
class Crafted:
    """What an attack makes of an order."""

    images: UInt8[ndarray, "k h w c"]
    """The chosen images as the attacker leaves them."""
    trigger: Trigger
    record: dict[str, float] = field(default_factory=dict)
    """What the attack measured on the way, such as its surrogate's accuracy; names say the unit."""
    pictures: dict[str, UInt8[ndarray, "h w c"]] = field(default_factory=dict)
    """Caption -> picture that explains the attack, such as a generated trigger."""
    decoys: Int64[ndarray, " d"] = field(default_factory=lambda: np.empty(0, np.int64))
    """Indices of further training images that the attack changes and leaves under their labels: not poisoned ones, as
    nothing is to be learned from them but when the backdoor is to stay shut."""
    decoy_images: UInt8[ndarray, "d h w c"] | None = None


@dataclass(frozen=True)
class Attack:
    """An attack by name; see `ablkit.attacks.ATTACKS`."""

    title: str
    kind: Kind
    """`dirty label`: images of other classes get the target's label. `clean label`: images of the target class keep
    theirs. It also decides what a rate is a share of: the training set, or the target class."""
    changes: str
    """What it changes, in two or three words."""
    paper: str
    craft: Callable[[Order, object], Crafted]
    settings: type
    """Frozen dataclass of the attack's own settings; its defaults are those of `paper`."""
    quick_rate: float = 0.1
    """Rate of the reports on 10,000 images; those of sig and cl were chosen on seed 100 alone."""

    @property
    def rate_of(self) -> str:
        """What a poisoning rate is a share of."""
        return "training set" if self.kind == "dirty label" else "target class"


def settings_of(name: str, attack: Attack, given: dict) -> object:
    """The settings of an attack with some changed; text is read as the setting's type.

    Raises UserError for an unknown setting, a value of another type or one that the attack refuses.
    """
    kinds = get_type_hints(attack.settings)
    values = {}
    for key, value in given.items():
        if key not in kinds:
            raise unknown(f"setting of {name}", key, kinds) if kinds else UserError(f"{name} has no settings")
        values[key] = _read(f"{key} of {name}", value, kinds[key])
    return attack.settings(**values)


def parse(text: str) -> dict[str, str]:
    """The settings in a text such as `delta=30, frequency=6`; raises UserError for anything else."""
    pairs = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = map(str.strip, part.partition("="))
        if not (equals and name and value):
            raise UserError(f"attack_settings {text!r} must look like 'delta=30, frequency=6'; {part!r} does not")
        if name in pairs:
            raise UserError(f"attack_settings {text!r} sets {name} twice; leave one")
        pairs[name] = value
    return pairs


def at_least(settings: object, **smallest: float | int) -> None:
    """Raise UserError where a setting is not a finite number of at least its smallest value."""
    for name, least in smallest.items():
        value = getattr(settings, name)
        if not least <= value < float("inf"):
            raise UserError(f"{name} {value} must be a finite number of at least {least}")


def _read(name: str, value: object, kind: object) -> object:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise unknown(name, value, get_args(kind))
        return value
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        if kind is bool or isinstance(value, bool) or (kind is int and isinstance(value, float)):
            if kind is not type(value):
                raise ValueError
            return value
        return kind(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be of type {kind.__name__}, got {value!r}") from None


@dataclass(frozen=True)
class NoSettings:
    """For an attack that has none."""


def defaults(attack: Attack) -> dict:
    """Name -> default of each setting of an attack."""
    return {f.name: f.default for f in fields(attack.settings)}
