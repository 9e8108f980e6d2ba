"""Reads the data sets that come inside scikit-learn: no file, no network."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.datasets.dataset import Dataset, Rows, digest, held_out
from training.datasets.description import Description


def table(description: Description, bunch: Any) -> Dataset:
    """Make a data set of features: float32 [n, columns] → class index or value."""
    is_classification = description.task == "classification"
    features = np.asarray(bunch.data, dtype=np.float32)
    targets = np.asarray(bunch.target, dtype=np.int64 if is_classification else np.float32)
    train, test = held_out(Rows(features, targets), stratified=is_classification)
    return description.dataset(
        train,
        test,
        labels=tuple(map(str, bunch.target_names)) if is_classification else None,
        columns=tuple(map(str, bunch.feature_names)),
        sha256=digest(features, targets),
    )
