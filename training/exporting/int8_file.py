"""An exported file → the same file with weights and activations of its matrix products in int8. Measures nothing.

Static quantisation (QDQ): the ranges come from rows that are passed in. All that is no matrix product, as recurrent
layers, the arithmetic of boxes and non-maximum suppression, stays float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from model_store.manifest import INT8
from training.datasets.dataset import Array, tensors
from training.errors import InvalidGraph, QuantizationRefused
from training.exporting.export import canonical
from training.exporting.onnx_check import problems, signature_problems
from training.network import Graph

# Softmax, pooling and recurrent layers gain nothing, and lose precision.
QUANTIZED_OPERATORS = ("Conv", "Gemm", "MatMul")
ROWS_AT_ONCE = 64
METHOD = "static QDQ: activations QUInt8, weights QInt8 for each channel"


def write_int8(graph: Graph, path: Path, rows: Array, *, last_in_float: bool) -> dict[str, int]:
    """Replace the file; return how many operators of each kind are computed in int8.

    Args:
        graph: what the file computes.
        path: the file.
        rows: raw inputs of the graph, which the ranges of its activations are taken from.
        last_in_float: whether the last matrix product before each output stays float32: 256 different values are too
            few where answers are chosen by their order.

    Raises:
        QuantizationRefused: nothing can be quantised.
        InvalidGraph: the ONNX checker or onnxruntime refuses the int8 file.
    """
    source = onnx.load(path)
    model = _quantized(path, _Feed(tensors(rows, [spec.name for spec in graph.inputs])), last_in_float=last_in_float)
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


def _quantized(path: Path, feed: _Feed, *, last_in_float: bool) -> Any:
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
            nodes_to_exclude=last_products(onnx.load(prepared)) if last_in_float else [],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return onnx.load(written)


def last_products(model: Any) -> list[str]:
    """Name the matrix products from which an output is reached without another one in between."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    waiting, seen, last = [output.name for output in model.graph.output], set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in QUANTIZED_OPERATORS:
            last.add(node.name)
        else:
            waiting.extend(node.input)
    return sorted(last)


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
