"""The single perceptron: one layer of weights, and no more than a straight border between two classes.

With the step activation it learns by Rosenblatt's rule, with the softmax by cross-entropy, with any other activation
by the delta rule: the squared error of the unit's output (B. Widrow, M. Hoff, "Adaptive switching circuits", 1960).
Two classes need one unit; more, and the softmax, have one per class. What it cannot learn is in the data set `xor`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.evidence.exhibit import Evaluation, Exhibit
from training.exporting.keras_graph import keras_graph
from training.network import Graph, History, Network, probabilities, raw_input
from training.options import FIT_OPTIONS, FitOptions
from training.parameters import Parameters, parameter
from training.recipes.recipe import Recipe
from training.scaling import Scaling

ACTIVATIONS = ("step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softmax")
# Rosenblatt's rule knows neither a loss nor a batch.
HEEDED_BY_STEP = frozenset({"epochs", "learning_rate", "patience", "validation_split", "seed"})
# What a unit gives for "no"; for "yes" it gives 1.
LOWEST = {"tanh": -1.0}
# So that the shares of units that are all silent are equal, and not 0 / 0.
SILENCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class PerceptronParameters(Parameters):
    """The one layer."""

    activation: str = parameter(
        "step",
        "what a unit makes of its weighted sum; step: Rosenblatt's rule, no optimizer",
        choices=ACTIVATIONS,
        searched=False,  # each kind has a loss of its own
    )


def build(parameters: PerceptronParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures or features in, probabilities out; those of the step are 0 or 1."""
    import keras
    from keras import layers

    assert dataset.labels is not None
    rows = dataset.train.inputs
    inputs = keras.Input(rows.shape[1:], dtype=rows.dtype.name)
    scaled = Scaling.of(dataset).in_keras(inputs)
    units = 1 if len(dataset.labels) == 2 and parameters.activation != "softmax" else len(dataset.labels)
    # Half-way between "no" and "yes": no relu begins silent, where it would have no slope to learn by.
    layer = layers.Dense(units, bias_initializer=keras.initializers.Constant(0.5))
    sums = layer(scaled)
    if parameters.activation == "softmax":
        return _by_cross_entropy(keras.Model(inputs, layers.Softmax()(sums)), dataset)
    if parameters.activation == "step":
        return _by_rosenblatt(inputs, scaled, sums, layer, dataset)
    return _by_delta_rule(inputs, layers.Activation(parameters.activation)(sums), parameters.activation, dataset)


def _by_cross_entropy(model: Any, dataset: Dataset) -> Network:
    graph = _graph(model, dataset)
    return Network(task="classification", fitted=model, graphs=(graph,), exhibits=_exhibits(graph))


def _by_rosenblatt(inputs: Any, scaled: Any, sums: Any, layer: Any, dataset: Dataset) -> Network:
    """Learn without a slope. Of several units the strongest fires: the one that no other exceeds."""
    import keras
    from keras import ops

    from training.perceptrons.rosenblatt import Perceptron, learn
    from training.perceptrons.step import Step

    encoder = keras.Model(inputs, scaled)
    if layer.units == 1:
        fired = Step()(sums)
        answer = ops.concatenate([1 - fired, fired], axis=1)
    else:
        fired = Step()(sums - ops.max(sums, axis=1, keepdims=True))
        answer = fired / ops.sum(fired, axis=1, keepdims=True)
    perceptron = Perceptron(features=scaled.shape[-1], units=layer.units)

    def encode(rows: Rows) -> tuple[Any, Any]:
        return encoder.predict(rows.inputs, verbose=0), rows.targets

    def fit(kept: Rows, held: Rows, options: FitOptions) -> History:
        history = learn(perceptron, encode(kept), encode(held), options)
        layer.set_weights([perceptron.kernel, perceptron.bias])
        return history

    graph = _graph(keras.Model(inputs, answer), dataset)
    return Network(
        task="classification",
        graphs=(graph,),
        learn=fit,
        exhibits=_exhibits(graph),
        history_unit="share of wrong answers",
    )


def _by_delta_rule(inputs: Any, outputs: Any, activation: str, dataset: Dataset) -> Network:
    """Fit the units' outputs to "no" or "yes"; the published graph makes probabilities of them."""
    import keras
    from keras import ops

    lowest = LOWEST.get(activation, 0.0)
    # A unit without bounds is cut: more than "yes" is "yes".
    certainty = ops.clip((outputs - lowest) / (1 - lowest), 0.0, 1.0)
    answer = ops.concatenate([1 - certainty, certainty], axis=1)
    if outputs.shape[-1] > 1:
        positive = ops.relu(outputs - lowest) + SILENCE
        answer = positive / ops.sum(positive, axis=1, keepdims=True)
    units = outputs.shape[-1]

    def targets(rows: Rows) -> Array:
        chosen = rows.targets[:, np.newaxis] == (np.arange(units) if units > 1 else 1)
        return np.where(chosen, 1.0, lowest).astype(np.float32)

    graph = _graph(keras.Model(inputs, answer), dataset)
    return Network(
        task="classification",
        fitted=keras.Model(inputs, outputs),
        graphs=(graph,),
        targets=targets,
        loss="mean_squared_error",
        exhibits=_exhibits(graph),
    )


def _graph(model: Any, dataset: Dataset) -> Graph:
    return keras_graph(model, raw_input(dataset), probabilities(dataset))


def _exhibits(graph: Graph) -> Any:
    def show(dataset: Dataset, _: Evaluation) -> Sequence[Exhibit]:
        from training.perceptrons.decision_regions import decision_regions

        return decision_regions(graph.predict_first, dataset)

    return show


def heeds(parameters: PerceptronParameters) -> Collection[str]:
    """Tell which options of the fit mean something."""
    return HEEDED_BY_STEP if parameters.activation == "step" else FIT_OPTIONS


RECIPE = Recipe(
    name="perceptron",
    summary="one layer of weights, by Rosenblatt's rule or by gradient: a straight border, so not for xor",
    parameters=PerceptronParameters(),
    fit=FitOptions(epochs=100, learning_rate=0.1, patience=20),
    default_dataset="xor",
    learns={"image": ("classification",), "features": ("classification",)},
    build=build,
    heeds=heeds,
)
