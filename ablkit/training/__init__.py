"""The two-phase training: isolate what is learned too fast, fine-tune on the rest, unlearn what was isolated."""

from ablkit.training.abl import Trained, train
from ablkit.training.inference import per_example_losses, predict
from ablkit.training.isolation import isolate
from ablkit.training.recipe import RECIPES, Recipe, recipe
from ablkit.training.side_by_side import side_by_side

__all__ = [
    "RECIPES",
    "Recipe",
    "Trained",
    "isolate",
    "per_example_losses",
    "predict",
    "recipe",
    "side_by_side",
    "train",
]
