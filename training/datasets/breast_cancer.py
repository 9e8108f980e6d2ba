"""Breast cancer Wisconsin (diagnostic): 569 tumours, float32 [n, 30] measures of cell nuclei, malignant or benign.

20 % held out, stratified. Source: W. Wolberg, O. Mangasarian, N. Street, W. Street, "Breast Cancer Wisconsin
(Diagnostic)", UCI Machine Learning Repository, 1993.
"""

from __future__ import annotations

from training.datasets import scikit
from training.datasets.dataset import Dataset
from training.datasets.description import Description

DESCRIPTION = Description(
    name="breast-cancer",
    kind="features",
    task="classification",
    summary="569 tumours, malignant or benign, 30 measures",
    license="CC BY 4.0, W. Wolberg and others (UCI Machine Learning Repository)",
    source="scikit-learn: load_breast_cancer",
)


def load() -> Dataset:
    """Load the table from scikit-learn."""
    from sklearn.datasets import load_breast_cancer

    return scikit.table(DESCRIPTION, load_breast_cancer())
