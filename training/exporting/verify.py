"""The promise of this package: the file that is published computes what was computed when it was trained.

Knows neither tf2onnx nor the store: it is given training's side and a file that is loaded.
"""

from __future__ import annotations

import numpy as np

from model_store import golden
from model_store.manifest import INT8_TOLERANCE, Parity, Tolerance
from training.datasets.dataset import Array
from training.errors import ParityBroken
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


def measure_int8(graph: Graph, file: Session, inputs: Array) -> Parity:
    """Tell how far an int8 file is from Keras: it cannot be held to that; its quality was measured instead."""
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
