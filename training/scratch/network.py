"""A dense network in plain NumPy: forward, cross-entropy, backpropagation. Knows neither data sets nor ONNX.

Rows are float [n, features], targets int64 [n] class indices. What is computed has the weights' dtype.
Source: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors", Nature 323, 1986.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]
Classes = npt.NDArray[np.int64]

# Keeps the logarithm finite where a probability has underflowed to 0.
SMALLEST = 1e-7


@dataclass(frozen=True)
class Activation:
    """A function of weighted sums, and its slope as a function of its value."""

    value: Callable[[Numbers], Numbers]
    slope: Callable[[Numbers], Numbers]


def sigmoid(sums: Numbers) -> Numbers:
    """Squeeze into 0..1, by way of tanh: it does not overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * sums)), dtype=sums.dtype)


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(sigmoid, lambda value: value * (1 - value)),
    "tanh": Activation(np.tanh, lambda value: 1 - value**2),
    "relu": Activation(lambda sums: np.maximum(sums, 0), lambda value: (value > 0).astype(value.dtype)),
}


@dataclass(frozen=True)
class Layer:
    """Weights [inputs, units] and biases [units]. They are changed in place while the network learns."""

    weights: Numbers
    biases: Numbers


@dataclass(frozen=True)
class DenseNetwork:
    """Layers one after the other: `activation` between them, softmax behind the last."""

    layers: Sequence[Layer]
    activation: str

    def forward(self, rows: Numbers) -> list[Numbers]:
        """Give what goes into each layer, and at last the probabilities [n, classes]."""
        values = [rows]
        for layer in self.layers[:-1]:
            values.append(ACTIVATIONS[self.activation].value(values[-1] @ layer.weights + layer.biases))
        last = self.layers[-1]
        return [*values, softmax(values[-1] @ last.weights + last.biases)]

    def predict(self, rows: Numbers) -> Numbers:
        """Give a probability per class for each row."""
        return self.forward(rows)[-1]

    def loss(self, rows: Numbers, targets: Classes) -> float:
        """Measure the mean cross-entropy."""
        return cross_entropy(self.predict(rows), targets)

    def gradients(self, rows: Numbers, targets: Classes) -> list[Layer]:
        """Backpropagate the loss: its derivative by every weight and bias, in the shapes of the layers."""
        *values, probabilities = self.forward(rows)
        # Of softmax and cross-entropy together, by the weighted sums of the last layer.
        error = probabilities.copy()
        error[np.arange(len(targets)), targets] -= 1
        error /= len(targets)
        slope = ACTIVATIONS[self.activation].slope
        found: list[Layer] = []
        for index in reversed(range(len(self.layers))):
            found.insert(0, Layer(values[index].T @ error, error.sum(axis=0)))
            # Nothing lies before the first layer.
            if index > 0:
                error = (error @ self.layers[index].weights.T) * slope(values[index])
        return found

    def step(self, gradients: Sequence[Layer], rate: float) -> None:
        """Go down the slope, in place."""
        for layer, gradient in zip(self.layers, gradients, strict=True):
            layer.weights[...] -= rate * gradient.weights
            layer.biases[...] -= rate * gradient.biases

    def copy(self) -> list[Layer]:
        """Copy the layers as they are now."""
        return [Layer(layer.weights.copy(), layer.biases.copy()) for layer in self.layers]

    def restore(self, layers: Sequence[Layer]) -> None:
        """Take the numbers of a copy, in place."""
        for own, given in zip(self.layers, layers, strict=True):
            own.weights[...], own.biases[...] = given.weights, given.biases


def softmax(sums: Numbers) -> Numbers:
    """Turn each row into probabilities; the largest is taken off first, so that nothing overflows."""
    powers = np.exp(sums - sums.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=sums.dtype)


def cross_entropy(probabilities: Numbers, targets: Classes) -> float:
    """Measure the mean of -log of the right classes' probabilities."""
    right = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.maximum(right, SMALLEST)).mean())


def random_layers(sizes: Sequence[int], random: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> list[Layer]:
    """Draw weights for layers of these sizes, inputs first; biases are zero (X. Glorot, Y. Bengio, AISTATS 2010)."""
    layers = []
    for inputs, units in pairwise(sizes):
        limit = np.sqrt(6 / (inputs + units))
        weights = random.uniform(-limit, limit, (inputs, units)).astype(dtype)
        layers.append(Layer(weights, np.zeros(units, dtype=dtype)))
    return layers
