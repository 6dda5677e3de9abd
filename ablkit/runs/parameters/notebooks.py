"""The parameters of each notebook: names, types and the defaults of the quick preset."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from ablkit import attacks, defenses, models, settings
from ablkit.errors import UserError, shown, unknown
from ablkit.files import read_text
from ablkit.paths import notebooks_root
from ablkit.runs.parameters import arms, losses
from ablkit.runs.parameters.presets import filled
from ablkit.training.recipe import RECIPES, Recipe
from ablkit.training.scores import Score
from ablkit.training.suspects import Settings

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

    def outside(self) -> dict:
        """The files that the attack's own settings name."""
        own = settings.make(self.attack, attacks.find(self.attack).settings, settings.parse(self.attack_settings))
        return {"styles": own.digest()} if getattr(own, "styles", "") else {}


class Comparison(Parameters):
    """Those of a notebook that compares runs of run.ipynb, all with the values of one preset and the same changes."""

    chosen: ClassVar = ("attack", "attack_settings", "seed", "method", "method_settings")
    """What the comparison itself says of each run, so that `changes` may not."""

    def seed_numbers(self) -> list[int]:
        """The seeds of the runs."""
        return [int(seed) for seed in self.seeds.split()]

    def methods(self) -> list[str]:
        """The methods of the runs; `none`, the undefended training, is always among them."""
        return defenses.named(f"none {getattr(self, 'method_names', '')}")

    def shared(self) -> dict:
        """What all runs have in common, `changes` as text; a poisoning rate of 0 is each attack's own.

        Raises UserError where `changes` cannot be read or sets what stands beside it, and for smoke on all of CIFAR-10.
        """
        own = {name: value for name, value in self if name in RUN.model_fields}
        changes = settings.parse(self.changes, "changes")
        for name in changes:
            if name in own or name in self.chosen:
                raise UserError(f"changes sets {name}, which the comparison itself sets; leave it out of changes")
        if self.preset == "smoke" and self.dataset == "cifar10" and "train_size" not in changes:
            # As plain papermill gives it, which fills in the preset's name and leaves the data set of the cell.
            way_out = "give dataset digits, which goes with it, or train_size in changes"
            raise UserError(f"preset smoke would train on all of cifar10; {way_out}")
        return filled(RUN.defaults() | {"poison_rate": 0.0}, self.preset, own | changes)

    def one(self, attack: str, seed: int, method: str = "none") -> OneRun:
        """The parameters of the run of one attack, seed and method."""
        shared = RUN(**self.shared())
        rate = shared.poison_rate or attacks.find(attack).quick_rate
        return shared.model_copy(update={"attack": attack, "poison_rate": rate, "seed": seed, "method": method})

    def first_runs(self) -> list[OneRun]:
        """The parameters of the undefended run of each attack with the first of the seeds."""
        return [self.one(attack, self.seed_numbers()[0]) for attack in self.attack_names.split()]

    def runs(self) -> list[OneRun]:
        """The parameters of each run that is compared."""
        return [
            self.one(attack, seed, method)
            for attack in self.attack_names.split()
            for method in self.methods()
            for seed in self.seed_numbers()
        ]

    def trainings(self) -> int:
        """How many of the runs are whole trainings."""
        return len(self.runs())

    def modules(self) -> tuple[str, ...]:
        """Those of the attacks, and of the methods that are defences."""
        named = [attacks.ATTACKS.module(name) for name in self.attack_names.split()]
        return sum(named + [defenses.DEFENSES.module(name) for name in self.methods()], ())

    def outside(self) -> dict:
        """The values that the preset and the changes stand for, and what is outside of these."""
        first = self.first_runs()[0]
        return {"first_run": first.model_dump(), **first.outside()}


class LossGap(Comparison):
    """Those of the notebook that holds ABL's first phase against plain training, on one attack and seed."""

    chosen: ClassVar = ("method", "method_settings")
    method_names: ClassVar = "abl"
    attack_names = property(lambda self: self.attack)
    seeds = property(lambda self: str(self.seed))


class Twins(Comparison):
    """Those of a notebook that holds attacks against their twins."""

    def runs(self) -> list[OneRun]:
        """The parameters of each undefended run: for every attack and seed as it is, then as its twin.

        Attacks without a twin are passed over.
        """
        return [
            one.model_copy(update={"poison_rate": min(one.poison_rate, twin.rate), "attack_settings": own})
            for name in self.attack_names.split()
            if (twin := attacks.find(name).twin)
            for own in ("", twin.settings)
            for one in (self.one(name, seed) for seed in self.seed_numbers())
        ]


