"""The promise of this package: the file that is published computes what Keras computed.

Knows neither tf2onnx nor the store: it is given Keras's side and a file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_store import golden
from model_store.manifest import Parity, Tolerance
from training.datasets.dataset import Array
from training.errors import ParityBroken
from training.network import Graph
from training.onnx_session import Session

BATCH_SIZES = (1, 7, 100)


def verify(graph: Graph, path: Path, inputs: Array) -> Parity:
    """Compare Keras with the file on batches of several sizes, taken from `inputs` (repeated if they are few).

    Raises:
        ParityBroken: an output differs by more than the tolerance, or no answer has a margin against rounding.
    """
    inputs = inputs[np.flatnonzero(graph.has_margin(inputs))]
    if not len(inputs):
        raise ParityBroken("every answer could be changed by rounding: the file proves nothing; train for longer")
    session, tolerance = Session(path), Tolerance()
    worst = dict.fromkeys((spec.name for spec in graph.outputs), 0.0)
    for size in BATCH_SIZES:
        batch = np.take(inputs, range(size), axis=0, mode="wrap")
        expected, received = graph.answer(batch), session.run(batch)
        problems = golden.compare(expected, received, tolerance)
        if problems:
            raise ParityBroken(f"the exported file differs from Keras at a batch of {size}: {'; '.join(problems)}")
        for name, largest in worst.items():
            worst[name] = max(largest, golden.max_abs_difference(expected[name], received[name]))
    return Parity(batch_sizes=BATCH_SIZES, max_abs_difference=worst, tolerance=tolerance)
