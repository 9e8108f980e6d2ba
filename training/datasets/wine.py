"""Wine: 178 wines, float32 [n, 13] chemical measures, three growers; 20 % held out, stratified.

Source: S. Aeberhard, M. Forina, "Wine", UCI Machine Learning Repository, 1991.
"""

from __future__ import annotations

from training.datasets import scikit
from training.datasets.dataset import Dataset
from training.datasets.description import Description

DESCRIPTION = Description(
    name="wine",
    kind="features",
    task="classification",
    summary="178 wines of three growers, 13 chemical measures",
    license="CC BY 4.0, S. Aeberhard and M. Forina (UCI Machine Learning Repository)",
    source="scikit-learn: load_wine",
)


def load() -> Dataset:
    """Load the table from scikit-learn."""
    from sklearn.datasets import load_wine

    return scikit.table(DESCRIPTION, load_wine())