class Isolators(Comparison):
    """Those of the notebook about isolation: phase 1 of ABL alone, with every score of each image after each epoch."""

    chosen: ClassVar = (
        *Comparison.chosen,
        *losses.SETTINGS,
        *("isolation_epochs", "finetune_epochs", "unlearn_epochs", "trajectories"),
    )
    method_names: ClassVar = "abl"

    def first_runs(self) -> list[OneRun]:
        """The parameters of the run of each attack and loss with the first of the seeds."""
        return [one for one in self.runs() if one.seed == self.seed_numbers()[0]]

    def runs(self) -> list[OneRun]:
        """The parameters of each run: for every attack and loss, on each seed."""
        alone = {"isolation_epochs": self.epochs, "finetune_epochs": 0, "unlearn_epochs": 0}
        alone["trajectories"] = " ".join(get_args(Score))
        return [
            self.one(attack, seed, "abl").model_copy(update=alone | losses.settings_of(loss))
            for attack in self.attack_names.split()
            for loss in self.losses.split()
            for seed in self.seed_numbers()
        ]


class WhatUnlearns(Comparison):
    """Those of the notebook that takes ABL's unlearning apart: of a seed all arms start from one fine-tuned model.

    Only the arm `group_norm` has one of its own.
    """

    # Where another second phase, or none, is asked for there is nothing to take apart.
    chosen: ClassVar = (*Comparison.chosen, "carry_momentum", "schedule", "unlearn_batchnorm")

    def methods(self) -> list[str]:
        """Those of the arms: no undefended run is needed, as each arm is held against the model that it starts from."""
        return sorted({arm["method"] for arm in self.arms().values()})

    def arms(self) -> dict[str, dict]:
        """Arm -> what it sets; raises UserError for one that does not exist."""
        names = list(arms.ARMS) if self.arm_names == "all" else self.arm_names.split()
        return {name: arms.settings_of(name) for name in names}

    def shared(self) -> dict:
        """See `Comparison.shared`; raises UserError, too, for a model without batch norm."""
        values = super().shared()
        model = str(values["model"])
        if not models.has_batch_norm(model):
            raise UserError(f"changes sets model {model}, whose arms need batch norm; the arm group_norm is without it")
        return values

    def first_runs(self) -> list[OneRun]:
        """The parameters of the runs of each attack with the first of the seeds."""
        return [run for run in self.runs() if run.seed == self.seed_numbers()[0]]

    def runs(self) -> list[OneRun]:
        """The parameters of each run that is compared."""
        over = [(attack, own) for attack in self.attack_names.split() for own in self.arms().values()]
        found = [(self.one(attack, seed), own) for attack, own in over for seed in self.seed_numbers()]
        return [one.model_copy(update={**own, "model": one.model + own["model"]}) for one, own in found]

    def trainings(self) -> int:
        """How many whole trainings the runs share: one for each attack and seed, and one with group norm."""
        return len({(run.attack, run.seed, run.model) for run in self.runs()})


class Exclusion(Comparison):
    """Those of the notebook that holds training without suspects against ABL and training on clean data."""

    method_names: ClassVar = "abl exclude oracle"

    def runs(self) -> list[OneRun]:
        """The parameters of each run: of the methods, and of the control, which excludes as many images by chance."""
        drawn = [one.model_copy(update={"method_settings": "control=random"}) for one in super().runs()]
        return super().runs() + [one for one in drawn if one.method == "exclude"]


