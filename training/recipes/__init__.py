"""The recipes by name."""

from __future__ import annotations

from training.recipes import autoencoder, cnn, dnn, text, transfer
from training.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (dnn.RECIPE, cnn.RECIPE, autoencoder.RECIPE, text.RECIPE, transfer.RECIPE)
}
