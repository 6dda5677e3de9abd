"""The parameters of the notebooks that compare runs of run.ipynb, and which runs they stand for."""

from __future__ import annotations

from typing import ClassVar, get_args

from ablkit import attacks, defenses, models, settings
from ablkit.errors import UserError
from ablkit.runs.parameters import arms, losses
from ablkit.runs.parameters.one_run import RUN, OneRun, Parameters
from ablkit.runs.parameters.presets import filled
from ablkit.training.scores import Score

_ALONE = ("isolation_epochs", "finetune_epochs", "unlearn_epochs")
"""What a comparison says itself whose runs are phase 1 alone."""


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
        """The values that the preset and the changes stand for, the methods by name, and what is outside of these."""
        first = self.first_runs()[0]
        return {"first_run": first.model_dump(), "methods": self.methods(), **first.outside()}


class LossGap(Comparison):
    """Those of the notebook that holds ABL's first phase against plain training."""

    method_names: ClassVar = "abl"


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
        *_ALONE,
        "trajectories",
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
        """See `Comparison.shared`; raises UserError, too, for a model without batch norm, and without a stage."""
        values = super().shared()
        for name in ("finetune_epochs", "unlearn_epochs"):
            if not str(values[name]).strip("0"):  # changes are text
                raise UserError(f"{name} is 0, so that there is nothing to compare; set it to 1 or more in changes")
        model = str(values["model"])
        if not models.has_batch_norm(model):
            raise UserError(f"changes sets model {model}, whose arms need batch norm; the arm group_norm is without it")
        if not models.is_wide(model) and any(arm["model"] for arm in self.arms().values()):
            raise UserError(
                f"arm group_norm needs a model wrn-DEPTH-WIDTH, and changes sets {model}; leave the arm out"
            )
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
    """Those of the notebook that holds training without suspects against ABL, its isolated images left out, and
    training on clean data."""

    method_names: ClassVar = "abl exclude oracle retrain"

    def runs(self) -> list[OneRun]:
        """The parameters of each run: of the methods, and of the control, which excludes as many images by chance."""
        drawn = [one.model_copy(update={"method_settings": "control=random"}) for one in super().runs()]
        return super().runs() + [one for one in drawn if one.method == "exclude"]


class Architectures(Comparison):
    """Those of the notebook that holds architectures against one another: phase 1 of ABL alone, and what else is asked
    for."""

    chosen: ClassVar = (*Comparison.chosen, "model", *_ALONE, "trajectories")

    def methods(self) -> list[str]:
        """Those of the runs: ABL's phase 1, and what is trained to the end."""
        return defenses.named(f"abl {self.to_the_end}")

    def first_runs(self) -> list[OneRun]:
        """The parameters of the runs of each attack and model with the first of the seeds."""
        return [one for one in self.runs() if one.seed == self.seed_numbers()[0]]

    def runs(self) -> list[OneRun]:
        """The parameters of each run: for every attack, model and seed phase 1 alone, then each method to its end."""
        alone = {"finetune_epochs": 0, "unlearn_epochs": 0, "trajectories": "loss averaged"}
        kinds = [("abl", alone), *((method, {}) for method in defenses.named(self.to_the_end))]
        return [
            self.one(attack, seed, method).model_copy(update={"model": model, "isolation_epochs": self.epochs, **own})
            for attack in self.attack_names.split()
            for model in (models.NAMES if self.model_names == "all" else self.model_names.split())
            for method, own in kinds
            for seed in self.seed_numbers()
        ]
