"""The network that courses write in plain NumPy, with no Keras and no TensorFlow at all.

It learns by mini-batch gradient descent, or takes weights that somebody has saved: either way it is written as
ONNX by hand, verified and published like any other model.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from training.datasets import Dataset, Rows
from training.datasets.dataset import mean_and_deviation
from training.errors import InvalidParameter
from training.network import Graph, History, Network, probabilities, raw_input
from training.options import FitOptions
from training.parameters import Parameters, parameter, written
from training.recipes.recipe import Recipe
from training.scratch.descent import Learned, descend
from training.scratch.network import ACTIVATIONS, DenseNetwork, Layer, random_layers
from training.scratch.onnx_graph import NumpyComputation, Scaling
from training.scratch.saved_weights import read_layers

HEEDED = frozenset({"epochs", "batch_size", "optimizer", "learning_rate", "patience", "validation_split", "seed"})


@dataclass(frozen=True, kw_only=True)
class ScratchParameters(Parameters):
    """The layers, or where they are saved."""

    hidden: tuple[int, ...] = parameter((50,), "units of each hidden layer", at_least=1, at_most=16_384)
    activation: str = parameter("sigmoid", "activation of the hidden layers", choices=tuple(ACTIVATIONS))
    weights: str = parameter(
        "", "an .npz or a pickle with W1, b1, W2, b2, …: taken as they are instead of hidden, and nothing is fitted"
    )
    scale: bool = parameter(True, "pixels to 0..1, a table's columns to mean 0 and deviation 1; false: taken as sent")

    def __post_init__(self) -> None:
        """Refuse layers beside weights, which bring their own."""
        super().__post_init__()
        if self.weights and self.hidden != type(self).hidden:
            raise InvalidParameter(
                "hidden", written(self.hidden), expected="none beside weights, which bring their own"
            )


def heeds(parameters: ScratchParameters) -> frozenset[str]:
    """Name the options that mean something: none where the weights are given."""
    return frozenset() if parameters.weights else HEEDED


def build(parameters: ScratchParameters, dataset: Dataset) -> Network:
    """Build the network: raw pictures or features in, probabilities out.

    Raises:
        UnusableData: the weights cannot be read.
        InvalidParameter: they do not fit the data set.
    """
    assert dataset.labels is not None
    rows = dataset.train.inputs
    sizes = (prod(rows.shape[1:]), *parameters.hidden, len(dataset.labels))
    layers = random_layers(sizes, np.random.default_rng(0))
    if parameters.weights:
        layers = _saved_layers(parameters.weights, sizes[0], sizes[-1])
    network = DenseNetwork(layers, parameters.activation)
    scaling = _scaling(dataset, wanted=parameters.scale)
    computation = NumpyComputation(network, scaling, rows.shape[1:], rows.dtype)
    graph = Graph(inputs=(raw_input(dataset),), outputs=(probabilities(dataset),), computation=computation)

    def learned(part: Rows) -> Learned:
        return scaling(part.inputs), part.targets.astype(np.int64)

    def learn(kept: Rows, held: Rows, options: FitOptions) -> History:
        if parameters.weights:
            return {}
        if options.optimizer != "sgd":
            raise InvalidParameter("optimizer", options.optimizer, expected="sgd, the only one that this recipe writes")
        network.restore(random_layers(sizes, np.random.default_rng(options.seed)))
        return descend(network, learned(kept), learned(held), options)

    return Network(task="classification", graphs=(graph,), learn=learn)


def _saved_layers(place: str, features: int, classes: int) -> list[Layer]:
    layers = read_layers(Path(place).expanduser())
    received = len(layers[0].weights), len(layers[-1].biases)
    if received != (features, classes):
        raise InvalidParameter(
            "weights",
            place,
            expected=f"{features} inputs and {classes} classes, as the data has; these take {received[0]} inputs "
            f"and tell {received[1]} classes apart: name other data with --data",
        )
    return layers


def _scaling(dataset: Dataset, *, wanted: bool) -> Scaling:
    if not wanted:
        return Scaling(np.zeros(1, dtype=np.float32), np.ones(1, dtype=np.float32))
    if dataset.kind == "image":
        return Scaling(np.zeros(1, dtype=np.float32), np.full(1, 255, dtype=np.float32))
    mean, deviation = mean_and_deviation(dataset.train.inputs)
    return Scaling(mean.astype(np.float32), deviation.astype(np.float32))


RECIPE = Recipe(
    name="scratch",
    summary="the network that courses write in plain NumPy, or weights that were saved from one; no Keras",
    parameters=ScratchParameters(),
    fit=FitOptions(epochs=50, optimizer="sgd", learning_rate=0.1),
    default_dataset="digits",
    learns={"image": ("classification",), "features": ("classification",)},
    build=build,
    heeds=heeds,
    uses_keras=False,
)
