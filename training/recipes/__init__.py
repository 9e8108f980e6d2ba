"""The recipes by name."""

from __future__ import annotations

from training.recipes import (
    autoencoder,
    cluster,
    cnn,
    detector,
    dnn,
    embed,
    mlp,
    perceptron,
    scratch,
    tabular,
    text,
    transfer,
)
from training.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe", "owners_of"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        dnn.RECIPE,
        tabular.RECIPE,
        cnn.RECIPE,
        transfer.RECIPE,
        detector.RECIPE,
        autoencoder.RECIPE,
        text.RECIPE,
        perceptron.RECIPE,
        mlp.RECIPE,
        scratch.RECIPE,
        cluster.RECIPE,
        embed.RECIPE,
    )
}


def owners_of(parameter: str) -> list[str]:
    """Name the recipes that have a parameter of this name."""
    return [recipe.name for recipe in RECIPES.values() if parameter in recipe.parameters.as_json()]
