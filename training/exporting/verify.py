"""The promise of this package: the file that is published computes what was computed when it was trained.

Knows neither tf2onnx nor the store: it is given training's side and a file that is loaded.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model_store import golden
from model_store.manifest import INT8_TOLERANCE, Parity, Tolerance
from training.datasets.dataset import Array
from training.errors import ParityBroken, QuantizationRefused
from training.exporting.onnx_session import Session
from training.network import Answers, Graph

BATCH_SIZES = (1, 7, 100)


def verify(graph: Graph, file: Session, inputs: Array, *, computed_by: str) -> Parity:
    """Compare a graph with its file on batches of several sizes, taken from `inputs` (repeated if they are few).

    `computed_by` names what computes the graph, for the message.

    Raises:
        ParityBroken: an output differs by more than the tolerance, or no answer has a margin against rounding.
    """
    inputs = inputs[np.flatnonzero(graph.has_margin(inputs))]
    if not len(inputs):
        raise ParityBroken("every answer could be changed by rounding: the file proves nothing; train for longer")
    tolerance = Tolerance()
    pairs = _answer_both(graph, file, inputs)
    for size, (expected, received) in pairs.items():
        problems = golden.compare(expected, received, tolerance)
        if problems:
            raise ParityBroken(
                f"the exported file differs from {computed_by} at a batch of {size}: {'; '.join(problems)}"
            )
    return _parity(pairs, tolerance)


def with_int8_margin(graph: Graph, file: Session) -> Graph:
    """Let only those rows prove something of an int8 file whose choices int8 has not changed.

    Where classes or counts are chosen, the next rounding may change a choice that the first one has changed.
    """
    if all(spec.dtype.startswith("float") for spec in graph.outputs):
        return graph

    def has_margin(inputs: Array) -> Array:
        return np.logical_and(graph.has_margin(inputs), _answered_alike(graph, file, inputs))

    return replace(graph, has_margin=has_margin)


def _answered_alike(graph: Graph, file: Session, inputs: Array) -> Array:
    expected, received = graph.predict(inputs), file.run(inputs)
    rows = (
        [{name: array[row : row + 1] for name, array in side.items()} for side in (expected, received)]
        for row in range(len(inputs))
    )
    return np.array([not golden.compare(one, other, INT8_TOLERANCE) for one, other in rows])


def measure_int8(graph: Graph, file: Session, inputs: Array) -> Parity:
    """Tell how far an int8 file is from Keras: it cannot be held to that; its quality was measured instead.

    Raises:
        QuantizationRefused: no row has a margin, so that a server could replay none.
    """
    inputs = inputs[np.flatnonzero(graph.has_margin(inputs))]
    if not len(inputs):
        raise QuantizationRefused(
            "int8 changes what is chosen in each of the held-out rows: nothing is left to replay; use quantize=none"
        )
    return _parity(_answer_both(graph, file, inputs), INT8_TOLERANCE)


def _answer_both(graph: Graph, file: Session, inputs: Array) -> dict[int, tuple[Answers, Answers]]:
    batches = {size: np.take(inputs, range(size), axis=0, mode="wrap") for size in BATCH_SIZES}
    return {size: (graph.answer(batch), file.run(batch)) for size, batch in batches.items()}


def _parity(pairs: dict[int, tuple[Answers, Answers]], tolerance: Tolerance) -> Parity:
    names = next(iter(pairs.values()))[0]
    worst = {
        name: max(golden.max_abs_difference(expected[name], received[name]) for expected, received in pairs.values())
        for name in names
    }
    return Parity(batch_sizes=tuple(pairs), max_abs_difference=worst, tolerance=tolerance)
