"""Checks of parameters before anything runs."""

from __future__ import annotations

from pydantic import ValidationError

from ablkit import attacks, defenses
from ablkit.errors import UserError, shown, unknown
from ablkit.runs.arguments import MOST_AT_A_TIME, whole
from ablkit.runs.parameters.comparisons import Comparison, Twins
from ablkit.runs.parameters.notebooks import model_of
from ablkit.runs.parameters.one_run import RUN, OneRun, Parameters
from ablkit.runs.parameters.your_data import YourData
from ablkit.settings import MOST, MOST_COUNTED
from ablkit.training.recipe import Recipe

_MOST_NAMED, _MOST_THREADS = 1_000, 1_024


def check(notebook: str, values: dict, *, strict: bool = True) -> Parameters:
    """Validated parameters, settings in one spelling; raises UserError with one line for the first mistake.

    Args:
        strict: refuse values of another type than the declared one. Without it the text "0.5" becomes a number, as
            the command line needs it.
    """
    parameters, wrong = judge(notebook, values, strict=strict)
    if wrong:
        raise UserError(wrong[0])
    return parameters


def judge(notebook: str, values: dict, *, strict: bool = True) -> tuple[Parameters | None, list[str]]:
    """What `check` returns, or None; and a line for each unknown name and wrong type, or for the first wrong value."""
    parameters, found = _typed(notebook, values, strict)
    try:
        _check_values(parameters)
    except UserError as error:
        found.append(str(error))
    return (None, found) if found else (parameters.spelled(), [])


def _typed(notebook: str, values: dict, strict: bool) -> tuple[Parameters, list[str]]:
    """Parameters of the declared names and types, without the values that are none, and a line for each of these."""
    model = model_of(notebook)
    names = [name for name in values if name not in model.model_fields]
    found = [_no_parameter(notebook, name) for name in names]
    good = {name: value for name, value in values.items() if name not in names}
    for name, value in list(good.items()):
        if isinstance(value, bool) and model.model_fields[name].annotation in (int, float):  # not strict, true is 1
            found.append(f"parameter {name} of {notebook}: input should be a number, got {value}")
            del good[name]
    try:
        return model.model_validate(good, strict=strict), found
    except ValidationError as error:
        for one in error.errors():
            hint = "; YAML reads a number such as 5e-4 only as 5.0e-4" if _is_number(one["input"]) else ""
            reason = f"{one['msg'].lower()}, got {shown(one['input'])}{hint}"
            found.append(f"parameter {one['loc'][0]} of {notebook}: {reason}")
            good.pop(one["loc"][0], None)
    return model.model_validate(good, strict=strict), found


def _no_parameter(notebook: str, name: str) -> str:
    model = model_of(notebook)
    if issubclass(model, Comparison) and name in RUN.model_fields and name not in model.chosen:
        return f"{name} is no parameter of {notebook}; set it in changes, as '{name}=...'"
    return str(unknown(f"parameter of {notebook}", name, model.model_fields))


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and "e" in value.lower() and float(value) == float(value)
    except ValueError:
        return False


def _check_values(parameters: Parameters) -> None:
    for name, value in parameters:
        if isinstance(value, int) and not -MOST < value < MOST:
            raise UserError(f"{name} {shown(value)} must be a number between -2**63 and 2**63")
    whole("threads", parameters.threads, 1, _MOST_THREADS)
    if isinstance(parameters, OneRun):
        _check_run(parameters)
    elif isinstance(parameters, YourData):
        _check_your_data(parameters)
    elif isinstance(parameters, Comparison):
        _check_comparison(parameters)
    else:
        _check_sweep(parameters)


def _check_sweep(parameters: Parameters) -> None:
    """Raise UserError for parameters that every notebook has, and that say nothing to a sweep."""
    whole("workers", parameters.workers, 1, MOST_AT_A_TIME)
    for name in ("dataset", "device", "precision", "threads"):
        if (value := getattr(parameters, name)) != parameters.defaults()[name]:
            raise UserError(
                f"{name} {shown(value)} has no part in a sweep: the file, {parameters.file}, sets the parameters of its"
                " runs; leave it out"
            )


def _check_run(parameters: OneRun) -> None:
    recipe = parameters.recipe()
    _check_drawing(parameters)
    if parameters.monitor_images and parameters.monitor_images < 100:
        raise UserError(
            f"monitor_images {parameters.monitor_images} is too few to measure; use 100 or more, or 0 for all"
        )
    attacks.check(parameters.attack, parameters.attack_settings)
    if not 0 <= parameters.poison_rate < 1:
        raise UserError(f"poison_rate {parameters.poison_rate} is outside [0, 1); the paper uses 0.1, 0 is clean data")
    _check_method(parameters.method, parameters.method_settings, recipe)


def _check_method(method: str, text: str, recipe: Recipe) -> None:
    own = defenses.settings_of(method, text)
    if hasattr(own, "check_recipe"):
        own.check_recipe(recipe)


def _check_your_data(parameters: YourData) -> None:
    _check_drawing(parameters)
    whole("least_steps", parameters.least_steps, 0, MOST_COUNTED)
    parameters.suspicion().check_recipe(parameters.recipe(max(1, parameters.train_size)))


def _check_drawing(parameters: OneRun | YourData) -> None:
    if parameters.train_size < 0:
        raise UserError(f"train_size {parameters.train_size} is negative; 0 takes the whole training set")
    if parameters.seed < 0:
        raise UserError(f"seed {parameters.seed} is negative; use 0, 1, 2, ...")


def _check_comparison(parameters: Comparison) -> None:
    _check_lists(parameters)
    if wrong := _typed("run", parameters.shared(), strict=False)[1]:
        raise UserError(f"changes: {wrong[0]}")
    if hasattr(parameters, "epochs"):
        whole("epochs", parameters.epochs, 1, MOST_COUNTED)
    for one in parameters.first_runs():
        _check_values(one)
    for method in parameters.methods():
        _check_method(method, "", one.recipe())
    if isinstance(parameters, Twins) and not parameters.runs():
        names = shown(parameters.attack_names)
        raise UserError(f"attack_names {names} have no twin; ablkit attacks shows which have one")


def _check_lists(parameters: Comparison) -> None:
    for part in parameters.seeds.split():
        if not (part.isascii() and part.isdecimal() and len(part) < 19):  # other scripts have digits too
            listed = f"seeds {shown(parameters.seeds)} must be whole numbers with spaces between"
            raise UserError(f"{listed}; {shown(part)} is none from 0 to {10**18 - 1}")
    parameters.methods()
    names = ("attack_names", "seeds", "method_names", "losses", "arm_names", "model_names", "case_names")
    for name in [name for name in names if hasattr(parameters, name)]:
        values = parameters.seed_numbers() if name == "seeds" else getattr(parameters, name).split()
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name} {shown(getattr(parameters, name))} must name one or more, each once")
        if len(values) > _MOST_NAMED:
            raise UserError(f"{name} names {len(values)}; more than {_MOST_NAMED} make no page that anybody reads")
