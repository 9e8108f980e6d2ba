"""A graph → one ONNX file: canonical names, checks, save. Knows neither tf2onnx nor data sets nor stores."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from training.datasets.dataset import Array
from training.errors import InvalidGraph
from training.exporting.onnx_check import STANDARD_DOMAINS, problems, signature_problems
from training.exporting.onnx_session import Session
from training.network import Graph


def export(graph: Graph, path: Path, *, properties: Mapping[str, str]) -> Session:
    """Write one graph to a file, and load it; `properties` and a digest of the weights go into it.

    Raises:
        UnconvertedLayers: tf2onnx left operators that ONNX does not have.
        InvalidGraph: the ONNX checker or onnxruntime refuses the file, or its signature is not what was meant.
    """
    model = canonical(
        graph.computation.to_onnx(),
        inputs=[spec.name for spec in graph.inputs],
        outputs=[spec.name for spec in graph.outputs],
    )
    helper.set_model_props(model, {**properties, "weights_sha256": weights_digest(graph.computation.weights())})
    found = problems(model) or [
        *signature_problems("input", model.graph.input, graph.inputs),
        *signature_problems("output", model.graph.output, graph.outputs),
    ]
    if found:
        raise InvalidGraph(f"the exported graph is wrong: {'; '.join(found)}")
    onnx.save(model, path)
    return Session(path)


def canonical(model: Any, *, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Give stable names, so that equal weights give equal files wherever tf2onnx keeps the order of its nodes.

    Inputs and outputs get the given names, in their order.
    """
    values = [*model.graph.input, *model.graph.output]
    names = dict(zip([value.name for value in values], [*inputs, *outputs], strict=True))
    _rename(model.graph, names, _unused_prefix(names.values()))
    for value in values:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.name, model.doc_string, model.producer_name = "main", "", "ovenbird"
    return model


def _rename(graph: Any, names: dict[str, str], prefix: str) -> None:
    """Name all tensors and nodes by their order in the graph, and sort the initializers."""

    def new(name: str) -> str:
        return names.setdefault(name, f"{prefix}{len(names)}") if name else ""

    # Foreign operators keep their declared types: the checker needs them. The rest can be inferred.
    foreign = {name for node in graph.node if node.domain not in STANDARD_DOMAINS for name in node.output}
    kept = [value for value in graph.value_info if value.name in foreign]
    for value in [*graph.input, *graph.output, *kept]:
        value.name = new(value.name)
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{index}", ""
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, names, prefix)
    for tensor in graph.initializer:
        tensor.name = new(tensor.name)
    _replace(graph.value_info, kept)
    _replace(graph.initializer, sorted(graph.initializer, key=lambda tensor: str(tensor.name)))
    graph.doc_string = ""


def _unused_prefix(names: Iterable[str]) -> str:
    """Choose what the names of inner tensors begin with: a column of a table may be called t5."""
    taken, prefix = set(names), "t"
    while any(re.fullmatch(rf"{prefix}[0-9]+", name) for name in taken):
        prefix += "_"
    return prefix


def _replace(field: Any, messages: list[Any]) -> None:
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del field[:]
    field.extend(copies)


def weights_digest(weights: Iterable[Array]) -> str:
    """Hash weights in their order; hexadecimal."""
    total = hashlib.sha256()
    for weight in weights:
        total.update(weight.tobytes())
    return total.hexdigest()
