"""The multilayer perceptron: hidden layers of units between inputs and answer, fitted by backpropagation.

What one perceptron cannot, two layers can: the default solves `xor` (D. Rumelhart, G. Hinton, R. Williams,
"Learning representations by back-propagating errors", Nature 323, 1986).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from training.datasets import Dataset
from training.evidence.exhibit import Evaluation, Exhibit
from training.exporting.keras_graph import classifier
from training.network import Network
from training.options import FitOptions
from training.parameters import Parameters, parameter
from training.recipes.perceptron import ACTIVATIONS
from training.recipes.recipe import Recipe
from training.scaling import Scaling


@dataclass(frozen=True, kw_only=True)
class MultilayerParameters(Parameters):
    """The hidden layers."""

    hidden: tuple[int, ...] = parameter((8,), "units of each hidden layer", at_least=1, at_most=16_384)
    activation: str = parameter("tanh", "what a hidden unit makes of its weighted sum", choices=ACTIVATIONS)


def build(parameters: MultilayerParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures or features in, probabilities out."""
    import keras
    from keras import layers

    from training.perceptrons.step import Step

    assert dataset.labels is not None
    rows = dataset.train.inputs
    inputs = keras.Input(rows.shape[1:], dtype=rows.dtype.name)
    x = Scaling.of(dataset).in_keras(inputs)
    for units in parameters.hidden:
        x = layers.Dense(units)(x)
        x = Step()(x) if parameters.activation == "step" else layers.Activation(parameters.activation)(x)
    outputs = layers.Dense(len(dataset.labels), activation="softmax")(x)
    network = classifier(keras.Model(inputs, outputs), dataset)

    def exhibits(dataset: Dataset, _: Evaluation) -> Sequence[Exhibit]:
        from training.perceptrons.decision_regions import decision_regions

        return decision_regions(network.main.predict_first, dataset)

    return dataclasses.replace(network, exhibits=exhibits)


RECIPE = Recipe(
    name="mlp",
    summary="a multilayer perceptron with any of the classic activations: solves xor",
    parameters=MultilayerParameters(),
    fit=FitOptions(epochs=60, batch_size=16, learning_rate=0.05, patience=20),
    default_dataset="xor",
    learns={"image": ("classification",), "features": ("classification",)},
    build=build,
)
