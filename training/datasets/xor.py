"""Exclusive or, the table that no single perceptron learns (M. Minsky, S. Papert, "Perceptrons", 1969)."""

from __future__ import annotations

import numpy as np

from training.datasets import logic
from training.datasets.dataset import Dataset

DESCRIPTION = logic.description("xor", "1 where the two inputs differ")


def load() -> Dataset:
    """Make the points."""
    return logic.table(DESCRIPTION, np.logical_xor)
