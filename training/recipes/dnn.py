"""Dense layers on pictures and tables: classes, or a value in the data's own unit.

The classics are parameter sets of it: Flatten-128-Dropout-10 is the default; 784-100-32-10 is hidden=100,32
dropout=0 on mnist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from training.datasets import Dataset
from training.exporting.keras_graph import classifier, keras_graph
from training.network import Network, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.cnn import BATCH_NORMALIZATION_MOMENTUM
from training.recipes.recipe import Recipe
from training.recipes.regression import regression
from training.scaling import Scaling

ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "swish",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
)


@dataclass(frozen=True, kw_only=True)
class DenseParameters(Parameters):
    """The layers of a dense network."""

    hidden: tuple[int, ...] = parameter(
        (128,), "units of each hidden layer; nothing: no hidden layer", at_least=1, at_most=16_384, may_be_empty=True
    )
    activation: str = parameter("relu", "activation of the hidden layers", choices=ACTIVATIONS)
    batch_normalization: bool = parameter(False, "normalise before each activation")
    dropout: float = parameter(0.2, "share of the units that is dropped while fitting", at_least=0, below=1)


def build(parameters: DenseParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures or features in, probabilities or a value out."""
    import keras
    from keras import layers

    rows = dataset.train.inputs
    inputs = keras.Input(rows.shape[1:], dtype=rows.dtype.name)
    x = Scaling.of(dataset).in_keras(inputs)
    x = hidden_layers(
        x,
        parameters.hidden,
        activation=parameters.activation,
        batch_normalization=parameters.batch_normalization,
        dropout=parameters.dropout,
    )
    if dataset.labels is None:
        return regression(
            inputs, layers.Dense(1)(x), dataset, lambda model, value: keras_graph(model, raw_input(dataset), value)
        )
    outputs = layers.Dense(len(dataset.labels), activation="softmax")(x)
    return classifier(keras.Model(inputs, outputs), dataset)


def hidden_layers(x: Any, hidden: Sequence[int], *, activation: str, batch_normalization: bool, dropout: float) -> Any:
    """Stack dense layers on features [n, c]: each normalised if asked, activated, and partly dropped while fitting."""
    from keras import layers

    for units in hidden:
        x = layers.Dense(units, use_bias=not batch_normalization)(x)
        if batch_normalization:
            x = layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(x)
        x = layers.Activation(exportable(activation))(x)
        x = layers.Dropout(dropout)(x)
    return x


def exportable(activation: str) -> str | Callable[[Any], Any]:
    """Return an activation that ONNX can express: of gelu, the approximation by tanh."""
    import keras

    return partial(keras.ops.gelu, approximate=True) if activation == "gelu" else activation


RECIPE = Recipe(
    name="dnn",
    summary="dense layers with dropout, on pictures or tables: classes or a value",
    parameters=DenseParameters(),
    fit=FitOptions(),
    default_dataset="digits",
    learns={"image": ("classification",), "features": ("classification", "regression")},
    build=build,
)
