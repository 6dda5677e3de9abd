"""The own settings of an attack or a defence: a frozen dataclass, and a text such as "delta=30, frequency=6" for it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ablkit.errors import UserError, shown, unknown

MOST = 2**63
"""What every number of a setting or a parameter is below, on either side of 0: tables keep no larger one."""
MOST_COUNTED = 1_000_000


@dataclass(frozen=True)
class NoSettings:
    """For an attack or a defence that has none."""


def make(owner: str, kind: type, given: dict) -> Any:
    """The settings of `owner` with some changed; text is read as the setting's type.

    Args:
        kind: the frozen dataclass of its settings.

    Raises UserError for an unknown setting, a value of another type or one that the dataclass refuses.
    """
    kinds = get_type_hints(kind)
    values = {}
    for key, value in given.items():
        if key not in kinds:
            raise unknown(f"setting of {owner}", key, kinds) if kinds else UserError(f"{owner} has no settings")
        values[key] = _read(f"{key} of {owner}", value, kinds[key])
    made = kind(**values)
    for key, value in values.items():
        if isinstance(value, int | float) and not abs(value) < MOST:  # nan is below nothing
            raise UserError(f"{key} of {owner} {shown(value)} must be a number between -2**63 and 2**63")
    return made


def spelled(owner: str, kind: type, given: dict) -> str:
    """The settings that are not as by default, as one text however they were written: by name, "a=1, b=2".

    See `make` for the arguments and what is raised.
    """
    made, usual = make(owner, kind, given), defaults(kind)
    own = {name: getattr(made, name) for name in sorted(usual) if getattr(made, name) != usual[name]}
    return ", ".join(f"{name}={_text(value)}" for name, value in own.items())


def parse(text: str, name: str = "attack_settings") -> dict[str, str]:
    """The settings in a text such as `delta=30, frequency=6`; raises UserError, with `name`, for anything else."""
    pairs = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = map(str.strip, part.partition("="))
        if not (equals and key and value):
            raise UserError(f"{name} {shown(text)} must look like 'delta=30, frequency=6'; {shown(part)} does not")
        if key in pairs:
            raise UserError(f"{name} {shown(text)} sets {shown(key)} twice; leave one")
        pairs[key] = value
    return pairs


def at_least(settings: object, **smallest: float | int) -> None:
    """Raise UserError where a setting is not a finite number of at least its smallest value.

    Whole numbers end at a million: they count images, epochs, steps or neurons, and more would never end.
    """
    for name, least in smallest.items():
        value = getattr(settings, name)
        if not least <= value < float("inf"):
            raise UserError(f"{name} {shown(value)} must be a finite number of at least {least}")
        if isinstance(value, int) and value > MOST_COUNTED:
            raise UserError(f"{name} {shown(value)} must be at most {MOST_COUNTED:,}")


def defaults(kind: type) -> dict:
    """Name -> default of each setting of a dataclass."""
    return {f.name: f.default for f in fields(kind)}


def described(kind: type) -> str:
    """The settings of a dataclass as `name=default`, with what else one of a few choices may be; `none` for none."""
    kinds = get_type_hints(kind)
    parts = []
    for name, default in defaults(kind).items():
        others = [choice for choice in get_args(kinds[name]) if choice not in ("", default)]
        parts.append(f"{name}={default}" + f" (or {', '.join(others)})" * bool(others))
    return ", ".join(parts) or "none"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _read(name: str, value: object, kind: object) -> object:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise unknown(name, value, [choice for choice in get_args(kind) if choice])
        return value
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        if kind is bool or isinstance(value, bool) or (kind is int and isinstance(value, float)):
            if kind is not type(value):
                raise ValueError
            return value
        read = kind(value) if not isinstance(value, str) or kind is str or value.isascii() else None
    except (TypeError, ValueError, OverflowError):
        read = None
    if read is None:
        raise UserError(f"{name} must be of type {kind.__name__}, got {shown(value)}")
    return read
