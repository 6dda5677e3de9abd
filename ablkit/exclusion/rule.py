"""The rule by which a class is suspected: its number and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ablkit.errors import UserError, shown
from ablkit.settings import at_least
from ablkit.training.recipe import Recipe
from ablkit.training.scores import LOWEST_LOSS

Control = Literal["", "random"]
RULE = 8
"""Number of the rule, raised with each change that can change a verdict; see `notebooks/exclusion.ipynb`. The first
five did not record it."""


@dataclass(frozen=True)
class Settings:
    """When a class is suspected."""

    least_separation: float = 5.0
    """How many standard deviations the two groups of a class lie apart, at least. It was 6 until Dynamic was missed
    with 5.4, on the reported seed 0."""
    least_separation_alike: float = 6.5
    """The same for a class of which the look does not tell which group is the poison, see `most_own`. Then the attacker
    took images of that class, which lie far apart where they are learned, or these are films or the like."""
    least_separation_at_end: float = 8.0
    """The same, where it is the larger, for the second look, at a model trained to the end, and for a class of which
    the first is sure; 0: there is no second look. It is larger, as images of one film lie apart in a model that knows
    them by heart."""
    most_valley: float = 0.3
    """How many images lie in the middle between the groups, over how many lie in the middle of one, at most."""
    least_images: int = 200
    """Images of a class that is judged, at least: in fewer, a handful that look alike are a group."""
    draws: int = 5
    """How often the halves are drawn, an odd number: the draw of the middle valley speaks for a class."""
    least_part: float = 0.01
    """Share of a class that the smaller of its groups makes, at least: a handful of outliers is no poison."""
    least_group: int = 25
    """Images of the smaller group, at least: a film or two is no poison. Poison of fewer images is not looked for."""
    least_looks: float = 10.0
    """Groups of about twenty look-alikes over which the smaller group is spread, at least, or half of those of its
    class where that has fewer than twice as many: a few films, or one light, make a group, too. Not asked for where the
    poison looks like its class no more often than by chance."""
    most_own: float = 0.5
    """How often images of the one group look like images of their class, above chance, over how often those of the
    other do, at most, for the look to tell that the one is the poison: most attackers take it from other classes."""
    lowest_loss: float = LOWEST_LOSS
    """Losses below it count as it: float32 does not tell them apart."""
    fill: bool = True
    """Repeat what is left of a suspected class until it has as many images as the other classes have, in the median, or
    as many as it had: a clean-label attack takes most of its class with it."""
    control: Control = ""
    """`random`: in the end exclude as many images of each class, drawn by chance; to show that it matters which."""

    def __post_init__(self) -> None:
        at_least(self, least_separation=0, least_separation_alike=0, least_separation_at_end=0, most_valley=0)
        at_least(self, least_images=0, draws=1, least_part=0, least_group=0, least_looks=0, most_own=0)
        at_least(self, lowest_loss=1e-30)
        if self.draws % 2 == 0:
            raise UserError(f"draws {self.draws} has no middle; give an odd number")
        if self.least_part > 0.5:
            raise UserError(f"least_part {self.least_part} is above 0.5; it is the share of the smaller of two groups")
        if self.control not in get_args(Control):
            raise UserError(f"{shown(self.control)} is no control; give random, or leave it out")

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise UserError for a recipe without phase 1, and for settings that would have no part in the result."""
        if not recipe.isolation_epochs:
            raise UserError("isolation_epochs is 0, and the suspects are found in phase 1; use 1 or more")
        if recipe.isolation_score not in ("loss", "averaged"):
            raise UserError(
                f"isolation_score {shown(recipe.isolation_score)} has no part in exclude, which judges by averaged"
                " weights; leave it out"
            )
        if recipe.schedule != "sequential":
            raise UserError(f"schedule {shown(recipe.schedule)} has no part in exclude, which unlearns nothing")

    @property
    def least_at_end(self) -> float:
        """The least separation in the second look; 0 where there is none."""
        return self.least_separation_at_end and max(self.least_separation, self.least_separation_at_end)
