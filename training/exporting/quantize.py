"""An exported file → the same file in int8, if it stays as good: weights and activations of its matrix products.

Static quantisation (QDQ): the ranges come from training rows. Recurrent layers stay float32. Knows no store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from model_store.manifest import INT8
from training.datasets import Dataset
from training.datasets.dataset import Array, tensors
from training.errors import InvalidGraph, InvalidParameter, QuantizationRefused
from training.evidence.evaluate import evaluate
from training.evidence.exhibit import Evaluation
from training.exporting.export import canonical
from training.exporting.latency import time_batches
from training.exporting.onnx_check import problems, signature_problems
from training.exporting.onnx_session import Session
from training.network import Answers, Computation, Graph, Network
from training.options import ExportOptions

# Softmax, pooling and recurrent layers gain nothing, and lose precision.
QUANTIZED_OPERATORS = ("Conv", "Gemm", "MatMul")
CALIBRATION_ROWS = 256
ROWS_AT_ONCE = 64
BIGGER_IS_BETTER = {"accuracy"}
METHOD = "static QDQ: activations QUInt8, weights QInt8 for each channel"


@dataclass(frozen=True)
class Quantized:
    """An int8 file that is loaded: how good on the held-out rows, and what is said of it in the manifest."""

    file: Session
    evaluation: Evaluation
    facts: dict[str, Any]


def check_quantizable(network: Network, options: ExportOptions) -> None:
    """Refuse, before anything is fitted, what could not be compared afterwards; raises `InvalidParameter`."""
    if options.quantize != "none" and network.evaluate is not None:
        expected = "none: this recipe measures itself in its own way, so that float32 and int8 cannot be compared"
        raise InvalidParameter("quantize", options.quantize, expected=expected)


def quantize(
    network: Network, dataset: Dataset, path: Path, file: Session, options: ExportOptions, evaluation: Evaluation
) -> Quantized:
    """Turn the main graph's file into int8 in place, measure it on the held-out rows, and compare with `evaluation`.

    `file` is what lies at the path, loaded.

    Raises:
        QuantizationRefused: the headline metric falls by more than `max_drop`, or nothing can be quantised.
        InvalidGraph: the ONNX checker or onnxruntime refuses the int8 file.
    """
    rows = _calibration_rows(dataset)
    before = _size_and_latency(path, file, dataset)
    operators = _write_int8(network.main, path, network.main.sample(rows))
    small = Session(path)
    measured = evaluate(_computed_by(network, small), dataset)
    facts = {
        "format": INT8,
        "method": METHOD,
        "operators": operators,
        "calibration_rows": len(rows),
        "metric": (headline := next(iter(evaluation.metrics))),
        "drop": check_drop(headline, evaluation.metrics[headline], measured.metrics[headline], options.max_drop),
        "max_drop": options.max_drop,
        "float32": before | {headline: evaluation.metrics[headline]},
        INT8: _size_and_latency(path, small, dataset) | {headline: measured.metrics[headline]},
    }
    return Quantized(small, measured, facts)


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


def _size_and_latency(path: Path, file: Session, dataset: Dataset) -> dict[str, Any]:
    times = time_batches(file.run, dataset.test.inputs)
    return {"bytes": path.stat().st_size, "microseconds": {str(rows): time for rows, time in times.items()}}


def _write_int8(graph: Graph, path: Path, rows: Array) -> dict[str, int]:
    """Replace the file; return how many operators of each kind are computed in int8."""
    source = onnx.load(path)
    model = _quantized(path, _Feed(tensors(rows, [spec.name for spec in graph.inputs])))
    names = [spec.name for spec in graph.inputs], [spec.name for spec in graph.outputs]
    model = canonical(model, inputs=names[0], outputs=names[1])
    _declare_used_domains(model)
    helper.set_model_props(model, {entry.key: entry.value for entry in source.metadata_props} | {"quantization": INT8})
    found = problems(model) or [
        *signature_problems("input", model.graph.input, graph.inputs),
        *signature_problems("output", model.graph.output, graph.outputs),
    ]
    if found:
        raise InvalidGraph(f"the int8 graph is wrong: {'; '.join(found)}")
    operators = _count_quantized(model)
    if not operators:
        raise QuantizationRefused(
            f"nothing to quantise: the graph has no {', '.join(QUANTIZED_OPERATORS)} with weights; use quantize=none"
        )
    onnx.save(model, path)
    return operators


def _quantized(path: Path, feed: _Feed) -> Any:
    # Imported when it is wanted: it is slow to import, and most jobs need none of it.
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="ovenbird-") as scratch:
        prepared, written = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        # The symbolic inference needs one more package, and finds nothing more in these graphs.
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            written,
            feed,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED_OPERATORS),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return onnx.load(written)


class _Feed:
    """Rows for onnxruntime's calibration, a batch at a time; it asks by `get_next` until there is None."""

    def __init__(self, feed: Mapping[str, Array]) -> None:
        rows = len(next(iter(feed.values())))
        self._batches: Iterator[dict[str, Array]] = (
            {name: array[start : start + ROWS_AT_ONCE] for name, array in feed.items()}
            for start in range(0, rows, ROWS_AT_ONCE)
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def _declare_used_domains(model: Any) -> None:
    """Keep the operator sets that the graph uses: the quantiser declares a dozen."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [(entry.domain, entry.version) for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*entry) for entry in kept)


def _count_quantized(model: Any) -> dict[str, int]:
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found = [
        node.op_type
        for node in model.graph.node
        if node.op_type in QUANTIZED_OPERATORS and {*node.input[:2]} <= dequantized
    ]
    return {operator: found.count(operator) for operator in sorted({*found})}


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
