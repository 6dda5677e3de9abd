"""The parameters of your_data.ipynb: a training on data of unknown trust, to which no attack is added."""

from __future__ import annotations

import math
from dataclasses import replace

from ablkit import settings
from ablkit.exclusion.rule import Settings
from ablkit.runs.parameters.one_run import Parameters, made
from ablkit.training.recipe import RECIPES, Recipe

_RECIPE = ("model", "normalise", "batch_size", "isolation_epochs", "finetune_epochs", "finetune_drop_epoch")
_RECIPE += ("isolation_learning_rate", "finetune_learning_rate", "crop", "crop_area", "crop_padding", "flip")
_RECIPE += ("cutout_length",)
"""What of the recipe is left to people."""
_EPOCHS = ("isolation_epochs", "finetune_epochs", "finetune_drop_epoch")


class YourData(Parameters):
    """Those of the notebook about data of unknown trust."""

    def drawing(self) -> dict:
        """The arguments of `data.load` among the parameters, without the seed."""
        return {"train_size": self.train_size}

    def modules(self) -> tuple[str, ...]:
        """The page is what is handed on here: other words of a verdict are another run."""
        return ("ablkit.report.your_data",)

    def settings_by_owner(self) -> dict[str, tuple[str, type]]:
        """Those of the suspicion."""
        return {"suspicion_settings": ("suspicion", Settings)}

    def recipe(self, images: int) -> Recipe:
        """The training of so many images: the epochs of all stages grow alike until phase 1 takes `least_steps`.

        One image is isolated at least, which changes nothing: the isolated have no part in this training.
        """
        own = Recipe(**{name: getattr(self, name) for name in _RECIPE})
        steps = max(1, own.isolation_epochs * -(-images // own.batch_size))
        times = max(1.0, self.least_steps / steps)
        rate = max(own.isolation_rate, (1 + 1e-9) / max(2, images))
        return replace(own, isolation_rate=rate, **{name: math.ceil(times * getattr(own, name)) for name in _EPOCHS})

    def suspicion(self) -> Settings:
        """When a class is suspected."""
        return settings.make("suspicion", Settings, settings.parse(self.suspicion_settings, "suspicion_settings"))


YOUR_DATA: type[YourData] = made(
    YourData,
    seed=0,
    train_size=0,
    least_steps=940,
    suspicion_settings="",
    undefended=False,
    **{name: getattr(RECIPES["quick"], name) for name in _RECIPE},
)
