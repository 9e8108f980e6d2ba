"""Diabetes: 442 patients, float32 [n, 10] measures in their own units → disease progression after a year (25..346).

20 % held out. Source: B. Efron, T. Hastie, I. Johnstone, R. Tibshirani, "Least Angle Regression", Annals of
Statistics 32, 2004.
"""

from __future__ import annotations

from training.datasets import scikit
from training.datasets.dataset import Dataset
from training.datasets.description import Description

DESCRIPTION = Description(
    name="diabetes",
    kind="features",
    task="regression",
    summary="442 patients, 10 measures → progression after a year",
    license="none stated; B. Efron, T. Hastie, I. Johnstone, R. Tibshirani",
    source="scikit-learn: load_diabetes",
)


def load() -> Dataset:
    """Load the table from scikit-learn."""
    from sklearn.datasets import load_diabetes

    return scikit.table(DESCRIPTION, load_diabetes(scaled=False))
