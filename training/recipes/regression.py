"""Values in the data's own unit, fitted as numbers around zero: what every recipe for regression shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from model_store.manifest import OutputSpec
from training.datasets import Dataset, Rows
from training.datasets.dataset import Array, mean_and_deviation
from training.network import Graph, Network


def regression(inputs: Any, standardised: Any, dataset: Dataset, graph: Callable[[Any, OutputSpec], Graph]) -> Network:
    """Fit to targets of mean 0 and deviation 1; the published graph scales its answer back to the data's unit.

    `graph` makes what is published of a Keras model and its output.
    """
    import keras
    from keras import layers

    mean, deviation = (float(figure) for figure in mean_and_deviation(dataset.train.targets))
    value = OutputSpec(name="value", dtype="float32", shape=(None, 1), kind="value")
    main = graph(keras.Model(inputs, layers.Rescaling(deviation, offset=mean)(standardised)), value)

    def targets(rows: Rows) -> Array:
        return ((rows.targets.astype(np.float64) - mean) / deviation).astype(np.float32)

    return Network(
        task="regression",
        fitted=keras.Model(inputs, standardised),
        graphs=(main,),
        targets=targets,
        history_unit="in deviations of the target",
    )
