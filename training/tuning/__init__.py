"""The search for good parameters of a recipe, trial by trial."""
