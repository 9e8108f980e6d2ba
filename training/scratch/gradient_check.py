"""Checks backpropagation against numerical differentiation: slow, and right by definition."""

from __future__ import annotations

import numpy as np

from training.scratch.network import Classes, DenseNetwork, Layer, Numbers


def numerical_gradients(network: DenseNetwork, rows: Numbers, targets: Classes, step: float = 1e-6) -> list[Layer]:
    """Differentiate the loss by every number of the network: central differences, two losses for each.

    The weights should be float64: in float32 the differences drown in rounding.
    """
    return [
        Layer(
            _differentiate(network, layer.weights, rows, targets, step),
            _differentiate(network, layer.biases, rows, targets, step),
        )
        for layer in network.layers
    ]


def largest_difference(network: DenseNetwork, rows: Numbers, targets: Classes) -> float:
    """Compare both ways: the largest absolute difference, which is about 1e-9 where backpropagation is right."""
    pairs = zip(network.gradients(rows, targets), numerical_gradients(network, rows, targets), strict=True)
    differences = [
        np.abs(difference).max()
        for exact, near in pairs
        for difference in (exact.weights - near.weights, exact.biases - near.biases)
    ]
    return float(max(differences))


def _differentiate(network: DenseNetwork, numbers: Numbers, rows: Numbers, targets: Classes, step: float) -> Numbers:
    """Nudge each number of an array up and down, and put it back."""
    slopes = np.zeros_like(numbers)
    for place in np.ndindex(numbers.shape):
        kept = numbers[place]
        numbers[place] = kept + step
        above = network.loss(rows, targets)
        numbers[place] = kept - step
        below = network.loss(rows, targets)
        numbers[place] = kept
        slopes[place] = (above - below) / (2 * step)
    return slopes