class YourData(Parameters):
    """Those of the notebook about data of unknown trust, to which no attack is added."""

    def drawing(self) -> dict:
        """The arguments of `data.load` among the parameters, without the seed."""
        return {"train_size": self.train_size}

    def recipe(self, images: int) -> Recipe:
        """The training of so many images: the epochs of all stages grow alike until phase 1 takes `least_steps`."""
        own = Recipe(**{name: getattr(self, name) for name in YOUR_RECIPE})
        steps = max(1, own.isolation_epochs * -(-images // own.batch_size))
        times = max(1.0, self.least_steps / steps)
        longer = {name: math.ceil(times * getattr(own, name)) for name in _EPOCHS}
        return replace(own, **longer)

    def suspicion(self) -> Settings:
        """When a class is suspected."""
        return settings.make("suspicion", Settings, settings.parse(self.suspicion_settings, "suspicion_settings"))


class SweepParameters(Parameters):
    """Those of the notebook about sweeps."""

    @property
    def path(self) -> Path:
        """The sweep file; raises UserError where there is none of that name."""
        if Path(self.file).name != self.file:
            raise UserError(f"file {shown(self.file)} must be the name of a file in notebooks/sweeps, without a folder")
        path = notebooks_root() / "sweeps" / self.file
        if not os.path.isfile(path):  # False, too, for what can be no path
            raise UserError(f"file {shown(self.file)} is not in {path.parent}; name one that is")
        return path

    def outside(self) -> dict:
        """The text of the sweep file."""
        return {"file": read_text(self.path)}


def _model(base: type[Parameters], dataset: str = "cifar10", **own: object) -> type[Parameters]:
    """A class with these parameters and their defaults, in the order of the notebook's cell: hardware comes last."""
    values = {"dataset": dataset, **own, "device": "auto", "precision": "auto", "threads": 1}
    fields = {name: (_TYPES.get(name, type(value)), value) for name, value in values.items()}
    return create_model(base.__name__, __base__=base, **fields)


_RECIPE = vars(RECIPES["quick"])
_FIRST = ("isolation_rate", "gamma", "isolation_epochs", "finetune_epochs", "unlearn_epochs", "model")
"""What of the recipe people vary first."""

RUN: type[OneRun] = _model(
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
YOUR_RECIPE = ("model", "normalise", "batch_size", "isolation_epochs", "finetune_epochs", "finetune_drop_epoch")
YOUR_RECIPE += ("isolation_learning_rate", "finetune_learning_rate", "crop_padding", "flip", "cutout_length")
"""What of the recipe `your_data` leaves to people."""
_EPOCHS = ("isolation_epochs", "finetune_epochs", "finetune_drop_epoch")
_PRESET = {"preset": "quick", "changes": ""}
_OVER = {"seeds": "0 1 2", **_PRESET}
_TWINS = " ".join(name for name, attack in attacks.ATTACKS.items() if attack.twin)

NOTEBOOKS: dict[str, type[Parameters]] = {
    "run": RUN,
    "loss_gap": _model(LossGap, attack="badnets", seed=0, **_PRESET),
    "attacks": _model(Comparison, attack_names=" ".join(attacks.ATTACKS), **_OVER),
    "defenses": _model(Comparison, attack_names="badnets", method_names="none repairs abl oracle", **_OVER),
    "unlearning": _model(Comparison, attack_names="badnets", method_names="none ways abl oracle", **_OVER),
    "what_unlearns": _model(WhatUnlearns, attack_names="badnets blend sig", arm_names="all", **_OVER),
    "twins": _model(Twins, attack_names=_TWINS, **_OVER),
    "isolators": _model(Isolators, attack_names=" ".join(attacks.ATTACKS), losses="lga-0.5", epochs=8, **_OVER),
    "exclusion": _model(Exclusion, attack_names=" ".join(attacks.ATTACKS), **_OVER),
    "your_data": _model(
        YourData,
        seed=0,
        train_size=0,
        least_steps=940,
        suspicion_settings="",
        undefended=False,
        **{name: _RECIPE[name] for name in YOUR_RECIPE},
    ),
    "sweep": _model(SweepParameters, dataset="digits", file="smoke.yaml", workers=2),
}
"""Notebook -> model of its parameters."""


def model_of(notebook: str) -> type[Parameters]:
    """The parameter model of a notebook; raises UserError for an unknown one."""
    if notebook not in NOTEBOOKS:
        raise unknown("notebook", notebook, NOTEBOOKS)
    return NOTEBOOKS[notebook]


def defaults(notebook: str, preset: str = "quick") -> dict:
    """The parameters of a notebook under a preset."""
    return changed(notebook, preset, {})


def changed(notebook: str, preset: str, given: dict) -> dict:
    """The parameters of a preset with those that a user gave; another data set than the preset's is taken whole.

    A comparison's preset is one of its parameters, and may be given as such in place of the other.
    """
    own = model_of(notebook).defaults()
    if "preset" in own and given.get("preset", preset) != preset:
        if preset != "quick":
            raise UserError(f"preset is given twice, {shown(preset)} and {shown(given['preset'])}; leave one out")
        preset = given["preset"]
    return filled(own, preset, given)
