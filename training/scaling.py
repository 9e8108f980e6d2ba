"""Raw pictures or rows → numbers of like size: by NumPy for what is found beside Keras, by Keras for its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.datasets import Dataset
from training.datasets.dataset import Array, mean_and_deviation
from training.network import Floats

BRIGHTEST = 255


@dataclass(frozen=True)
class Scaling:
    """Pixels to 0..1, flattened; or each column of a table to a mean of 0 and a deviation of 1.

    `mean` and `deviation`, float64 [columns], are those of the training rows; pictures need neither.
    """

    mean: npt.NDArray[np.float64] | None = None
    deviation: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Scaling:
        """Choose by the training rows."""
        if dataset.kind == "image":
            return cls()
        return cls(*mean_and_deviation(dataset.train.inputs))

    def numbers(self, inputs: Array) -> Floats:
        """Scale raw inputs: float32 [n, numbers]."""
        if self.mean is None or self.deviation is None:
            return inputs.astype(np.float32).reshape(len(inputs), -1) / np.float32(BRIGHTEST)
        scaled: Floats = ((inputs.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        return scaled

    def in_keras(self, inputs: Any) -> Any:
        """Do the same to a symbolic tensor; in float32 even where the rest of a fit is in fewer bits."""
        from keras import layers

        if self.mean is None or self.deviation is None:
            return layers.Flatten()(layers.Rescaling(1 / BRIGHTEST, dtype="float32")(inputs))
        # Shifted first and scaled afterwards: a mean far larger than the deviation would cancel badly the other way.
        shifted = layers.Rescaling(1.0, offset=(-self.mean).tolist(), dtype="float32")(inputs)
        return layers.Rescaling((1 / self.deviation).tolist(), dtype="float32")(shifted)
