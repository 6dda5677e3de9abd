"""Checks of parameters before anything runs."""

from __future__ import annotations

from pydantic import ValidationError

from ablkit import attacks, defenses
from ablkit.errors import UserError, shown, unknown
from ablkit.parameters.models import (
    ManyAttacks,
    ManyMethods,
    ManyTwins,
    OneRun,
    Parameters,
    PoisonedSet,
    TrainingParameters,
    model_of,
)

_MOST_THREADS = 1024


def check(notebook: str, values: dict, *, strict: bool = True) -> Parameters:
    """Validated parameters; raises UserError with one line for the first mistake.

    Args:
        strict: refuse values of another type than the declared one. Without it the text "0.5" becomes a number, as
            the command line needs it.
    """
    wrong = mistakes(notebook, values, strict=strict)
    if wrong:
        raise UserError(wrong[0])
    return model_of(notebook).model_validate(values, strict=strict)


def mistakes(notebook: str, values: dict, *, strict: bool = True) -> list[str]:
    """What is wrong with parameters, a line each: every unknown name and wrong type, else the first wrong value."""
    model = model_of(notebook)
    names = [name for name in values if name not in model.model_fields]
    found = [str(unknown(f"parameter of {notebook}", name, model.model_fields)) for name in names]
    good = {name: value for name, value in values.items() if name not in names}
    try:
        model.model_validate(good, strict=strict)
    except ValidationError as error:
        for one in error.errors():
            hint = "; YAML reads a number such as 5e-4 only as 5.0e-4" if _is_number(one["input"]) else ""
            found.append(f"parameter {one['loc'][0]} of {notebook}: {one['msg'].lower()}, got {one['input']!r}{hint}")
            good.pop(one["loc"][0], None)
    try:
        _check_values(model.model_validate(good, strict=strict))
    except UserError as error:
        found.append(str(error))
    return found


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and "e" in value.lower() and float(value) == float(value)
    except ValueError:
        return False


def _check_values(parameters: Parameters) -> None:
    if not 1 <= parameters.threads <= _MOST_THREADS:
        raise UserError(f"threads {shown(parameters.threads)} must be 1 to {_MOST_THREADS}")
    if isinstance(parameters, PoisonedSet):
        _check_poisoning(parameters)
    if isinstance(parameters, ManyAttacks):
        _check_many(parameters)
    if isinstance(parameters, TrainingParameters):
        _check_training(parameters)
    elif parameters.workers < 1:
        raise UserError(f"workers {parameters.workers} must be at least 1")


def _check_training(parameters: TrainingParameters) -> None:
    parameters.recipe()
    if parameters.train_size < 0:
        raise UserError(f"train_size {parameters.train_size} is negative; 0 takes the whole training set")
    if parameters.monitor_images and parameters.monitor_images < 100:
        raise UserError(
            f"monitor_images {parameters.monitor_images} is too few to measure; use 100 or more, or 0 for all"
        )


def _check_poisoning(parameters: PoisonedSet) -> None:
    attacks.check(parameters.attack, parameters.attack_settings)
    if not 0 < parameters.poison_rate < 1:
        raise UserError(f"poison_rate {parameters.poison_rate} is outside (0, 1); the paper uses 0.1")
    if isinstance(parameters, OneRun):
        defenses.settings_of(parameters.method, parameters.method_settings)
    if parameters.seed < 0:
        raise UserError(f"seed {parameters.seed} is negative; use 0, 1, 2, ...")


def _check_many(parameters: ManyAttacks) -> None:
    if not 0 <= parameters.poison_rate < 1:
        raise UserError(f"poison_rate {parameters.poison_rate} is outside [0, 1); 0 takes each attack's own")
    for name in parameters.attack_names.split():
        attacks.check(name, "")
    for part in parameters.seeds.split():
        if not part.isdecimal():
            raise UserError(f"seeds {parameters.seeds!r} must be whole numbers with spaces between; {part!r} is none")
    lists = ("attack_names", "seeds") + ("method_names",) * isinstance(parameters, ManyMethods)
    if isinstance(parameters, ManyMethods):
        defenses.named(parameters.method_names)
    for name in lists:
        values = getattr(parameters, name).split()
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name} {getattr(parameters, name)!r} must name one or more, each once")
    if isinstance(parameters, ManyTwins) and not parameters.runs():
        raise UserError(f"attack_names {parameters.attack_names!r} have no twin; ablkit attacks shows which have one")
