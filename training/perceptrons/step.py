"""The step activation as a Keras layer: 1 where the weighted sum is at least 0, else 0. Knows no recipe.

Importing this module imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class Step(keras.layers.Layer):  # type: ignore[misc]  # Keras has no annotations
    """Fires or not; the published graph computes just that, exactly.

    A step has no slope to learn by, so while fitting the sigmoid's stands in for it: the straight-through estimator
    (Y. Bengio, N. Léonard, A. Courville, arXiv:1308.3432).
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return float32 0 or 1 for each weighted sum."""
        fired = ops.cast(ops.greater_equal(inputs, 0), "float32")
        if not training:
            return fired
        smooth = ops.sigmoid(inputs)
        return smooth + ops.stop_gradient(fired - smooth)
