"""The two-phase training: isolate what is learned too fast, fine-tune on the rest, unlearn what was isolated."""

from ablkit.training.abl import Trained, train
from ablkit.training.inference import per_example_losses, predict
from ablkit.training.isolation import isolate
from ablkit.training.kept import Store
from ablkit.training.recipe import RECIPES, Recipe, recipe
from ablkit.training.retraining import retrain

__all__ = [
    "RECIPES",
    "Recipe",
    "Store",
    "Trained",
    "isolate",
    "per_example_losses",
    "predict",
    "recipe",
    "retrain",
    "train",
]
