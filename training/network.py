"""What a recipe builds: what is fitted, and the graphs that are published from it.

The common language of the steps: recipes make a `Network`, and fit, evaluate, export and verify each read from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from model_store.manifest import ImageFormat, InputSpec, OutputSpec
from training.datasets import Dataset, Rows
from training.datasets.dataset import Array
from training.evidence.exhibit import Evaluation, Exhibit
from training.options import FitOptions, Task

if TYPE_CHECKING:
    import keras

Floats = npt.NDArray[np.float32]
Answers = dict[str, Array]
History = dict[str, list[float]]

ROWS_AT_ONCE = 4096
BYTES_AT_ONCE = 32 * 2**20


class Computation(Protocol):
    """How training itself computes a graph, and how it is written as ONNX."""

    def answer(self, inputs: Array) -> Answers:
        """Answer raw inputs in exactly one batch: output name → array."""

    def predict(self, inputs: Array) -> Answers:
        """Answer raw inputs in as many batches as suit."""

    def to_onnx(self) -> Any:
        """Write the graph with what it knows now, after the fit: inputs and outputs in the order of their specs."""

    def weights(self) -> list[Array]:
        """Give all weights, in an order that does not change."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One model to publish: raw inputs in, answers out. `sample` makes its raw inputs from a data set's.

    `metrics` measures it, whoever computes it, on the test rows where it is good for something of its own beside the
    main graph.
    `has_margin` tells of each raw input whether rounding cannot change the answer by more than a hair: only such rows
    prove anything where answers are chosen (bool [n]; by default all have one).
    """

    suffix: str = ""
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    computation: Computation
    sample: Callable[[Array], Array] = lambda inputs: inputs
    metrics: Callable[[Graph, Dataset], dict[str, float]] | None = None
    has_margin: Callable[[Array], Array] = lambda inputs: np.ones(len(inputs), dtype=bool)

    def predict(self, inputs: Array) -> Answers:
        """Let training's side answer any number of raw inputs, a few thousand at a time, of large pictures fewer."""
        row_bytes = math.prod(inputs.shape[1:]) * inputs.dtype.itemsize
        size = max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(1, row_bytes)))
        parts = [self.computation.predict(inputs[start : start + size]) for start in range(0, len(inputs), size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def predict_first(self, inputs: Array) -> Array:
        """Let training's side answer with the first output alone."""
        return self.predict(inputs)[self.outputs[0].name]

    def answer(self, inputs: Array) -> Answers:
        """Let training's side answer raw inputs in exactly one batch."""
        return self.computation.answer(inputs)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a fit: `begin` comes first (to thaw layers, say), then so many epochs at its own learning rate."""

    name: str
    epochs: int
    learning_rate: float
    begin: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Network:
    """A recipe's model before and after the fit.

    `fitted` learns `targets(rows)` from `encode(rows.inputs)`; the first of `graphs` is the one that is evaluated.
    `loss` stands instead of the option of that name, `stages` instead of one stage by the options. What Keras does
    not fit, `learn` does: it is given the rows to learn from, those held back and the options, and gives
    an empty history where there is nothing to fit. `after_fit` is given
    the same rows when the weights are found: for thresholds and for models on top of this one. `evaluate` measures
    the main graph, whoever computes it, on the test rows where the task's own figures do not fit or suffice.
    `exhibits` are shown in the report besides. `further_stages` follow what the options say. `write_beside` puts more
    files into the main graph's version.
    `history_unit` says what the fit's errors are measured in, where that is not the data's own unit.
    """

    task: Task
    graphs: tuple[Graph, ...]
    fitted: keras.Model | None = None
    encode: Callable[[Array], Array] = lambda inputs: inputs
    targets: Callable[[Rows], Array] = lambda rows: rows.targets
    loss: Any = None
    stages: tuple[Stage, ...] = ()
    further_stages: tuple[Stage, ...] = ()
    learn: Callable[[Rows, Rows, FitOptions], History] | None = None
    after_fit: Callable[[Rows, Rows], None] | None = None
    evaluate: Callable[[Graph, Dataset], Evaluation] | None = None
    exhibits: Callable[[Dataset, Evaluation], Sequence[Exhibit]] = lambda *_: ()
    write_beside: Callable[[Path], None] = lambda _: None
    history_unit: str = ""

    @property
    def main(self) -> Graph:
        """The graph that answers the task."""
        return self.graphs[0]

    @property
    def parameter_count(self) -> int:
        """How many numbers the main graph has learned."""
        return sum(weight.size for weight in self.main.computation.weights())


def raw_input(dataset: Dataset) -> InputSpec:
    """Describe a data set's inputs as a client sends them, where that is one tensor."""
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
