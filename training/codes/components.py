"""Principal components as a dense layer: scikit-learn finds them, Keras computes with them.

Source: K. Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space", 1901.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from training.datasets import Dataset
from training.datasets.dataset import Array
from training.network import Floats

if TYPE_CHECKING:
    import keras

BATCH = 1024


class PrincipalComponents:
    """Raw pictures or features → at most `most` principal components. `fit` may be called again with other rows."""

    def __init__(self, dataset: Dataset, most: int) -> None:
        import keras
        from keras import layers

        rows = dataset.train.inputs
        self.size = min(most, math.prod(rows.shape[1:]), len(rows) - 1)
        self.inputs = keras.Input(rows.shape[1:], dtype=rows.dtype.name)
        numbers = _standardised(self.inputs, dataset)
        self._standardise: keras.Model = keras.Model(self.inputs, numbers)
        self._project = layers.Dense(self.size)
        self.outputs = self._project(numbers)
        self._embed: keras.Model = keras.Model(self.inputs, self.outputs)
        self.explained: Floats = np.zeros(self.size, np.float32)

    def fit(self, inputs: Array, seed: int) -> Floats:
        """Find the components of raw inputs, keep which share of the variance each explains, and project the inputs."""
        from sklearn.decomposition import PCA

        numbers = self._standardise.predict(inputs, batch_size=BATCH, verbose=0)
        found = PCA(min(self.size, len(inputs)), random_state=seed).fit(numbers)
        directions = np.zeros((self.size, numbers.shape[1]))
        directions[: len(found.components_)] = found.components_
        self._project.set_weights([directions.T, -directions @ found.mean_])
        self.explained = found.explained_variance_ratio_.astype(np.float32)
        return self.embed(inputs)

    def embed(self, inputs: Array) -> Floats:
        """Project raw inputs: float32 [n, size]."""
        return np.asarray(self._embed.predict(inputs, batch_size=BATCH, verbose=0))


def _standardised(inputs: Any, dataset: Dataset) -> Any:
    """Scale pixels to 0..1 and flatten them; bring each column of a table to a mean of 0 and a deviation of 1."""
    from keras import layers

    if dataset.kind == "image":
        return layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    numbers = dataset.train.inputs.astype(np.float64)
    deviation = numbers.std(axis=0)
    # Shifted first and scaled afterwards: a mean far larger than the deviation would cancel badly the other way.
    shifted = layers.Rescaling(1.0, offset=(-numbers.mean(axis=0)).tolist())(inputs)
    return layers.Rescaling((1 / np.where(deviation > 0, deviation, 1.0)).tolist())(shifted)
