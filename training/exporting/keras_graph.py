"""Graphs that Keras computes: the common case of `training.network.Graph`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from model_store.manifest import InputSpec, OutputSpec
from training.datasets import Dataset
from training.datasets.dataset import Array
from training.exporting.convert import convert, join
from training.network import Answers, Graph, Network, probabilities, raw_input

if TYPE_CHECKING:
    import keras

PREDICTION_BATCH = 256


class OnnxPiece(Protocol):
    """A part of a graph that is written as ONNX by hand: any inputs, one output."""

    def to_onnx(self) -> Any:
        """Make the piece from what it knows now: after the fit, so with fitted weights."""


@dataclass(frozen=True, kw_only=True)
class KerasComputation:
    """What `model` makes of `encode(raw inputs)`; its outputs are called `outputs`, in their order.

    The file is `before` (fronts and recurrent layers written by hand) followed by `converted`, the part of `model`
    that tf2onnx converts: by default all of it.
    """

    model: keras.Model
    outputs: tuple[str, ...]
    converted: keras.Model | None = None
    before: tuple[OnnxPiece, ...] = ()
    encode: Callable[[Array], Array] = lambda inputs: inputs

    def answer(self, inputs: Array) -> Answers:
        """Let Keras answer raw inputs in exactly one batch."""
        return self._named(self.model(self.encode(inputs), training=False))

    def predict(self, inputs: Array) -> Answers:
        """Let Keras answer raw inputs in batches that fit into the memory."""
        return self._named(self.model.predict(self.encode(inputs), batch_size=PREDICTION_BATCH, verbose=0))

    def to_onnx(self) -> Any:
        """Join what is written by hand with what tf2onnx converts."""
        pieces = [piece.to_onnx() for piece in self.before]
        return reduce(join, [*pieces, convert(self.model if self.converted is None else self.converted)])

    def weights(self) -> list[Array]:
        """Give Keras's weights."""
        return list(self.model.get_weights())

    def _named(self, answers: Any) -> Answers:
        listed = answers if isinstance(answers, (list, tuple)) else [answers]
        return {name: np.asarray(answer) for name, answer in zip(self.outputs, listed, strict=True)}


def keras_graph(
    model: keras.Model,
    inputs: InputSpec | tuple[InputSpec, ...],
    outputs: OutputSpec | tuple[OutputSpec, ...],
    *,
    suffix: str = "",
    converted: keras.Model | None = None,
    before: tuple[OnnxPiece, ...] = (),
    encode: Callable[[Array], Array] = lambda inputs: inputs,
    sample: Callable[[Array], Array] = lambda inputs: inputs,
    metrics: Callable[[Graph, Dataset], dict[str, float]] | None = None,
    has_margin: Callable[[Array], Array] = lambda inputs: np.ones(len(inputs), dtype=bool),
) -> Graph:
    """Make the graph of a Keras model; see `KerasComputation` and `Graph` for the arguments."""
    answers = outputs if isinstance(outputs, tuple) else (outputs,)
    computation = KerasComputation(
        model=model,
        outputs=tuple(spec.name for spec in answers),
        converted=converted,
        before=before,
        encode=encode,
    )
    return Graph(
        suffix=suffix,
        inputs=inputs if isinstance(inputs, tuple) else (inputs,),
        outputs=answers,
        computation=computation,
        sample=sample,
        metrics=metrics,
        has_margin=has_margin,
    )


def classifier(model: keras.Model, dataset: Dataset) -> Network:
    """Make the network of a model that gives probabilities for raw pictures or features."""
    graph = keras_graph(model, raw_input(dataset), probabilities(dataset))
    return Network(task="classification", fitted=model, graphs=(graph,))
