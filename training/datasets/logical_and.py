"""And: a table that a single perceptron learns."""

from __future__ import annotations

import numpy as np

from training.datasets import logic
from training.datasets.dataset import Dataset

DESCRIPTION = logic.description("and", "1 where both inputs are 1")


def load() -> Dataset:
    """Make the points."""
    return logic.table(DESCRIPTION, np.logical_and)
