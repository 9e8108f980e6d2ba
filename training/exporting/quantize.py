"""An exported file → the same file in int8, if it stays as good on the held-out rows. Knows no store.

The file is asked through onnxruntime, and measured by the evaluation that measured Keras.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_store.manifest import INT8
from model_store.metrics import HIGHER_IS_BETTER
from training.datasets import Dataset
from training.datasets.dataset import Array
from training.errors import QuantizationRefused
from training.evidence.evaluate import evaluate
from training.evidence.exhibit import Evaluation
from training.exporting.int8_file import METHOD, ROWS_AT_ONCE, write_int8
from training.exporting.latency import time_batches
from training.exporting.onnx_session import Session
from training.network import Answers, Computation, Graph, Network
from training.options import ExportOptions

CALIBRATION_ROWS = 256
MOST_COMPARED = 2000
# Measured: encoders, decoders and classifiers on codes are off by 1 to 2 % of what their answers vary, and as good as
# before; an anomaly score by 4 %, its p-value by 6 %, which were set by float32 scores.
MOST_NOISE = 0.03


@dataclass(frozen=True)
class Quantized:
    """What an int8 file is: loaded, how good on the held-out rows, and what is said of it in the manifest."""

    file: Session
    evaluation: Evaluation
    facts: dict[str, Any]


def quantize(
    network: Network, dataset: Dataset, path: Path, file: Session, options: ExportOptions, evaluation: Evaluation
) -> Quantized:
    """Turn the main graph's file into int8 in place, measure it on the held-out rows, and compare with `evaluation`.

    Raises:
        QuantizationRefused: the headline metric falls by more than `max_drop`, or nothing can be quantised.
        InvalidGraph: the ONNX checker or onnxruntime refuses the int8 file.
    """
    rows = _calibration_rows(dataset)
    timed = network.main.sample(dataset.test.inputs[:MOST_COMPARED])
    before = _size_and_latency(path, file, timed)
    operators = write_int8(network.main, path, network.main.sample(rows), last_in_float=network.task == "detection")
    small = Session(path)
    by_file = replace(network, graphs=(computed_by(network.main, small), *network.graphs[1:]))
    measured = evaluate(by_file, dataset)
    facts = {
        **_method(operators, rows),
        "metric": (headline := next(iter(evaluation.metrics))),
        "drop": check_drop(headline, evaluation.metrics[headline], measured.metrics[headline], options.max_drop),
        "max_drop": options.max_drop,
        "float32": before | {headline: evaluation.metrics[headline]},
        INT8: _size_and_latency(path, small, timed) | {headline: measured.metrics[headline]},
    }
    return Quantized(small, measured, facts)


def quantize_part(graph: Graph, dataset: Dataset, path: Path, file: Session) -> tuple[Session, dict[str, Any]] | None:
    """Turn the file of a model that is published beside the main one into int8 in place, if it answers nearly the same.

    Returns:
        the int8 file, loaded, and what is said of it in the manifest; None if it stays float32: there is nothing to
        quantise, a choice differs, or the noise, as a share of what the answers vary, is more than MOST_NOISE.

    Raises:
        InvalidGraph: the ONNX checker or onnxruntime refuses the int8 file.
    """
    rows, inputs = graph.sample(_calibration_rows(dataset)), graph.sample(dataset.test.inputs[:MOST_COMPARED])
    float32, before = path.read_bytes(), _size_and_latency(path, file, inputs)
    try:
        operators = write_int8(graph, path, rows, last_in_float=False)
    except QuantizationRefused:
        return None
    small = Session(path)
    found = noise(graph.predict(inputs), computed_by(graph, small).predict(inputs))
    if found > MOST_NOISE:
        path.write_bytes(float32)
        return None
    facts = {
        **_method(operators, rows),
        "metric": "noise",
        "noise": found,
        "most_noise": MOST_NOISE,
        "float32": before,
        INT8: _size_and_latency(path, small, inputs),
    }
    return small, facts


def noise(expected: Answers, received: Answers) -> float:
    """Compare the outputs [rows, …]: the greatest root of a mean squared difference, as a share of the deviation.

    Infinite where anything but a floating-point number differs.
    """
    shares = [0.0]
    for name, wanted in expected.items():
        if wanted.dtype.kind != "f":
            shares.append(0.0 if np.array_equal(wanted, received[name]) else np.inf)
            continue
        exact = wanted.astype(np.float64)
        error = float(np.sqrt(np.mean((received[name].astype(np.float64) - exact) ** 2)))
        shares.append(error / max(float(exact.std()), 1e-12))
    return max(shares)


def check_drop(metric: str, before: float, after: float, most: float) -> float:
    """Return by how much a metric became worse: accuracy as it is, an error as a share of what it was.

    Raises:
        QuantizationRefused: it is more than `most`.
    """
    higher_is_better = HIGHER_IS_BETTER.get(metric, False)
    drop = before - after if higher_is_better else (after - before) / max(abs(before), 1e-12)
    if drop > most:
        raise QuantizationRefused(
            f"int8 gives {metric} {after:.4g} on the held-out rows, float32 {before:.4g}: a loss of {drop:.2g}, "
            f"more than max_drop={most:g}; raise max_drop, or use quantize=none"
        )
    return drop


def _calibration_rows(dataset: Dataset) -> Array:
    chosen = np.random.default_rng(0).permutation(len(dataset.train))[:CALIBRATION_ROWS]
    return dataset.train.inputs[np.sort(chosen)]


def _method(operators: dict[str, int], rows: Array) -> dict[str, Any]:
    """Say how a file was turned into int8, and with how many rows."""
    return {"format": INT8, "method": METHOD, "operators": operators, "calibration_rows": len(rows)}


def _size_and_latency(path: Path, file: Session, inputs: Array) -> dict[str, Any]:
    times = time_batches(file.run, inputs)
    return {"bytes": path.stat().st_size, "microseconds": {str(rows): time for rows, time in times.items()}}


@dataclass(frozen=True)
class _FileComputation:
    """A graph as a file computes it, in the place of Keras: so that the file is measured as Keras was."""

    session: Session
    keras: Computation

    def answer(self, inputs: Array) -> Answers:
        return self.session.run(inputs)

    def predict(self, inputs: Array) -> Answers:
        parts = [
            self.session.run(inputs[start : start + ROWS_AT_ONCE]) for start in range(0, len(inputs), ROWS_AT_ONCE)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def to_onnx(self) -> Any:
        return self.keras.to_onnx()

    def weights(self) -> list[Array]:
        return self.keras.weights()


def computed_by(graph: Graph, file: Session) -> Graph:
    """Put what a file computes in the place of what Keras computes."""
    return replace(graph, computation=_FileComputation(file, graph.computation))
