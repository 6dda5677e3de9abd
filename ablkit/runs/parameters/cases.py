"""The notebooks that vary one thing: their cases, what each sets in run.ipynb, and which runs they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ablkit import defenses
from ablkit.errors import UserError, shown, unknown
from ablkit.runs.parameters.comparisons import Comparison
from ablkit.runs.parameters.one_run import OneRun
from ablkit.training.recipe import RECIPES


@dataclass(frozen=True)
class Case:
    """One of the values that a notebook compares."""

    title: str
    """In figures and tables."""
    sets: Callable[[OneRun], Mapping[str, object]]
    """A run of the preset -> the parameters that are otherwise in this case, with their values."""
    attacks: tuple[str, ...] = ()
    """Those that it is tried on; empty for all."""
    methods: tuple[str, ...] = ()
    """Likewise."""

    def is_for(self, attack: str, method: str) -> bool:
        """Whether it is tried on this attack with this method."""
        return attack in (self.attacks or (attack,)) and method in (self.methods or (method,))


def _fixed(title: str, *attacks: str, methods: tuple[str, ...] = (), **values: object) -> Case:
    return Case(title, lambda one: values, attacks, methods)


def _turned(factor: float) -> Case:
    """Another turning epoch, the epochs of plain training and those before the drop of the rate together unchanged."""

    def sets(one: OneRun) -> dict:
        epochs = max(1, round(factor * one.isolation_epochs))
        later = min(epochs - one.isolation_epochs, one.finetune_epochs)
        drop = max(0, one.finetune_drop_epoch - later)
        return {
            "isolation_epochs": one.isolation_epochs + later,
            "finetune_epochs": one.finetune_epochs - later,
            "finetune_drop_epoch": drop,
        }

    title = {0.5: "half as late", 1.0: "as in the preset", 2.0: "twice as late"}
    return Case(title.get(factor, f"{factor:g} times as late"), sets)


AS_IT_IS = "as-it-is"
"""The case that changes nothing, where others vary the attack."""

GAMMA = {f"{gamma:g}": _fixed(f"{gamma:g}", gamma=gamma) for gamma in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)}
POISON_RATE = {
    f"{rate:g}": _fixed(f"{100 * rate:g} %", poison_rate=rate) for rate in (0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 0.7)
}
ISOLATION_RATE = {
    f"{rate:g}": _fixed(f"{100 * rate:g} %", isolation_rate=rate) for rate in (0.001, 0.005, 0.01, 0.05, 0.2)
}
TURNING_EPOCH = {f"x{factor:g}": _turned(factor) for factor in (0.5, 1.0, 1.5, 2.0)}
_BY_RATE = ("fine_pruning", "nad")
"""The repairs that fine-tune at `learning_rate`: MCR as in its paper, with a second end trained anew, does not."""
REPAIR = {
    "table1": _fixed("as in Table 1 here"),
    "more-images": _fixed("5 times as many clean images", held_out=0.25),
    "slower": _fixed("learning rate 0.01", methods=_BY_RATE, method_settings="learning_rate=0.01"),
    "plain": _fixed("no augmentation", method_settings="augmentation=false"),
    "more-and-slower": _fixed(
        "5 times as many at rate 0.01", methods=_BY_RATE, held_out=0.25, method_settings="learning_rate=0.01"
    ),
}
ADAPTIVE = {
    AS_IT_IS: _fixed("attack as it is"),
    "weaker": _fixed("weaker trigger (alpha 0.1)", "blend", attack_settings="alpha=0.1"),
    "three-classes": _fixed("three target classes", attack_settings="labels=all2three"),
    "all-classes": _fixed("every class a target", attack_settings="labels=all2all"),
    "cover": _fixed("cover images (10 %)", attack_settings="cover=0.1"),
    "inconsistent": _fixed("half of the poison with a random label", attack_settings="consistency=0.5"),
    "two-triggers": _fixed("two triggers", attack_settings="triggers=2"),
    "five-triggers": _fixed("five triggers", attack_settings="triggers=5"),
}


def _recipe(name: str, rate: float) -> Case:
    """The training settings of a recipe, on the images and the model of the preset, at a poisoning rate."""
    values = {key: value for key, value in vars(RECIPES[name]).items() if key not in ("model", "trajectories")}
    return Case(f"{name}, {100 * rate:g} %", lambda one: values | {"poison_rate": rate})


RECIPES_COMPARED = ("paper", "released", "backdoorbench", "toolbox", "backdoorbox", "quick")
RECIPE = {f"{name}-{100 * rate:g}": _recipe(name, rate) for rate in (0.1, 0.01) for name in RECIPES_COMPARED}
USUAL = {AS_IT_IS, *(name for name in RECIPE if name.startswith("quick-"))}
"""The cases that are the attack as it is, or this kit's own recipe, where others are the question."""


