"""Or: a table that a single perceptron learns."""

from __future__ import annotations

import numpy as np

from training.datasets import logic
from training.datasets.dataset import Dataset

DESCRIPTION = logic.description("or", "1 where an input is 1")


def load() -> Dataset:
    """Make the points."""
    return logic.table(DESCRIPTION, np.logical_or)
