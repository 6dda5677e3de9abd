"""The defences by name: repairs with clean data, and ways to use the examples that ABL has isolated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ablkit import settings
from ablkit.defenses.defense import Defense, Evaluation, Given, Repaired
from ablkit.errors import UserError, unknown
from ablkit.exclusion import rule
from ablkit.provenance import Registry

__all__ = [
    "DEFENSES",
    "METHODS",
    "Defense",
    "Evaluation",
    "Given",
    "Repaired",
    "kind_of_settings",
    "named",
    "settings_of",
]

DEFENSES: Registry[Defense] = Registry(
    __name__,
    {
        "fine_pruning": "repairs.fine_pruning:DEFENSE",
        "mcr": "repairs.mode_connectivity:DEFENSE",
        "nad": "repairs.nad:DEFENSE",
        "pixel_noise": "ways.noise:PIXEL_NOISE",
        "gradient_noise": "ways.noise:GRADIENT_NOISE",
        "label_shuffling": "ways.relabelling:LABEL_SHUFFLING",
        "label_uniform": "ways.relabelling:LABEL_UNIFORM",
        "label_smoothing": "ways.relabelling:LABEL_SMOOTHING",
        "self_learning": "ways.relabelling:SELF_LEARNING",
        "finetune_all": "ways.finetuning:FINETUNE_ALL",
        "finetune_last": "ways.finetuning:FINETUNE_LAST",
        "pretrained": "ways.retraining:PRETRAINED",
        "retrain": "ways.retraining:RETRAIN",
        "gradient_ascent": "ways.finetuning:GRADIENT_ASCENT",
        "unlearn": "ways.unlearning:UNLEARN",
    },
)
"""Every defence that the kit has beside ABL itself: the repairs, the ways to use the isolated examples in the order of
the paper's table, as recalled, and what takes the last of these apart."""

_OWN = {"none": "undefended", "abl": "ABL", "exclude": "suspects excluded", "oracle": "trained on clean data"}


class _Methods(Mapping[str, str]):
    def __getitem__(self, name: str) -> str:
        return _OWN[name] if name in _OWN else DEFENSES[name].title

    def __iter__(self) -> Iterator[str]:
        return iter((*_OWN, *DEFENSES))

    def __len__(self) -> int:
        return len(_OWN) + len(DEFENSES)


METHODS = _Methods()
"""Everything that `run.ipynb` can do with a poisoned set, by name -> title. `oracle` trains as `none` does, on the same
images before the attacker changed them: the ceiling, which no defender can reach."""


def named(text: str) -> list[str]:
    """The methods that a text such as "none repairs abl" names, each once.

    `repairs` stands for those that need clean data, `ways` for the paper's uses of the isolated examples. Raises
    UserError for an unknown one.
    """
    groups = {
        "repairs": [name for name, defense in DEFENSES.items() if defense.needs == "clean data"],
        "ways": [name for name, place in DEFENSES.places.items() if place.startswith("ways.") and name != "unlearn"],
    }
    names = [name for word in text.split() for name in groups.get(word, [word])]
    for name in names:
        if name not in METHODS:
            raise unknown("method", name, [*METHODS, *groups])
    return list(dict.fromkeys(names))


def kind_of_settings(method: str) -> type:
    """The frozen dataclass of the settings that a method has beside the recipe's."""
    if method in DEFENSES:
        return DEFENSES[method].settings
    return rule.Settings if method == "exclude" else settings.NoSettings


def settings_of(method: str, text: str) -> object:
    """The settings of a method with those changed that a text such as "epochs=10, t=0.3" names.

    Raises UserError for an unknown method or setting, or a value that does not fit.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    given = settings.parse(text, "method_settings")
    kind = kind_of_settings(method)
    if given and kind is settings.NoSettings and method not in DEFENSES:
        raise UserError(f"method {method} has no settings of its own: its settings are the notebook's other parameters")
    return settings.make(method, kind, given)
