"""Where rows are compared: among all their numbers, their principal components, or the codes of an encoder.

scikit-learn finds the components (K. Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space",
1901), Keras fits the encoder (G. Hinton, R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural
Networks", Science 313, 2006); Keras computes with each of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.network import Floats
from training.scaling import Scaling

if TYPE_CHECKING:
    import keras

BATCH = 1024


class Space(Protocol):
    """Raw pictures or features → points float32 [n, size]; `inputs` and `outputs` are Keras's symbolic tensors."""

    inputs: Any
    outputs: Any
    size: int

    def fit(self, inputs: Array, seed: int) -> Floats:
        """Find what Keras does not fit, by raw inputs, and return their points. May be called again with others."""

    def embed(self, inputs: Array) -> Floats:
        """Give the points of raw inputs."""


class Raw:
    """All numbers of a row, scaled alike."""

    def __init__(self, dataset: Dataset) -> None:
        self._scaling = Scaling.of(dataset)
        self.inputs = _inputs(dataset)
        self.outputs = self._scaling.in_keras(self.inputs)
        self.size = math.prod(dataset.train.inputs.shape[1:])

    def fit(self, inputs: Array, seed: int) -> Floats:  # noqa: ARG002 - there is nothing to find
        """Give the points."""
        return self.embed(inputs)

    def embed(self, inputs: Array) -> Floats:
        """Scale raw inputs: float32 [n, size]."""
        return self._scaling.numbers(inputs)


class PrincipalComponents:
    """At most `most` principal components; `reconstruction` makes the scaled `numbers` of them again."""

    def __init__(self, dataset: Dataset, most: int) -> None:
        import keras
        from keras import layers

        rows = dataset.train.inputs
        numbers = math.prod(rows.shape[1:])
        self.size = min(most, numbers, len(rows) - 1)
        self.scaling = Scaling.of(dataset)
        self.inputs = _inputs(dataset)
        self.numbers = self.scaling.in_keras(self.inputs)
        self._project, self._unfold = layers.Dense(self.size), layers.Dense(numbers)
        self.outputs = self._project(self.numbers)
        self.reconstruction = self._unfold(self.outputs)
        self._embed: keras.Model = keras.Model(self.inputs, self.outputs)
        self.explained: Floats = np.zeros(self.size, np.float32)

    def fit(self, inputs: Array, seed: int) -> Floats:
        """Find the components of raw inputs, keep which share of the variance each explains, and project the inputs."""
        from sklearn.decomposition import PCA

        numbers = self.scaling.numbers(inputs)
        found = PCA(min(self.size, len(inputs)), random_state=seed).fit(numbers)
        directions = np.zeros((self.size, numbers.shape[1]))
        directions[: len(found.components_)] = found.components_
        self._project.set_weights([directions.T, -directions @ found.mean_])
        self._unfold.set_weights([directions, found.mean_])
        self.explained = found.explained_variance_ratio_.astype(np.float32)
        return self.embed(inputs)

    def embed(self, inputs: Array) -> Floats:
        """Project raw inputs: float32 [n, size]."""
        return _predicted(self._embed, inputs)


class Encoder:
    """Codes of at most `most` numbers: the first half of a dense autoencoder, `fitted`, which Keras fits to `targets`.

    `reconstruction` is what the second half makes of the codes: the scaled `numbers` again.
    """

    def __init__(self, dataset: Dataset, most: int, hidden: tuple[int, ...]) -> None:
        import keras
        from keras import layers

        numbers = math.prod(dataset.train.inputs.shape[1:])
        self.size = min(most, numbers)
        self.scaling = Scaling.of(dataset)
        self.inputs = _inputs(dataset)
        self.numbers = x = self.scaling.in_keras(self.inputs)
        for units in hidden:
            x = layers.Dense(units, activation="relu")(x)
        self.outputs = x = layers.Dense(self.size, dtype="float32")(x)
        for units in reversed(hidden):
            x = layers.Dense(units, activation="relu")(x)
        self.reconstruction = layers.Dense(numbers, dtype="float32")(x)
        self.fitted: keras.Model = keras.Model(self.inputs, self.reconstruction)
        self._embed: keras.Model = keras.Model(self.inputs, self.outputs)

    def targets(self, rows: Rows) -> Floats:
        """Give what the autoencoder shall make of rows: their scaled numbers."""
        return self.scaling.numbers(rows.inputs)

    def fit(self, inputs: Array, seed: int) -> Floats:  # noqa: ARG002 - Keras has fitted it
        """Give the points."""
        return self.embed(inputs)

    def embed(self, inputs: Array) -> Floats:
        """Encode raw inputs: float32 [n, size]."""
        return _predicted(self._embed, inputs)

    def error(self, inputs: Array) -> float:
        """Measure the mean squared error of reconstructed raw inputs, in the scaled numbers."""
        error = _predicted(self.fitted, inputs) - self.scaling.numbers(inputs)
        return float(np.mean(error.astype(np.float64) ** 2))


def _inputs(dataset: Dataset) -> Any:
    import keras

    rows = dataset.train.inputs
    return keras.Input(rows.shape[1:], dtype=rows.dtype.name)


def _predicted(model: keras.Model, inputs: Array) -> Floats:
    return np.asarray(model.predict(inputs, batch_size=BATCH, verbose=0))
