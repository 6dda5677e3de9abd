"""The parameters of each notebook: names, types and the defaults of the quick preset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from ablkit import attacks, defenses, settings
from ablkit.attacks import attack
from ablkit.data.images import Images
from ablkit.errors import UserError, shown, unknown
from ablkit.files import read_text
from ablkit.paths import notebooks_root
from ablkit.training.recipe import RECIPES, Recipe

QUICK = RECIPES["quick"]
_TYPES = get_type_hints(Recipe)


class Parameters(BaseModel):
    """What every notebook has: a data set and hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: str = "cifar10"
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1

    def outside(self) -> dict[str, str]:
        """What else decides a result, beyond parameters, code and data: the content of files that are only named."""
        return {}

    def modules(self) -> tuple[str, ...]:
        """The modules that are only named: what decides a result and is not imported by the notebook."""
        return ()


class TrainingParameters(Parameters):
    """Those of a notebook that trains or reads trainings: data, a target class and a recipe, as in the quick preset."""

    train_size: int = 10_000
    held_out: float = 0.05
    target: int = 0
    released: bool = False
    include_target: bool = False
    monitor_images: int = 2_000

    def drawing(self) -> dict:
        """The arguments of `data.load` among the parameters, without the seed."""
        return {"train_size": self.train_size, "held_out": self.held_out}

    def recipe(self) -> Recipe:
        """The training settings among the parameters."""
        return Recipe(**{name: getattr(self, name) for name in _TYPES})


class PoisonedSet(TrainingParameters):
    """Those of a notebook about one poisoned training set."""

    attack: str = "badnets"
    attack_settings: str = ""
    poison_rate: float = 0.1
    seed: int = 0

    def poisoning(self) -> dict:
        """The arguments of `attacks.poison` among the parameters."""
        same = ("attack", "target", "seed", "include_target", "released", "device", "precision")
        own = settings.parse(self.attack_settings)
        return {"rate": self.poison_rate, **{name: getattr(self, name) for name in same}, **own}

    def modules(self) -> tuple[str, ...]:
        """The module of the attack."""
        return attacks.ATTACKS.module(self.attack)

    def outside(self) -> dict[str, str]:
        """The files that the attack's own settings name."""
        own = settings.make(self.attack, attacks.find(self.attack).settings, settings.parse(self.attack_settings))
        return {"styles": own.digest()} if getattr(own, "styles", "") else {}


class OneRun(PoisonedSet):
    """Those of a notebook that carries out one method on one poisoned training set."""

    method: str = "abl"
    method_settings: str = ""

    def modules(self) -> tuple[str, ...]:
        """Those of the attack and, where the method is a defence, of it."""
        return super().modules() + defenses.DEFENSES.module(self.method)


class ManyAttacks(TrainingParameters):
    """Those of a notebook that compares attacks, each with its own default settings and rate, over seeds."""

    attack_names: str = " ".join(attacks.ATTACKS)
    poison_rate: float = 0.0
    seeds: str = "0 1 2"

    def modules(self) -> tuple[str, ...]:
        """The modules of the attacks."""
        return sum(map(attacks.ATTACKS.module, self.attack_names.split()), ())

    def seed_numbers(self) -> list[int]:
        """The seeds as numbers."""
        return [int(seed) for seed in self.seeds.split()]

    def each_attack(self, train: Images) -> dict[str, attack.Poisoned]:
        """Attack -> the set that it makes of `train`, with the first of the seeds."""
        return {
            name: attacks.poison(train, **self.one(name, self.seed_numbers()[0], "none").poisoning())
            for name in self.attack_names.split()
        }

    def one(self, attack: str, seed: int, method: str) -> OneRun:
        """The parameters of the run of one attack, seed and method."""
        shared = {name: value for name, value in self.model_dump().items() if name in model_of("run").model_fields}
        rate = self.poison_rate or attacks.find(attack).quick_rate
        own = {"attack": attack, "poison_rate": rate, "seed": seed, "method": method}
        return model_of("run")(**shared | own)


class ManyTwins(ManyAttacks):
    """Those of a notebook that holds attacks against their twins."""

    attack_names: str = " ".join(name for name, attack in attacks.ATTACKS.items() if attack.twin)

    def runs(self) -> list[OneRun]:
        """The parameters of each undefended run: for every attack and seed as it is, then as its twin.

        Attacks without a twin are passed over.
        """
        found = []
        for name in self.attack_names.split():
            twin = attacks.find(name).twin
            for settings_ in ("", twin.settings) if twin else ():
                for seed in self.seed_numbers():
                    one = self.one(name, seed, "none").model_dump()
                    rate = min(one["poison_rate"], twin.rate)
                    found.append(model_of("run")(**one | {"poison_rate": rate, "attack_settings": settings_}))
        return found


class ManyMethods(ManyAttacks):
    """Those of a notebook that compares methods, each with its default settings, on attacks and seeds."""

    attack_names: str = "badnets"
    method_names: str = "none repairs abl oracle"

    def modules(self) -> tuple[str, ...]:
        """Those of the attacks and of the methods that are defences."""
        return super().modules() + sum(map(defenses.DEFENSES.module, defenses.named(self.method_names)), ())

    def runs(self) -> list[OneRun]:
        """The parameters of each run that is compared; undefended ones are always among them."""
        return [
            self.one(attack, seed, method)
            for attack in self.attack_names.split()
            for method in defenses.named(f"none {self.method_names}")
            for seed in self.seed_numbers()
        ]


class SweepParameters(Parameters):
    """Those of the notebook about sweeps."""

    dataset: str = "digits"
    file: str = "smoke.yaml"
    workers: int = 2

    @property
    def path(self) -> Path:
        """The sweep file; raises UserError where there is none of that name."""
        if Path(self.file).name != self.file:
            raise UserError(f"file {shown(self.file)} must be the name of a file in notebooks/sweeps, without a folder")
        path = notebooks_root() / "sweeps" / self.file
        if not os.path.isfile(path):  # False, too, for what can be no path
            raise UserError(f"file {shown(self.file)} is not in {path.parent}; name one that is")
        return path

    def outside(self) -> dict[str, str]:
        """The text of the sweep file."""
        return {"file": read_text(self.path)}


def _with_recipe(name: str, base: type[Parameters], **others) -> type[Parameters]:
    fields = {setting: (kind, getattr(QUICK, setting)) for setting, kind in _TYPES.items()}
    return create_model(name, __base__=base, **others, **fields)


NOTEBOOKS: dict[str, type[Parameters]] = {
    "run": _with_recipe("RunParameters", OneRun),
    "loss_gap": _with_recipe("LossGapParameters", PoisonedSet),
    "attacks": _with_recipe("AttacksParameters", ManyAttacks),
    "defenses": _with_recipe("DefensesParameters", ManyMethods),
    "twins": _with_recipe("TwinsParameters", ManyTwins),
    "unlearning": _with_recipe("UnlearningParameters", ManyMethods, method_names=(str, "none ways abl oracle")),
    "sweep": SweepParameters,
}
"""Notebook -> model of its parameters."""


def model_of(notebook: str) -> type[Parameters]:
    """The parameter model of a notebook; raises UserError for an unknown one."""
    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    return NOTEBOOKS[notebook]
