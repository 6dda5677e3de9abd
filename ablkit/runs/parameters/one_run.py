"""The parameters of run.ipynb, and how the class of a notebook's parameters is made."""

from __future__ import annotations

from typing import get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from ablkit import attacks, defenses, settings
from ablkit.training.recipe import RECIPES, Recipe

_TYPES = get_type_hints(Recipe)


class Parameters(BaseModel):
    """Those of a notebook: what they stand for is said here and in the classes below, what they are in `NOTEBOOKS`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def defaults(cls) -> dict:
        """Name -> default of each parameter, in the order of the notebook's cell."""
        return {name: field.default for name, field in cls.model_fields.items()}

    def outside(self) -> dict:
        """What else decides a result, beyond parameters, code and data, such as the content of files that are only
        named."""
        return {}

    def modules(self) -> tuple[str, ...]:
        """The modules that are only named: what decides a result and is not imported by the notebook."""
        return ()

    def settings_by_owner(self) -> dict[str, tuple[str, type]]:
        """Name of each parameter that is a text of settings -> whose they are, and the dataclass of these."""
        return {}

    def spelled(self) -> Parameters:
        """The same with each text of settings as `settings.spelled` writes it, so that one run has one key.

        Raises UserError for settings that do not exist or do not fit.
        """
        texts = {
            name: settings.spelled(owner, kind, settings.parse(getattr(self, name), name))
            for name, (owner, kind) in self.settings_by_owner().items()
        }
        return self.model_copy(update=texts)


class OneRun(Parameters):
    """Those of run.ipynb: one method on one poisoned training set."""

    def drawing(self) -> dict:
        """The arguments of `data.load` among the parameters, without the seed."""
        return {"train_size": self.train_size, "held_out": self.held_out}

    def poisoning(self) -> dict:
        """The arguments of `attacks.poison` among the parameters."""
        same = ("attack", "target", "seed", "include_target", "released", "device", "precision")
        own = settings.parse(self.attack_settings)
        return {"rate": self.poison_rate, **{name: getattr(self, name) for name in same}, **own}

    def recipe(self) -> Recipe:
        """The training settings among the parameters."""
        return Recipe(**{name: getattr(self, name) for name in _TYPES})

    def modules(self) -> tuple[str, ...]:
        """Those of the attack and, where the method is a defence, of it."""
        return attacks.ATTACKS.module(self.attack) + defenses.DEFENSES.module(self.method)

    def settings_by_owner(self) -> dict[str, tuple[str, type]]:
        """Those of the attack and of the method."""
        kinds = attacks.find(self.attack).settings, defenses.kind_of_settings(self.method)
        return {"attack_settings": (self.attack, kinds[0]), "method_settings": (self.method, kinds[1])}

    def outside(self) -> dict:
        """The files that the attack's own settings name."""
        own = settings.make(self.attack, attacks.find(self.attack).settings, settings.parse(self.attack_settings))
        return {"styles": own.digest()} if getattr(own, "styles", "") else {}


def made(base: type[Parameters], dataset: str = "cifar10", **own: object) -> type[Parameters]:
    """A class with these parameters and their defaults, in the order of the notebook's cell: hardware comes last."""
    values = {"dataset": dataset, **own, "device": "auto", "precision": "auto", "threads": 1}
    fields = {name: (_TYPES.get(name, type(value)), value) for name, value in values.items()}
    return create_model(base.__name__, __base__=base, **fields)


_RECIPE = vars(RECIPES["quick"])
_FIRST = ("isolation_rate", "gamma", "isolation_epochs", "finetune_epochs", "unlearn_epochs", "model")
"""What of the recipe people vary first."""

RUN: type[OneRun] = made(
    OneRun,
    attack="badnets",
    method="abl",
    seed=0,
    poison_rate=0.1,
    **{name: _RECIPE[name] for name in _FIRST},
    train_size=10_000,
    held_out=0.05,
    attack_settings="",
    method_settings="",
    target=0,
    include_target=False,
    released=False,
    **{name: value for name, value in _RECIPE.items() if name not in _FIRST},
    monitor_images=1_000,
)
