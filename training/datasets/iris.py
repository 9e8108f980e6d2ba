"""Iris: 150 flowers, float32 [n, 4] lengths and widths in cm, three species; 20 % held out, stratified.

Source: R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7, 1936.
"""

from __future__ import annotations

from training.datasets import scikit
from training.datasets.dataset import Dataset
from training.datasets.description import Description

DESCRIPTION = Description(
    name="iris",
    kind="features",
    task="classification",
    summary="150 flowers of three species, 4 measures in cm",
    license="CC BY 4.0, R. A. Fisher (UCI Machine Learning Repository)",
    source="scikit-learn: load_iris",
)


def load() -> Dataset:
    """Load the table from scikit-learn."""
    from sklearn.datasets import load_iris

    return scikit.table(DESCRIPTION, load_iris())