class Cases(Comparison):
    """Those of a notebook that varies one thing; every run is of one attack, method, case and seed."""

    cases: ClassVar[Mapping[str, Case]] = {}
    """Name -> case, in the order of figures."""
    varies: ClassVar[str] = ""
    """What the cases are values of, on the axis of figures; empty where their titles say it."""
    compared: ClassVar[tuple[str, ...]] = ("none", "abl", "exclude")
    """The methods that its figures tell apart."""

    def methods(self) -> list[str]:
        """The methods of the runs, the undefended training only where it is asked for.

        Raises UserError for others than `compared`.
        """
        names = defenses.named(self.method_names)
        for name in names:
            if name not in self.compared:
                raise UserError(f"method_names names {name}; this notebook compares {', '.join(self.compared)}")
        return names

    def chosen_cases(self) -> dict[str, Case]:
        """The cases of the runs; raises UserError for a name that is none."""
        names = list(self.cases) if self.case_names == "all" else list(dict.fromkeys(self.case_names.split()))
        for name in names:
            if name not in self.cases:
                raise unknown("case", name, self.cases)
        return {name: self.cases[name] for name in names}

    def each(self) -> list[tuple[str, OneRun]]:
        """The case and the parameters of each run that is compared.

        Raises UserError where no case is tried on any of the attacks with any of the methods.
        """
        found = [
            (name, one.model_copy(update=dict(case.sets(one))))
            for attack in self.attack_names.split()
            for name, case in self.chosen_cases().items()
            for method in self.methods()
            if case.is_for(attack, method)
            for seed in self.seed_numbers()
            for one in (self.one(attack, seed, method),)
        ]
        if not found:
            names = f"case_names {shown(self.case_names)} are not for attack_names {shown(self.attack_names)}"
            raise UserError(f"{names}; name one of both that go together, or case_names all")
        return found

    def runs(self) -> list[OneRun]:
        """The parameters of each run that is compared."""
        return [one for _, one in self.each()]

    def first_runs(self) -> list[OneRun]:
        """The parameters of the runs of each attack, case and method with the first of the seeds."""
        return [one for one in self.runs() if one.seed == self.seed_numbers()[0]]


def varied(*names: str) -> tuple[str, ...]:
    """What `changes` may not set where a notebook varies these parameters."""
    return (*Comparison.chosen, *names)


class Gamma(Cases):
    """Those of the notebook about the threshold of local gradient ascent."""

    chosen: ClassVar = varied("gamma")
    cases: ClassVar = GAMMA
    varies: ClassVar = "gamma"


class PoisonRate(Cases):
    """Those of the notebook about how much of the set is poisoned."""

    chosen: ClassVar = varied("poison_rate")
    cases: ClassVar = POISON_RATE
    varies: ClassVar = "poisoned, of the training images"


class IsolationRate(Cases):
    """Those of the notebook about how many images are isolated."""

    chosen: ClassVar = varied("isolation_rate")
    cases: ClassVar = ISOLATION_RATE
    varies: ClassVar = "isolated, of the training images"


class TurningEpoch(Cases):
    """Those of the notebook about when images are isolated."""

    chosen: ClassVar = varied("isolation_epochs", "finetune_epochs", "finetune_drop_epoch")
    cases: ClassVar = TURNING_EPOCH
    varies: ClassVar = "turning epoch"


class Repairs(Cases):
    """Those of the notebook about what repairs are given."""

    chosen: ClassVar = varied("held_out")
    cases: ClassVar = REPAIR
    compared: ClassVar = ("fine_pruning", "mcr", "nad")


class Recipes(Cases):
    """Those of the notebook about what others train ABL with."""

    chosen: ClassVar = varied("poison_rate", *vars(RECIPES["paper"]))
    cases: ClassVar = RECIPE


class Adaptive(Cases):
    """Those of the notebook about attackers who know the defence."""

    cases: ClassVar = ADAPTIVE
