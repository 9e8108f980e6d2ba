"""The layers that Keras lacks for codes. What sets their weights is told elsewhere. Imports Keras: import it late."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# A gap between equal knots: narrower than float32 can tell scores apart, so that the share falls in one step.
LEAST_GAP = 1e-12


class Sampling(keras.layers.Layer):  # type: ignore[misc]
    """(means, logarithms of variances), each [n, code] → codes [n, code], drawn anew in each step of the fit.

    Outside of a fit the means themselves. Adds `weight` x the divergence from N(0, I) to the loss.
    Source: D. Kingma, M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.chance = keras.random.SeedGenerator()

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Draw the codes by the reparametrisation of the paper."""
        mean, log_variance = inputs
        divergence = ops.sum(ops.exp(log_variance) + ops.square(mean) - 1 - log_variance, axis=1) / 2
        self.add_loss(self.weight * ops.mean(divergence))
        if not training:
            return mean
        return mean + ops.exp(log_variance / 2) * keras.random.normal(ops.shape(mean), seed=self.chance)


class AnomalyTest(keras.layers.Layer):  # type: ignore[misc]
    """Scores float32 [n] → (p-values float32 [n], whether the score reaches the threshold, bool [n]).

    The p-value falls from knot to knot along straight lines: `knots` ascend, `shares` are the p-values there.
    """

    def __init__(self, knots: int) -> None:
        super().__init__()
        self.knots = self.add_weight(shape=(knots,), initializer="zeros", trainable=False, name="knots")
        self.shares = self.add_weight(shape=(knots,), initializer="zeros", trainable=False, name="shares")
        self.threshold = self.add_weight(shape=(), initializer="zeros", trainable=False, name="threshold")

    def call(self, scores: Any) -> tuple[Any, Any]:
        """Add up the falls of the segments above each score: from the small end, so that small p-values stay exact."""
        gaps = ops.maximum(self.knots[1:] - self.knots[:-1], LEAST_GAP)
        above = ops.clip((self.knots[1:] - ops.expand_dims(scores, 1)) / gaps, 0, 1)
        p_values = self.shares[-1] + ops.sum(above * (self.shares[:-1] - self.shares[1:]), axis=1)
        return p_values, scores >= self.threshold


class Distances(keras.layers.Layer):  # type: ignore[misc]
    """Points float32 [n, d] → their Euclidean distances to `count` centres, float32 [n, count]."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def build(self, shape: Any) -> None:
        """Make room for the centres."""
        self.centres = self.add_weight(
            shape=(self.count, shape[-1]), initializer="zeros", trainable=False, name="centres"
        )

    def call(self, points: Any) -> Any:
        """Subtract first: |x|² - 2xc + |c|² would cancel near a centre."""
        return ops.sqrt(ops.sum(ops.square(ops.expand_dims(points, 1) - self.centres), axis=2))
