"""An exported file → the same file in int8, if it stays as good on the held-out rows. Knows no store.

The file is asked through onnxruntime, and measured by the evaluation that measured Keras.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_store.manifest import INT8
from training.datasets import Dataset
from training.datasets.dataset import Array
from training.errors import QuantizationRefused
from training.evidence.evaluate import evaluate
from training.evidence.exhibit import Evaluation
from training.exporting.int8_file import METHOD, ROWS_AT_ONCE, write_int8
from training.exporting.latency import time_batches
from training.exporting.onnx_session import Session
from training.network import Answers, Computation, Network
from training.options import ExportOptions

CALIBRATION_ROWS = 256
BIGGER_IS_BETTER = {"accuracy", "map_50", "right_and_localised", "explained_variance"}


@dataclass(frozen=True)
class Quantized:
    """What an int8 file is: how good on the held-out rows, and what is said of it in the manifest."""

    evaluation: Evaluation
    facts: dict[str, Any]


def quantize(
    network: Network, dataset: Dataset, path: Path, options: ExportOptions, evaluation: Evaluation
) -> Quantized:
    """Turn the main graph's file into int8 in place, measure it on the held-out rows, and compare with `evaluation`.

    Raises:
        QuantizationRefused: the headline metric falls by more than `max_drop`, or nothing can be quantised.
        InvalidGraph: the ONNX checker or onnxruntime refuses the int8 file.
    """
    rows = _calibration_rows(dataset)
    before = _size_and_latency(path, dataset)
    operators = write_int8(network.main, path, network.main.sample(rows), last_in_float=network.task == "detection")
    measured = evaluate(_computed_by(network, Session(path)), dataset)
    facts = {
        "format": INT8,
        "method": METHOD,
        "operators": operators,
        "calibration_rows": len(rows),
        "metric": (headline := next(iter(evaluation.metrics))),
        "drop": check_drop(headline, evaluation.metrics[headline], measured.metrics[headline], options.max_drop),
        "max_drop": options.max_drop,
        "float32": before | {headline: evaluation.metrics[headline]},
        INT8: _size_and_latency(path, dataset) | {headline: measured.metrics[headline]},
    }
    return Quantized(measured, facts)


def check_drop(metric: str, before: float, after: float, most: float) -> float:
    """Return by how much a metric became worse: accuracy as it is, an error as a share of what it was.

    Raises:
        QuantizationRefused: it is more than `most`.
    """
    drop = before - after if metric in BIGGER_IS_BETTER else (after - before) / max(abs(before), 1e-12)
    if drop > most:
        raise QuantizationRefused(
            f"int8 gives {metric} {after:.4g} on the held-out rows, float32 {before:.4g}: a loss of {drop:.2g}, "
            f"more than max_drop={most:g}; raise max_drop, or use quantize=none"
        )
    return drop


def _calibration_rows(dataset: Dataset) -> Array:
    chosen = np.random.default_rng(0).permutation(len(dataset.train))[:CALIBRATION_ROWS]
    return dataset.train.inputs[np.sort(chosen)]


def _size_and_latency(path: Path, dataset: Dataset) -> dict[str, Any]:
    times = time_batches(Session(path).run, dataset.test.inputs)
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


def _computed_by(network: Network, session: Session) -> Network:
    main = replace(network.main, computation=_FileComputation(session, network.main.computation))
    return replace(network, graphs=(main, *network.graphs[1:]))
