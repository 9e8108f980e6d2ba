"""What a recipe builds: the Keras model that is fitted, and the graphs that are published from it.

The common language of the steps: recipes make a `Network`, and fit, evaluate, export and verify each read from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from model_store.manifest import ImageFormat, InputSpec, OutputSpec
from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.options import Task

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]

PREDICTION_BATCH = 1024


class OnnxPiece(Protocol):
    """A part of a graph that is written as ONNX by hand: one input, one output."""

    def to_onnx(self) -> Any:
        """Make the piece from what it knows now: after the fit, so with fitted weights."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One model to publish: raw inputs in, answers out.

    `model` is Keras's side, from what `encode` makes of raw inputs to the output. The file is `before` (front and
    recurrent layers written by hand) followed by `converted`, the part of `model` that tf2onnx converts.
    `sample` makes this graph's raw inputs from a data set's.
    """

    suffix: str = ""
    input: InputSpec
    output: OutputSpec
    model: keras.Model
    converted: keras.Model
    before: tuple[OnnxPiece, ...] = ()
    encode: Callable[[Array], Array] = lambda inputs: inputs
    sample: Callable[[Array], Array] = lambda inputs: inputs

    def predict(self, inputs: Array) -> Floats:
        """Let Keras answer any number of raw inputs."""
        encoded = self.encode(inputs)
        answers: Floats = self.model.predict(encoded, batch_size=PREDICTION_BATCH, verbose=0)
        return answers

    def predict_together(self, inputs: Array) -> Floats:
        """Let Keras answer raw inputs in exactly one batch."""
        answers: Floats = self.model(self.encode(inputs), training=False).numpy()
        return answers


@dataclass(frozen=True, kw_only=True)
class Network:
    """A recipe's model before and after the fit.

    `fitted` learns `targets(rows)` from `encode(rows.inputs)`; the first of `graphs` is the one that is evaluated.
    `history_unit` says what the fit's errors are measured in, where that is not the data's own unit.
    """

    task: Task
    fitted: keras.Model
    graphs: tuple[Graph, ...]
    encode: Callable[[Array], Array] = lambda inputs: inputs
    targets: Callable[[Rows], Array] = lambda rows: rows.targets
    history_unit: str = ""

    @property
    def main(self) -> Graph:
        """The graph that answers the task."""
        return self.graphs[0]


def classifier(model: keras.Model, dataset: Dataset) -> Network:
    """Make the network of a model that gives probabilities for raw pictures or features."""
    graph = Graph(input=raw_input(dataset), output=probabilities(dataset), model=model, converted=model)
    return Network(task="classification", fitted=model, graphs=(graph,))


def raw_input(dataset: Dataset) -> InputSpec:
    """Describe a data set's inputs as a client sends them."""
    if dataset.kind == "text":
        return InputSpec(name="text", dtype="string", shape=(None,), kind="text")
    shape = dataset.train.inputs.shape[1:]
    if dataset.kind == "features":
        return InputSpec(
            name="features", dtype="float32", shape=(None, *shape), kind="features", columns=dataset.columns
        )
    height, width, channels = shape
    assert channels in (1, 3)
    pixels = ImageFormat(height=height, width=width, channels=channels)
    return InputSpec(name="image", dtype="uint8", shape=(None, *shape), kind="image", image=pixels)


def probabilities(dataset: Dataset) -> OutputSpec:
    """Describe one probability per class."""
    assert dataset.labels is not None
    shape = (None, len(dataset.labels))
    return OutputSpec(name="probabilities", dtype="float32", shape=shape, kind="probabilities", labels=dataset.labels)
